"""Persistent contrastive divergence: a learner whose state carries Markov chains."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxae.base import Array, Autoencoder, Batch, Key, Learner, Metrics, Params, check_range
from jaxae.models.boltzmann import Energy, contrast, rbm_energy
from jaxae.training.learners import descend


class ChainState(NamedTuple):
    """Parameters, what the optimiser remembers of them, and visible units `(num_chains, d)`."""

    params: Params
    opt_state: Any
    chains: Array


def persistent(
    model: Autoencoder,
    tx: optax.GradientTransformation,
    *,
    energy: Energy | None = None,
    num_chains: int = 100,
    steps: int = 1,
) -> Learner:
    """Persistent contrastive divergence: chains that go on from step to step (Tieleman, 2008).

    They start at random and follow the model while it learns slowly, and so come closer to
    its own distribution than chains that start anew from each batch. The learning rate should
    be small and fall to zero, under `momentum_sgd` or plain descent: Adam, which divides by
    the noise of the chains, ends farther off.

    Args:
        model: an `rbm`; its penalties are kept, its own chains are not run.
        tx: the optimiser.
        energy: that of the model, `rbm_energy(visible, hidden)` with its units.
        num_chains: the number of chains.
        steps: steps of Gibbs sampling between two updates.

    >>> import jaxae
    >>> batch = {"x": jnp.ones((5, 6))}
    >>> model = jaxae.rbm(6, 3)
    >>> learner = persistent(model, optax.sgd(0.01), num_chains=10)
    >>> state = learner.init(model.init(jax.random.key(0), batch), jax.random.key(1))
    >>> state, metrics = learner.step(state, jax.random.key(2), batch)
    >>> state.chains.shape, sorted(metrics)
    ((10, 6), ['free_energy', 'loss', 'penalty'])

    Raises:
        ValueError: a number below 1; at `init`, parameters of no `rbm`; a batch with a mask.
    """
    energy = rbm_energy() if energy is None else energy
    check_range("num_chains", num_chains, 1)
    check_range("steps", steps, 1)

    def init(params: Params, key: Key) -> ChainState:
        learned = {name: tree for name, tree in params.items() if name != "carried"}
        return ChainState(params, tx.init(learned), energy.start(params, key, num_chains))

    def loss(params: Params, key: Key, batch: Batch, chains: Array) -> tuple[Array, Metrics]:
        own = model.loss(params, key, batch)[1]
        rows = chains.reshape(-1, *jnp.shape(batch["x"])[1:])
        return contrast(energy, params, batch, {"x": rows}, own)

    def step(state: ChainState, key: Key, batch: Batch) -> tuple[ChainState, Metrics]:
        if batch.get("mask") is not None:
            raise ValueError(
                "Persistent chains have all units, so batches must, too: leave mask out, or learn "
                "by contrastive divergence, with gradient(model.loss, tx)."
            )
        chain_key, loss_key = jax.random.split(key)
        chains = energy.gibbs(state.params, chain_key, state.chains, steps)[1]
        state = state._replace(chains=chains)
        return descend(loss, tx, state, loss_key, batch, chains)

    return Learner(init, step)
