"""Sparse autoencoders by name: compositions as in `jaxae.models.variants`, with its arguments."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import chex
import jax.numpy as jnp

from jaxae.base import Autoencoder, check_range, is_traced
from jaxae.models import codes, sparsity
from jaxae.models.dictionaries import dictionary
from jaxae.models.networks import Shape, mlp
from jaxae.models.variants import deep


def sparse(
    shape: Shape,
    latent_dim: int,
    *,
    sparsity_target: chex.Numeric = 0.1,
    sparsity_weight: chex.Numeric = 1.0,
    decay: float | None = None,
    **parts: Any,
) -> Autoencoder:
    """Sigmoid codes whose mean activation is held at a target (Ng, 2011).

    Args:
        shape: of one example.
        latent_dim: the width of the code.
        sparsity_target: the mean activation of each unit, in (0, 1).
        sparsity_weight: of the sum of the divergences, in nats; may be traced.
        decay: of a running mean in the batch mean's place.
        **parts: of `deep`.

    >>> model = sparse(64, 256, sparsity_target=0.05)

    Raises:
        ValueError: numbers out of range, or codes that are not sigmoid.
    """
    if parts.get("networks") is dictionary:
        raise ValueError("A dictionary has no sigmoid codes; take relu_l1, or leave networks out.")
    if parts.get("latent_activation") not in ("sigmoid", None):
        given = parts["latent_activation"]
        raise ValueError(f"sparse has sigmoid codes; got {given!r}. Take relu_l1 for others.")
    own = sparsity.kl_sparsity(sparsity_target, sparsity_weight, decay)
    parts["penalties"] = [own, *parts.get("penalties", ())]
    return deep(shape, latent_dim, **{**parts, "latent_activation": "sigmoid"})


def k_sparse(
    shape: Shape,
    latent_dim: int,
    *,
    k: chex.Numeric = 25,
    start_k: chex.Numeric | None = None,
    anneal_steps: int = 0,
    alpha: chex.Numeric = 1.0,
    **parts: Any,
) -> Autoencoder:
    """Keeps the k largest linear codes, with tied weights (Makhzani & Frey, 2014).

    Args:
        shape: of one example.
        latent_dim: the width of the code.
        k: the number to keep.
        start_k: the number to keep at first; goes with anneal_steps.
        anneal_steps: steps over which start_k falls to k; the paper takes half the epochs.
        alpha: without training alpha * k codes are kept.
        **parts: of `deep`.

    >>> model = k_sparse(64, 256, k=10)

    Raises:
        ValueError: k, start_k or alpha out of range, or one of start_k and anneal_steps alone.
    """
    _check_k(latent_dim, k, *([] if start_k is None else [start_k]))
    check_range("alpha", alpha, 1.0)
    check_range("anneal_steps", anneal_steps, 0)
    if (start_k is None) != (anneal_steps == 0):
        raise ValueError(
            "start_k falls to k over anneal_steps: give both or neither; got "
            f"start_k={start_k} and anneal_steps={anneal_steps}."
        )
    code = codes.KSparse(k, start_k, anneal_steps, alpha)
    if parts.get("networks", mlp) is mlp:
        parts = {"latent_activation": "identity", "decoder": "tied", **parts}
    return deep(shape, latent_dim, **{"code": code, **parts})


def winner_take_all(
    shape: Shape, latent_dim: int, *, fraction: chex.Numeric = 0.05, **parts: Any
) -> Autoencoder:
    """Each rectified unit keeps its largest activations over the batch (Makhzani & Frey, 2015).

    The share of the batch for which a unit fires, in (0, 1], is `fraction`; the other
    arguments are those of `deep`.

    >>> model = winner_take_all(64, 256, fraction=0.07)

    Raises:
        ValueError: a fraction out of range.
    """
    check_range("fraction, the share of a batch,", fraction, 0.0, 1.0, open_low=True)
    if parts.get("networks", mlp) is mlp:
        parts = {"activation": "relu", "latent_activation": "relu", **parts}
    return deep(shape, latent_dim, **{"code": codes.WinnerTakeAll(fraction), **parts})


def relu_l1(
    shape: Shape, latent_dim: int, *, l1_coefficient: chex.Numeric = 0.1, **parts: Any
) -> Autoencoder:
    """A dictionary with rectified codes and an L1 penalty (Bricken et al., 2023).

    The penalty weighs each code by the length of its atom.

    >>> model = relu_l1(64, 256, l1_coefficient=0.05)

    Raises:
        ValueError: a concrete coefficient below 0.
    """
    own = sparsity.l1(l1_coefficient, by_decoder_norm=True)
    return _atoms(codes.Rectified(), shape, latent_dim, parts, own)


def gated(
    shape: Shape, latent_dim: int, *, l1_coefficient: chex.Numeric = 0.1, **parts: Any
) -> Autoencoder:
    """Which units fire is learned apart from how much (Rajamanoharan et al., 2024).

    The L1 penalty meets the gates alone and so does not shrink the codes.

    >>> model = gated(64, 256, l1_coefficient=0.05)

    Raises:
        ValueError: a concrete coefficient below 0.
    """
    return _atoms(codes.Gated(), shape, latent_dim, parts, sparsity.gate(l1_coefficient))


def jump_relu(
    shape: Shape,
    latent_dim: int,
    *,
    sparsity_weight: chex.Numeric = 0.1,
    bandwidth: chex.Numeric = 0.1,
    threshold: chex.Numeric = 0.1,
    **parts: Any,
) -> Autoencoder:
    """Learned thresholds, and so many nats for each active unit (Rajamanoharan et al., 2024b).

    Args:
        shape: of one example.
        latent_dim: the number of units.
        sparsity_weight: nats for an active unit; may be traced.
        bandwidth: of the window in which thresholds learn, in units of the pre-activations.
        threshold: at first.
        **parts: of `deep`.

    >>> model = jump_relu(64, 256, sparsity_weight=0.05)

    Raises:
        ValueError: a bandwidth or threshold that is not positive, or a concrete weight below 0.
    """
    check_range("sparsity_weight", sparsity_weight, 0.0)
    for name, value in (("bandwidth", bandwidth), ("threshold", threshold)):
        check_range(name, value, 0.0, open_low=True, open_high=True)
    code = codes.JumpReLU(sparsity_weight, bandwidth, threshold)
    return _atoms(code, shape, latent_dim, parts)


def top_k(shape: Shape, latent_dim: int, *, k: chex.Numeric = 32, **parts: Any) -> Autoencoder:
    """A dictionary of which each example uses its k best atoms (Gao et al., 2024).

    Args:
        shape: of one example.
        latent_dim: the number of atoms.
        k: atoms of an example.
        **parts: of `deep`; and `aux_k`, `aux_coefficient` and `dead_after` of
            `sparsity.aux_k`, which revives dead units; aux_k=0 goes without.

    >>> model = top_k(64, 256, k=8, aux_k=32)

    Raises:
        ValueError: k out of range.
    """
    return _revived(codes.TopK(k), shape, latent_dim, parts)


def batch_top_k(
    shape: Shape, latent_dim: int, *, k: chex.Numeric = 32, **parts: Any
) -> Autoencoder:
    """A dictionary of which a batch uses k atoms an example in the mean (Bussmann et al., 2024).

    In use a threshold takes the batch's place. The arguments are those of `top_k`.

    >>> model = batch_top_k(64, 256, k=8)

    Raises:
        ValueError: k out of range.
    """
    return _revived(codes.BatchTopK(k), shape, latent_dim, parts)


def matryoshka(
    shape: Shape,
    latent_dim: int,
    *,
    k: chex.Numeric = 32,
    prefixes: Sequence[int] | None = None,
    **parts: Any,
) -> Autoencoder:
    """A `batch_top_k` whose first atoms alone reconstruct, too (Bussmann et al., 2025).

    `prefixes` are rising numbers of atoms that reconstruct, the last latent_dim; by default a
    sixteenth, an eighth, ... and all. The other arguments are those of `top_k`.

    >>> model = matryoshka(64, 256, k=8, prefixes=[64, 128, 256])

    Raises:
        ValueError: k or prefixes out of range.
    """
    if prefixes is None:
        prefixes = sorted({max(1, latent_dim >> i) for i in range(5)})
    own = sparsity.nested(prefixes)
    if prefixes[-1] != latent_dim:
        raise ValueError(f"The last of prefixes is latent_dim, {latent_dim}; got {prefixes}.")
    return _revived(codes.BatchTopK(k), shape, latent_dim, parts, own)


def _revived(
    code: codes.TopK | codes.BatchTopK, shape: Shape, latent_dim: int, parts: Any, *own: Any
) -> Autoencoder:
    """A dictionary whose dead units are revived, by default by twice k of them at a time."""
    _check_k(latent_dim, code.k)
    given = {name: parts.pop(name) for name in ("aux_coefficient", "dead_after") if name in parts}
    least: Any = jnp.minimum if is_traced(code.k) else min
    aux_k = parts.pop("aux_k", least(latent_dim, 2 * code.k))
    if is_traced(aux_k) or aux_k:
        own = (*own, sparsity.aux_k(aux_k, **given))
    return _atoms(code, shape, latent_dim, parts, *own)


def _atoms(code: Any, shape: Shape, latent_dim: int, parts: Any, *own: Any) -> Autoencoder:
    """A dictionary with this code, and penalties of its own before those given."""
    parts["penalties"] = [*own, *parts.get("penalties", ())]
    return deep(shape, latent_dim, **{"networks": dictionary, "code": code, **parts})


def _check_k(latent_dim: int, *given: chex.Numeric) -> None:
    for k in given:
        if not is_traced(k) and (not isinstance(k, Integral) or not 1 <= int(k) <= latent_dim):
            raise ValueError(f"k is a number of units in [1, {latent_dim}]; got {k!r}.")
