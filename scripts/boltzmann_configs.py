"""What the scripts can be told of restricted Boltzmann machines, as `configs` has it of others."""

import dataclasses
from typing import ClassVar, Literal

import jax.numpy as jnp
import optax

import jaxae
from data_options import Binarising
from jaxae.base import Autoencoder, Batch, Learner, check_range
from jaxae.models.boltzmann import Energy, Units
from options import Variant, in_use
from stack_configs import FIRST_EPOCHS, FIRST_MOMENTUM, MOMENTUM


@dataclasses.dataclass(frozen=True, kw_only=True)
class RBM(Binarising, Variant):
    """A restricted Boltzmann machine, by contrastive divergence (Hinton, 2002)."""

    latent_dim: int = 64
    """Number of hidden units."""
    visible: Units = "bernoulli"
    """bernoulli: binary units, for x in [0, 1]; gaussian: for x of unit variance."""
    hidden: Units = "bernoulli"
    """bernoulli: binary units; gaussian: a linear code. One side only may be gaussian."""

    persistent: bool = False
    """Chains go on from step to step (Tieleman, 2008) instead of starting from the batch."""
    num_chains: int = 100
    """Of persistent: how many."""
    cd_steps: int = 1
    """Steps of Gibbs sampling for an update."""
    sparsity_weight: float = 0.0
    """Of the sum of the divergences of mean activations from the target; 0 for none."""
    sparsity_target: float = 0.1
    """Mean activation of each hidden unit, in (0, 1), with a sparsity_weight."""

    epochs: int = 100
    learning_rate: float | None = None  # type: ignore[assignment]
    """Of momentum descent; the peak of the schedule. By default 0.05, of persistent chains
    0.01, and 0.001 where a side is gaussian."""
    schedule: Literal["constant", "cosine", "onecycle"] = "cosine"
    """How the learning rate changes over the run."""
    momentum: float | None = None
    """After the first five epochs, in which it is 0.5 (or this, if less). By default 0.9, of
    persistent chains 0.5, which more momentum can throw off."""
    weight_cost: float = 2e-4
    """Weight of half the squared norm of the kernel."""

    temperatures: int = 1000
    """Of annealed importance sampling, which estimates the test log-likelihood of more than 20
    binary units; more narrow the interval (14,500 in Salakhutdinov & Murray, 2008)."""
    sample_steps: int = 1000
    """Steps of Gibbs sampling between two columns of the figure of fantasies."""

    MONITOR: ClassVar = "validation_mse"  # the loss of contrastive divergence says little
    MEASURES: ClassVar = "boltzmann"
    BERNOULLI: ClassVar = ("visible", "visible units", "gaussian")

    def build(self, rows: Batch, steps: int) -> Autoencoder:
        if in_use(self.sparsity_weight) and self.hidden == "gaussian":
            raise ValueError("sparsity_weight is for bernoulli hidden units; leave it out.")
        kl = jaxae.sparsity.kl_sparsity(self.sparsity_target, self.sparsity_weight)
        return jaxae.rbm(
            rows["x"].shape[1:],
            self.latent_dim,
            visible=self.visible,
            hidden=self.hidden,
            cd_steps=self.cd_steps,
            penalties=[kl] if in_use(self.sparsity_weight) else [],
        )

    def energy(self) -> Energy:
        """That of the machine."""
        return jaxae.rbm_energy(self.visible, self.hidden)

    def peak(self) -> float:
        """The highest learning rate."""
        if self.learning_rate is not None:
            return self.learning_rate
        if "gaussian" in (self.visible, self.hidden):
            return 0.001
        return 0.01 if self.persistent else 0.05

    def optimizer(self, steps: int) -> optax.GradientTransformation:
        """Descent with a momentum that rises after the first epochs."""
        last = FIRST_MOMENTUM if self.persistent else MOMENTUM
        last = last if self.momentum is None else self.momentum
        check_range("momentum", last, 0.0, 1.0, open_high=True)
        values = [jnp.minimum(FIRST_MOMENTUM, last), last]
        start = FIRST_EPOCHS * (steps // self.epochs)
        momentum = optax.join_schedules([optax.constant_schedule(m) for m in values], [start])
        return jaxae.momentum_sgd(self.rate(steps), momentum, weight_cost=self.weight_cost)

    def trained(self, model: Autoencoder, steps: int) -> Learner:
        """Contrastive divergence from each batch, or with persistent chains."""
        if not self.persistent:
            return super().trained(model, steps)
        chains = {"num_chains": self.num_chains, "steps": self.cd_steps}
        tx, energy = self.optimizer(steps), self.energy()
        return jaxae.persistent(model, tx, energy=energy, **chains)
