"""Adversarial training of codes: a learner whose state carries a critic."""

from typing import Any, NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxae.base import (
    Array,
    Autoencoder,
    Batch,
    Key,
    Learner,
    Metrics,
    Params,
    as_float,
    check_range,
)
from jaxae.models import corruptions
from jaxae.models.corruptions import Corruption, corrupted
from jaxae.models.networks import MLP
from jaxae.training.learners import descend


class AdversarialState(NamedTuple):
    """Parameters of the model, what its optimisers remember, and the same of the critic."""

    params: Params
    opt_state: Any
    critic: "CriticState"
    fooling: Any = None


class CriticState(NamedTuple):
    """Parameters of the critic, and what its optimiser remembers of them."""

    params: Params
    opt_state: Any


def adversarial(
    model: Autoencoder,
    tx: optax.GradientTransformation,
    critic_tx: optax.GradientTransformation | None = None,
    *,
    critic: nn.Module | None = None,
    adversarial_weight: chex.Numeric = 1.0,
    fooling_tx: optax.GradientTransformation | None = None,
    corrupt: Corruption = corruptions.none,
) -> Learner:
    """Makes codes follow their prior by a critic that tells them apart (Makhzani et al., 2016).

    Each step first trains the critic to tell draws of the prior from the batch's codes, then
    the model on its loss plus `adversarial_weight` times -log of the critic's belief that its
    codes are of the prior. The prior is any that can be sampled: `codes.Matched(prior)` gives it
    to deterministic codes. Adam with a momentum of 0.5 keeps the two from swinging.

    A distortion of a hundred nats drowns a belief of one, and the weight that mends it changes
    as both fall. With `fooling_tx` each has a step of its own, as in the paper, and an optimiser
    such as Adam makes the two steps of like size.

    Args:
        model: whose codes have a prior.
        tx: the model's optimiser.
        critic_tx: the critic's; None for one like the model's.
        critic: a Linen module `(batch, latent_dim) -> (batch, 1)` logits; by default two hidden
            layers of 256 rectified units.
        adversarial_weight: in the loss; may be traced.
        fooling_tx: the optimiser of a step that fools the critic, after that on the model's own
            loss; None for one step on the sum of both.
        corrupt: what the encoder sees where the critic judges its codes.

    >>> import jaxae
    >>> code = jaxae.codes.Matched(jaxae.priors.Standard(3))
    >>> model = jaxae.deep(8, 3, code=code, hidden_dims=(16,))
    >>> learner = adversarial(model, optax.adam(1e-3, b1=0.5))
    >>> batch = {"x": jnp.ones((5, 8))}
    >>> state = learner.init(model.init(jax.random.key(0), batch), jax.random.key(1))
    >>> state, metrics = learner.step(state, jax.random.key(2), batch)
    >>> sorted(metrics)
    ['critic_accuracy', 'critic_loss', 'distortion', 'fooling', 'loss', 'penalty', 'rate']

    Raises:
        ValueError: a concrete weight below 0, or a model without codes of a prior.
    """
    check_range("adversarial_weight", adversarial_weight, 0.0)
    if model.latent is None:
        raise ValueError(
            "adversarial needs a model whose codes have a prior, such as codes.Matched."
        )
    latent = model.latent
    critic_tx = tx if critic_tx is None else critic_tx
    net = MLP((256, 256, 1), activation="relu") if critic is None else critic

    def logits(params: Params, z: Array) -> Array:
        out: Any = net.apply({"params": params}, z)
        return out[..., 0]

    def init(params: Params, key: Key) -> AdversarialState:
        z = latent.prior(params, key, 1)
        own = net.init(key, z)["params"]
        learned = {name: tree for name, tree in params.items() if name != "carried"}
        fooling = None if fooling_tx is None else fooling_tx.init(learned)
        judge = CriticState(own, critic_tx.init(own))
        return AdversarialState(params, tx.init(learned), judge, fooling)

    def codes(params: Params, key: Key, batch: Batch) -> Array:
        corrupt_key, draw_key = jax.random.split(key)
        noisy = corrupted(corrupt, corrupt_key, {**batch, "x": as_float(batch["x"])})
        return latent.draw(params, draw_key, noisy).z[0]

    def critic_loss(params: Params, real: Array, fake: Array) -> tuple[Array, Metrics]:
        of_real, of_fake = logits(params, real), logits(params, fake)
        loss = jnp.mean(jax.nn.softplus(-of_real)) + jnp.mean(jax.nn.softplus(of_fake))
        right = 0.5 * (jnp.mean(of_real > 0) + jnp.mean(of_fake <= 0))
        return loss, {"critic_loss": loss, "critic_accuracy": right}

    def fooling_loss(
        params: Params, key: Key, batch: Batch, critic: Params
    ) -> tuple[Array, Metrics]:
        fooling = jnp.mean(jax.nn.softplus(-logits(critic, codes(params, key, batch))))
        return adversarial_weight * fooling, {"fooling": fooling}

    def sum_of_both(
        params: Params, key: Key, batch: Batch, critic: Params
    ) -> tuple[Array, Metrics]:
        loss_key, code_key = jax.random.split(key)
        loss, metrics = model.loss(params, loss_key, batch)
        fooling, fooled = fooling_loss(params, code_key, batch, critic)
        return loss + fooling, {**metrics, "loss": loss + fooling, **fooled}

    def in_turn(
        state: AdversarialState, key: Key, batch: Batch, fooling_tx: optax.GradientTransformation
    ) -> tuple[AdversarialState, Metrics]:
        loss_key, code_key = jax.random.split(key)
        state, metrics = descend(model.loss, tx, state, loss_key, batch)
        own = state._replace(opt_state=state.fooling)
        own, fooled = descend(fooling_loss, fooling_tx, own, code_key, batch, state.critic.params)
        after = state._replace(params=own.params, fooling=own.opt_state)
        return after, {**metrics, **fooled}

    def step(state: AdversarialState, key: Key, batch: Batch) -> tuple[AdversarialState, Metrics]:
        prior_key, code_key, loss_key = jax.random.split(key, 3)
        fake = jax.lax.stop_gradient(codes(state.params, code_key, batch))
        real = latent.prior(state.params, prior_key, fake.shape[0]).astype(fake.dtype)
        judge, judged = descend(critic_loss, critic_tx, state.critic, real, fake)
        state = state._replace(critic=judge)
        if fooling_tx is None:
            state, metrics = descend(sum_of_both, tx, state, loss_key, batch, judge.params)
        else:
            state, metrics = in_turn(state, loss_key, batch, fooling_tx)
        return state, {**metrics, **judged}

    return Learner(init, step)
