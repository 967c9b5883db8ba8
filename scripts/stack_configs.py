"""What `pretrain.py` can be told, and what it makes of that: layers, the whole net, learners."""

import dataclasses
import math
from typing import Any, Literal

import optax

import jaxae
from jaxae.base import Autoencoder, Batch, Learner
from jaxae.models import variants
from jaxae.models.boltzmann import Units
from jaxae.models.networks import Shape
from jaxae.models.sparse_variants import sparse
from options import CORRUPTIONS, DataOptions, RunOptions

KIND = "pretraining"
"""The word that tells the configuration of a pretraining from those of `configs`."""
MOMENTUM, FIRST_MOMENTUM, FIRST_EPOCHS = 0.9, 0.5, 5
"""Of RBMs, later and in their first epochs (Hinton & Salakhutdinov, 2006)."""
LBFGS_STEPS, LBFGS_BATCH = 3, 1000
"""As that paper's line searches of conjugate gradients, on batches of so many rows."""
STEPS = {"layer": 3000, "adam": 3000, "sgd": 3000, "lbfgs": 100, "labels": 2000}
LEAST_EPOCHS = 10


@dataclasses.dataclass(frozen=True, kw_only=True)
class StackOptions:
    """The layers, how they are pretrained, and what comes after."""

    layers: tuple[int, ...] = (256, 128, 16)
    """Widths from the input on; the last is that of the code."""
    layer: Literal["rbm", "autoencoder", "tied", "denoising", "contractive", "sparse"] = "rbm"
    """What each layer is trained as. All have sigmoid units but for the code."""
    code: Literal["linear", "sigmoid"] | None = None
    """Units of the last layer; by default linear (of an RBM: Gaussian), of sparse ones sigmoid."""
    visible: Literal["bernoulli", "gaussian"] = "bernoulli"
    """bernoulli: x in [0, 1] (an RBM's binary units, otherwise cross-entropy).
    gaussian: x of unit variance (an RBM's Gaussian units, otherwise squared error)."""
    pretrain_epochs: int | None = None
    """Of each layer; by default as many as take 3,000 steps, at least 10."""
    batch_size: int = 100
    """Examples in a step, but for labels and L-BFGS."""
    layer_learning_rate: float | None = None
    """Of RBMs by default 0.1, but 0.001 next to Gaussian visible units.
    Of the Adam of other layers by default 0.002; it falls to 0 along a cosine."""
    code_learning_rate: float | None = None
    """Of the last layer; by default that of the others, but 0.001 for an RBM's linear code."""

    weight_cost: float = 2e-4
    """Of RBMs: weight of half the squared norm of kernels.
    Their momentum is 0.5 in the first five epochs and 0.9 later."""
    cd_steps: int = 1
    """Of RBMs: steps of Gibbs sampling in contrastive divergence."""
    noise_level: float = 0.2
    """Of denoising layers: a probability, or a standard deviation for gaussian."""
    corruption: Literal["masking", "gaussian", "salt-and-pepper", "dropout"] = "masking"
    """Of denoising layers: what their inputs suffer."""
    contractive_weight: float = 0.1
    """Of contractive layers: weight of the squared norm of the code's Jacobian."""
    sparsity_target: float = 0.1
    """Of sparse layers: mean activation of each unit, in (0, 1)."""
    sparsity_weight: float = 0.1
    """Of sparse layers: of the sum of the divergences from the target, in nats."""

    finetune: Literal["adam", "sgd", "lbfgs", "none"] = "adam"
    """How the layers, unrolled to one net, are then trained to reconstruct.
    lbfgs: three steps on each batch of 1,000 rows, as Hinton & Salakhutdinov (2006) did.
    The epoch with the best validation loss counts."""
    finetune_epochs: int | None = None
    """By default as many as take 3,000 steps, 100 of lbfgs; at least 10."""
    finetune_learning_rate: float | None = None
    """By default 0.002 of adam and 0.01 of sgd (momentum 0.9); falls to 0 along a cosine."""
    frozen: tuple[str, ...] = ()
    """Parts of the net that fine-tuning leaves, such as encoder/layer_0."""
    twin: bool = False
    """Also fine-tune the same net from a random start, for as many epochs."""

    labels: int = 0
    """So many training rows, stratified, train a classifier on the pretrained encoder.
    Beside it: the same net from a random start, logistic regression on raw inputs."""
    label_epochs: int | None = None
    """By default as many as take 2,000 steps, at least 10.
    The last one counts, so that no other label has a say."""
    label_batch_size: int = 20
    """Labelled examples in a step."""
    label_learning_rate: float = 1e-3
    """Of Adam; falls to 0 along a cosine."""
    freeze_layers: int = 0
    """So many lower layers of the pretrained encoder are left as they are."""

    sweep: tuple[str, ...] = ()
    """Numbers in which the members of a sweep differ, such as noise-level=0,0.1,0.4
    or label-learning-rate=1e-4..1e-2; each phase trains all members as one program."""
    seeds: int = 1
    """Members at each point of a sweep."""
    samples: int = 16
    """Points drawn where a range is given."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stack(RunOptions, DataOptions, StackOptions):
    """A stack of layers pretrained one by one, fine-tuned as a whole, and given labels."""

    @property
    def units(self) -> str:
        """The kind of code."""
        return self.code or ("sigmoid" if self.layer == "sparse" else "linear")

    def models(self, shape: Shape) -> list[Autoencoder]:
        """Each layer as the autoencoder that it is trained as."""
        inputs: list[Shape] = [shape, *self.layers[:-1]]
        return [self._model(i, inputs[i]) for i in range(len(self.layers))]

    def _model(self, i: int, shape: Shape) -> Autoencoder:
        units = self.layers[i]
        visible, hidden = self.sides(i)
        if self.layer == "rbm":
            return jaxae.rbm(shape, units, visible=visible, hidden=hidden, cd_steps=self.cd_steps)
        parts: dict[str, Any] = {
            "activation": "sigmoid",
            "latent_activation": "identity" if hidden == "gaussian" else "sigmoid",
            "likelihood": getattr(jaxae.likelihoods, visible)(),
        }
        if self.layer == "denoising":
            corruption = CORRUPTIONS[self.corruption]
            parts |= {"noise_level": self.noise_level, "corruption": corruption}
        if self.layer == "contractive":
            parts |= {"contractive_weight": self.contractive_weight}
        if self.layer == "sparse":
            parts |= {"sparsity_target": self.sparsity_target}
            return sparse(shape, units, sparsity_weight=self.sparsity_weight, **parts)
        preset = variants.deep if self.layer == "autoencoder" else getattr(variants, self.layer)
        return preset(shape, units, **parts)

    def sides(self, i: int) -> tuple[Units, Units]:
        """The visible and the hidden units of a layer; "gaussian" are the linear ones."""
        linear = i == len(self.layers) - 1 and self.units == "linear"
        return self.visible if i == 0 else "bernoulli", "gaussian" if linear else "bernoulli"

    def net(self, shape: Shape) -> Autoencoder:
        """The autoencoder to which the layers unroll."""
        return variants.deep(
            shape,
            self.layers[-1],
            hidden_dims=self.layers[:-1],
            activation="sigmoid",
            latent_activation="identity" if self.units == "linear" else "sigmoid",
            likelihood=getattr(jaxae.likelihoods, self.visible)(),
        )

    def pretraining(self, shape: Shape, examples: int) -> list[jaxae.Layer]:
        """The layers as `jaxae.pretrain` takes them, for so many training rows."""
        epochs = self._epochs(self.pretrain_epochs, "layer", examples, self.batch_size)
        steps, models, layers = examples // self.batch_size, self.models(shape), []
        for i, model in enumerate(models):
            rate = self._layer_rate(i)
            if self.layer == "rbm":
                changes = {FIRST_EPOCHS * steps: MOMENTUM / FIRST_MOMENTUM}
                momentum = optax.piecewise_constant_schedule(FIRST_MOMENTUM, changes)
                tx = jaxae.momentum_sgd(rate, momentum, weight_cost=self.weight_cost)
            else:
                tx = optax.adam(_falling(rate, steps * epochs))
            learner = jaxae.gradient(model.loss, tx)
            layers.append(jaxae.Layer(model, learner, epochs, self.batch_size))
        return layers

    def _layer_rate(self, i: int) -> float:
        if i == len(self.layers) - 1 and self.code_learning_rate is not None:
            return self.code_learning_rate
        if self.layer == "rbm" and self.sides(i)[1] == "gaussian":
            return 0.001
        if self.layer_learning_rate is not None:
            return self.layer_learning_rate
        if self.layer == "rbm":
            return 0.001 if self.sides(i)[0] == "gaussian" else 0.1
        return 0.002

    def finetuning(
        self, net: Autoencoder, examples: int, frozen: tuple[str, ...] = ()
    ) -> tuple[Learner, int, int]:
        """How the whole net is trained: the learner, the epochs and the batch size."""
        size = min(LBFGS_BATCH, examples) if self.finetune == "lbfgs" else self.batch_size
        epochs = self._epochs(self.finetune_epochs, self.finetune, examples, size)
        given, steps = self.finetune_learning_rate, examples // size * epochs
        if self.finetune == "lbfgs":
            learner = jaxae.gradient(net.loss, optax.lbfgs(), frozen=frozen)
            return jaxae.restarted(learner, LBFGS_STEPS), epochs, size
        if self.finetune == "sgd":
            tx = optax.sgd(_falling(0.01 if given is None else given, steps), momentum=0.9)
        else:
            tx = optax.adam(_falling(0.002 if given is None else given, steps))
        return jaxae.gradient(net.loss, tx, frozen=frozen), epochs, size

    def labelling(self, loss: Any, frozen: tuple[str, ...] = ()) -> tuple[Learner, int, int]:
        """How a classifier of that loss is trained: the learner, the epochs, the batch size."""
        size = min(self.label_batch_size, self.labels)
        epochs = self._epochs(self.label_epochs, "labels", self.labels, size)
        rate = _falling(self.label_learning_rate, self.labels // size * epochs)
        return jaxae.gradient(loss, optax.adam(rate), frozen=frozen), epochs, size

    def _epochs(self, given: int | None, name: str, examples: int, batch_size: int) -> int:
        enough = math.ceil(STEPS.get(name, 1) / max(1, examples // batch_size))
        return max(LEAST_EPOCHS, enough) if given is None else given

    def describe(self, rows: Batch) -> str:
        """The layers and their widths in words."""
        widths = (math.prod(rows["x"].shape[1:]), *self.layers)
        return f"{self.layer} layers {'-'.join(map(str, widths))}"


def _falling(rate: float, steps: int) -> optax.Schedule:
    return optax.cosine_decay_schedule(rate, max(steps, 1))


def to_json(config: Stack) -> dict[str, Any]:
    """What identifies the run: all but where it is kept."""
    fields = dataclasses.asdict(config)
    lists = {k: list(v) if isinstance(v, tuple) else v for k, v in fields.items()}
    kept = {k: v for k, v in lists.items() if k not in config.NOT_CONFIGURATION}
    return {"variant": KIND, **kept}


def from_json(values: dict[str, Any], **others: Any) -> Stack:
    """The configuration that `to_json` wrote.

    Raises:
        ValueError: an unknown option, as an older or newer version may have written.
    """
    values = {
        k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k != "variant"
    }
    known = {field.name for field in dataclasses.fields(Stack)}
    if unknown := sorted(values.keys() - known):
        raise ValueError(f"The run's configuration has options that {KIND} lacks: {unknown}.")
    return Stack(**values, **others)
