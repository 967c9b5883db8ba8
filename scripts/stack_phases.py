"""The phases of a pretraining in their order, whether they are trained or fetched."""

import math
from collections.abc import Callable, Generator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import jaxae
from jaxae import evaluation
from jaxae.base import Autoencoder, Batch, Key, Learner, Metrics, Params, map_batches
from jaxae.data.splitting import labelled_rows
from jaxae.evaluation.classification import accuracy
from jaxae.models.classifiers import Classifier, classifier, with_model
from jaxae.models.stacking import join_layers
from jaxae.training.pretraining import all_codes, start_layer
from reports import Splits
from stack_configs import Stack
from stack_reports import Trained


class Phase(NamedTuple):
    """One run of the chain.

    Attributes:
        name: of its folder.
        title: of its bar.
        learner: how.
        state: at first.
        key: of order and noise.
        rows: training and validation rows.
        judge: `(params, validation rows) -> metrics`, after each epoch.
        epochs: for how long.
        batch_size: examples in a step.
        monitor: the metric that marks the best epoch.
        take_best: whether the parameters of that epoch go on, or those of the last.
    """

    name: str
    title: str
    learner: Learner
    state: Any
    key: Key
    rows: tuple[Batch, Batch]
    judge: Callable[[Params, Batch], Metrics]
    epochs: int
    batch_size: int
    monitor: str
    take_best: bool


class Keys(NamedTuple):
    """The randomness of each part; `layers` is the key to give to `jaxae.pretrain`."""

    layers: Key
    losses: Key
    tuning: Key
    twin: Key
    labels: Key


RANDOM = "random start"
"""The name of what the pretrained is compared with."""
Follow = Callable[[Phase], Params]
"""Trains a phase and gives its parameters, or fetches those that a checkpoint has."""


def keys_of(key: Key) -> Keys:
    """The keys that a run draws from one."""
    return Keys(*jax.random.split(key, len(Keys._fields)))


class Plan(NamedTuple):
    """What the phases are made of.

    Attributes:
        config: of the run.
        splits: all rows.
        rows: training and validation rows without labels.
        keys: the randomness.
        layers: to pretrain.
        net: to which they unroll.
        labelling: the rows whose labels are used and the classifier on them, if any.
    """

    config: Stack
    splits: Splits
    rows: tuple[Batch, Batch]
    keys: Keys
    layers: list[jaxae.Layer]
    net: Autoencoder
    labelling: tuple[Batch, Classifier] | None


def plan(config: Stack, splits: Splits, keys: Keys | None = None) -> Plan:
    """The parts of a run, by default with the keys of its seed.

    Raises:
        ValueError: what models, paths to freeze or labels refuse, before anything is trained.
    """
    rows = {"x": splits.train["x"]}, {"x": splits.validation["x"]}
    shape, keys = splits.train["x"].shape[1:], keys or keys_of(jax.random.key(config.seed))
    net, layers = config.net(shape), config.pretraining(shape, len(splits.train["x"]))
    made = Plan(config, splits, rows, keys, layers, net, None)
    like = jax.eval_shape(net.init, keys.tuning, {"x": rows[0]["x"][:1]})
    jax.eval_shape(lambda params: _tune(made, params).state, like)
    if not config.labels:
        return made
    try:
        chosen = labelled_rows(splits.train, config.labels, config.seed)
    except ValueError as error:
        raise ValueError(f"labels={config.labels}: {error}") from error
    labelled = {name: a[chosen] for name, a in splits.train.items()}
    classes = 1 + max(int(part["y"].max()) for part in splits[:3])
    return made._replace(labelling=(labelled, classifier(net, classes)))


def chain(made: Plan, follow: Follow) -> Trained:
    """All phases in their order, each by `follow`."""
    coming = phases(made)
    phase = next(coming)
    while True:
        try:
            phase = coming.send(follow(phase))
        except StopIteration as end:
            return end.value


def phases(made: Plan) -> Generator[Phase, Params, Trained]:
    """Yields each phase and is sent its parameters; pure, so that a sweep may trace it."""
    trees: list[Params] = []
    below = made.rows
    models = [layer.model for layer in made.layers]
    for i in range(len(models)):
        if i:
            train, validation = (all_codes(models[i - 1], trees[-1], part) for part in below)
            below = train, validation
        trees.append((yield _layer(made, i, below)))
    stack = join_layers(trees)
    first = jaxae.unroll(models, stack, made.net, made.rows[1])
    nets, heads = {"pretrained": first}, {}
    if made.config.finetune != "none":
        nets["fine-tuned"] = yield _tune(made, first)
    if made.config.twin:
        start = made.net.init(made.keys.twin, made.rows[0])
        nets[RANDOM] = yield _tune(made, start, twin=True)
    if made.labelling is not None:
        heads["pretrained"] = yield _label(made, *made.labelling, first)
        heads[RANDOM] = yield _label(made, *made.labelling, None)
    return Trained(models, stack, made.net, nets, made.labelling, heads)


def _layer(made: Plan, i: int, rows: tuple[Batch, Batch]) -> Phase:
    """The i-th layer's pretraining on the codes of the one below, as `jaxae.pretrain` has it."""
    config, layer, keys = made.config, made.layers[i], made.keys
    state, key = start_layer(layer, i, keys.layers, rows[0])
    width = math.prod(rows[0]["x"].shape[1:])
    count, what = len(config.layers), f"{config.layer} {width}-{config.layers[i]}"
    return Phase(
        f"layer_{i}",
        f"layer {i + 1} of {count}: {what}",
        layer.learner,
        state,
        key,
        rows,
        _judge(config, layer.model, i, jax.random.fold_in(keys.losses, i)),
        layer.epochs,
        layer.batch_size,
        "validation_mse",
        take_best=False,
    )


def _judge(
    config: Stack, model: Autoencoder, i: int, key: Key
) -> Callable[[Params, Batch], Metrics]:
    """What is measured of the i-th layer on validation rows; of an RBM what it learns by."""
    if config.layer != "rbm":
        return evaluation.validation(model, key)
    errors = evaluation.reconstruction(model)
    energy = jaxae.rbm_energy(*config.sides(i))

    def judge(params: Params, data: Batch) -> Metrics:
        free = map_batches(lambda batch: energy.free_energy(params, batch), data)
        mse = errors(params, data)["mse"]
        return {"validation_free_energy": jnp.mean(free), "validation_mse": mse}

    return judge


def _tune(made: Plan, params: Params, twin: bool = False) -> Phase:
    """The training of the whole net; its twin differs in the first parameters, and has all free."""
    config, net, keys = made.config, made.net, made.keys
    frozen = () if twin else config.frozen
    learner, epochs, batch_size = config.finetuning(net, len(made.rows[0]["x"]), frozen)
    start = " from a random start" if twin else ""
    state_key, fit_key = jax.random.split(keys.tuning)
    return Phase(
        "twin" if twin else "finetune",
        f"fine-tuning{start}: {config.finetune}",
        learner,
        learner.init(params, state_key),
        fit_key,
        made.rows,
        evaluation.validation(net, jax.random.fold_in(keys.losses, len(config.layers))),
        epochs,
        batch_size,
        "validation_loss",
        take_best=True,
    )


def _label(made: Plan, labelled: Batch, labeller: Classifier, pretrained: Params | None) -> Phase:
    """A classifier's training, on a pretrained encoder or from a random start, all free."""
    config, keys = made.config, made.keys
    init_key, state_key, fit_key = jax.random.split(keys.labels, 3)
    params: Params = labeller.init(init_key, labelled)
    paths: tuple[str, ...] = ()
    if pretrained is not None:
        params = with_model(params, pretrained)
        paths = tuple(f"model/encoder/layer_{i}" for i in range(config.freeze_layers))
    learner, epochs, batch_size = config.labelling(labeller.loss, paths)
    score = accuracy(labeller)

    def judge(params: Params, validation: Batch) -> Metrics:
        scores = score(params, validation)
        return {"validation_accuracy": scores["accuracy"], "validation_loss": scores["nll"]}

    return Phase(
        "classifier" if pretrained is not None else "classifier_random",
        f"classifier on {config.labels} labels: {RANDOM if pretrained is None else 'pretrained'}",
        learner,
        learner.init(params, state_key),
        fit_key,
        (labelled, made.splits.validation),
        judge,
        epochs,
        batch_size,
        "loss",
        take_best=False,
    )
