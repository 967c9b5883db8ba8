"""Restricted Boltzmann machines: their energy, and the autoencoders that learn by it."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxae.base import (
    Array,
    Autoencoder,
    Batch,
    Key,
    Metrics,
    Params,
    as_float,
    check_range,
    where_observed,
)
from jaxae.models.likelihoods import Likelihood, bernoulli, gaussian
from jaxae.models.networks import Shape
from jaxae.models.networks.activations import softplus
from jaxae.models.variants import deep

Units = Literal["bernoulli", "gaussian"]


class Energy(NamedTuple):
    """What contrastive divergence, sampling and likelihood estimates need of a machine.

        E(v, h) = base(v) + base(h) - v·b - h·c - v W h,  p(v, h) = exp(-E) / Z

    with base(u) = 0 for binary units and u²/2 for Gaussian ones, whose scale is 1. Rows of
    visible units are flat, `(n, d)`; W, c and b are those of a tied autoencoder of one layer.

    Attributes:
        free_energy: `(params, batch) -> -log Σ_h exp(-E(x, h))`, `(n,)`, in nats.
        hidden: `(params, v) -> E[h | v]`, `(n, latent_dim)`.
        visible: `(params, h) -> E[v | h]`, `(n, d)`.
        gibbs: `(params, key, v, steps, observed=None) -> (mean, v)`: after so many steps of
            sampling all hidden and then all visible units, the visible units, and before these
            were sampled their means; where `observed`, of v's shape, is 0 both are 0.
        start: `(params, key, n) -> v`, rows of random visible units to begin with.
    """

    free_energy: Callable[[Params, Batch], Array]
    hidden: Callable[[Params, Array], Array]
    visible: Callable[[Params, Array], Array]
    gibbs: Callable[..., tuple[Array, Array]]
    start: Callable[[Params, Key, int], Array]


class _Kind(NamedTuple):
    likelihood: Likelihood
    base: Callable[[Array], Array]
    log_partition: Callable[[Array], Array]


_KINDS: dict[str, _Kind] = {
    "bernoulli": _Kind(bernoulli(), jnp.zeros_like, softplus),
    "gaussian": _Kind(
        gaussian(), lambda u: u**2 / 2, lambda a: a**2 / 2 + jnp.log(2 * jnp.pi).astype(a.dtype) / 2
    ),
}


def rbm_energy(visible: Units = "bernoulli", hidden: Units = "bernoulli") -> Energy:
    """The energy of a restricted Boltzmann machine (Smolensky, 1986; Hinton, 2002).

    >>> params = rbm(6, 3).init(jax.random.key(0), {"x": jnp.ones((1, 6))})
    >>> energy = rbm_energy()
    >>> energy.free_energy(params, {"x": jnp.ones((5, 6))}).shape
    (5,)

    Raises:
        ValueError: other units, or Gaussian ones on both sides, whose energy has no minimum
            once W has a singular value above 1.
    """
    for side, units in (("visible", visible), ("hidden", hidden)):
        if units not in _KINDS:
            raise ValueError(f"{side} is one of {sorted(_KINDS)}; got {units!r}.")
    if visible == hidden == "gaussian":
        raise ValueError("Only one side may be Gaussian, or the energy has no minimum.")
    v_kind, h_kind = _KINDS[visible], _KINDS[hidden]

    def to_hidden(params: Params, v: Array) -> Array:
        w, c, _ = weights(params)
        return v @ w + c

    def to_visible(params: Params, h: Array) -> Array:
        w, _, b = weights(params)
        return h @ w.T + b

    def free_energy(params: Params, batch: Batch) -> Array:
        v = _rows(batch)
        inputs = to_hidden(params, v)
        own = jnp.sum(v_kind.base(v), axis=1) - v @ weights(params)[2]
        return own - jnp.sum(h_kind.log_partition(inputs), axis=1)

    def gibbs(
        params: Params, key: Key, v: Array, steps: int, observed: Array | None = None
    ) -> tuple[Array, Array]:
        def once(i: Any, now: tuple[Array, Array]) -> tuple[Array, Array]:
            h_key, v_key = jax.random.split(jax.random.fold_in(key, i))
            h = h_kind.likelihood.sample(h_key, to_hidden(params, now[1]))
            out = to_visible(params, h)
            both = v_kind.likelihood.mean(out), v_kind.likelihood.sample(v_key, out)
            return both if observed is None else (both[0] * observed, both[1] * observed)

        # the first step stands alone, so that XLA computes its inputs once with those of others
        state = once(0, (v, v))
        return state if steps == 1 else jax.lax.fori_loop(1, steps, once, state)

    def start(params: Params, key: Key, n: int) -> Array:
        bias = weights(params)[2]
        return v_kind.likelihood.sample(key, jnp.zeros((n, *bias.shape), bias.dtype))

    return Energy(
        free_energy,
        lambda params, v: h_kind.likelihood.mean(to_hidden(params, v)),
        lambda params, h: v_kind.likelihood.mean(to_visible(params, h)),
        gibbs,
        start,
    )


def rbm(
    shape: Shape,
    latent_dim: int,
    *,
    visible: Units = "bernoulli",
    hidden: Units = "bernoulli",
    cd_steps: int = 1,
    kernel_scale: chex.Numeric = 0.01,
    sample_steps: int = 1000,
    **parts: Any,
) -> Autoencoder:
    """A restricted Boltzmann machine that learns by contrastive divergence (Hinton, 2002).

        loss = mean F(x) - mean F(x after cd_steps steps of Gibbs sampling) + penalties

    whose gradient passes through the free energies F alone; the value itself says little:
    watch `squared_error`, of the reconstruction after one step. `encode` gives E[h | x],
    `decode` E[x | h]. The last step leaves visible units at their means (Hinton, 2010). For
    persistent chains take the learner `persistent`.

    Args:
        shape: of one example.
        latent_dim: the number of hidden units.
        visible: "bernoulli" for x in [0, 1], "gaussian" for x of unit variance.
        hidden: "bernoulli", or "gaussian" for linear codes.
        cd_steps: steps of Gibbs sampling from the data.
        kernel_scale: standard deviation of the initial weights; may be traced.
        sample_steps: steps of Gibbs sampling, from random units, in `sample`.
        **parts: of `deep`: `penalties`, such as `sparsity.kl_sparsity`, `dtype`, ...

    >>> batch = {"x": jnp.ones((5, 6))}
    >>> model = rbm(6, 3)
    >>> params = model.init(jax.random.key(0), batch)
    >>> model.encode(params, batch).shape, model.sample(params, jax.random.key(1), 4).shape
    ((5, 3), (4, 6))

    Raises:
        ValueError: what `rbm_energy` refuses, a number of steps below 1, or other networks.
    """
    energy = rbm_energy(visible, hidden)
    for name, steps in (("cd_steps", cd_steps), ("sample_steps", sample_steps)):
        check_range(name, steps, 1)
    if fixed := sorted({"networks", "likelihood", "code", "corrupt", "decoder"} & parts.keys()):
        raise ValueError(f"A restricted Boltzmann machine has no parts {fixed}; leave them out.")
    model = deep(
        shape,
        latent_dim,
        decoder="tied",
        activation="sigmoid" if hidden == "bernoulli" else "identity",
        likelihood=_KINDS[visible].likelihood,
        kernel_init=lambda key, *rest: kernel_scale * jax.random.normal(key, *rest),
        **parts,
    )

    def loss(params: Params, key: Key, batch: Batch) -> tuple[Array, Metrics]:
        chain_key, model_key = jax.random.split(key)
        v = _rows(batch)
        ones = {**batch, "x": jnp.ones(np.shape(batch["x"]), v.dtype)}
        seen = None if batch.get("mask") is None else _rows(ones)
        fixed = jax.lax.stop_gradient(params)
        mean, after = energy.gibbs(fixed, chain_key, v, 1, seen)
        gap = v - mean
        if cd_steps > 1:
            key = jax.random.fold_in(chain_key, 1)
            mean, _ = energy.gibbs(fixed, key, after, cd_steps - 1, seen)
        own = model.loss(params, model_key, batch)[1]
        chains = {"x": mean.reshape(np.shape(batch["x"]))}
        total, metrics = contrast(energy, params, batch, chains, own)
        return total, {**metrics, "squared_error": jnp.sum(gap**2) / len(v)}

    def sample(params: Params, key: Key, n: int) -> Array:
        start_key, chain_key = jax.random.split(key)
        v = energy.gibbs(params, chain_key, energy.start(params, start_key, n), sample_steps)[1]
        return v.reshape(n, *model.decode(params, jnp.zeros((1, latent_dim), v.dtype)).shape[1:])

    return model._replace(loss=loss, sample=jax.jit(sample, static_argnums=2), latent=None)


def contrast(
    energy: Energy, params: Params, batch: Batch, model_batch: Batch, own: Metrics
) -> tuple[Array, Metrics]:
    """The mean free energy of the data less that of the model's own rows, and penalties.

    Args:
        energy: of the machine.
        params: what the gradient is taken of.
        batch: the data.
        model_batch: rows of the model's own; no gradient passes through them or the data.
        own: the metrics of the model's loss, of which penalties and what it carries are taken.
    """
    v, model_v = jax.lax.stop_gradient((_rows(batch), _rows(model_batch)))
    total = _gap(energy, params, v, model_v) + own["penalty"]
    kept = {name: own[name] for name in own if name not in ("distortion", "rate", "squared_error")}
    data = jnp.mean(energy.free_energy(params, {"x": v}))
    return total, {**kept, "loss": total, "free_energy": data}


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _gap(energy: Energy, params: Params, v: Array, model_v: Array) -> Array:
    """The mean free energy of v less that of model_v, constants both."""
    data, model = (jnp.mean(energy.free_energy(params, {"x": x})) for x in (v, model_v))
    return data - model


@_gap.defjvp
def _gap_jvp(energy: Energy, primals: Any, tangents: Any) -> tuple[Array, Array]:
    """By ∂F/∂W = -v E[h | v], one product for both sets of rows: W has one gradient, not two."""
    params, *rows = primals
    dw, dc, db = weights(tangents[0])
    v, n = jnp.concatenate(rows), [len(x) for x in rows]
    share = np.repeat([-1 / n[0], 1 / n[1]], n).astype(v.dtype)
    h = share[:, None] * jnp.concatenate([energy.hidden(params, x) for x in rows])
    slope = jnp.vdot(v.T @ h, dw) + jnp.vdot(jnp.sum(h, axis=0), dc) + jnp.vdot(share @ v, db)
    return _gap(energy, *primals), slope


def weights(params: Params) -> tuple[Array, Array, Array]:
    """W `(d, latent_dim)`, the hidden biases c and the visible biases b of a machine.

    Raises:
        ValueError: the parameters are not those of one tied layer with biases.
    """
    encoder, decoder = params.get("encoder", {}), params.get("decoder", {})
    layer = encoder.get("layer_0", {})
    if set(encoder) != {"layer_0"} or "bias" not in layer or set(decoder) != {"bias_0"}:
        raise ValueError(
            "A restricted Boltzmann machine has one tied layer with biases; these parameters have "
            f"the encoder {sorted(encoder)} and the decoder {sorted(decoder)}."
        )
    return layer["kernel"], layer["bias"], decoder["bias_0"]


def _rows(batch: Batch) -> Array:
    """The visible units as flat rows, unobserved ones zero."""
    if batch.get("context") is not None:
        raise ValueError("A restricted Boltzmann machine takes no context; leave it out.")
    x = where_observed(batch, as_float(batch["x"]))
    return x.reshape(x.shape[0], -1)
