"""What a pretraining is made of: configurations, layers that fit one net, phases, filters."""

import json

import jax
import numpy as np
import pytest

import jaxae
import stack_configs
import stack_reports
from jaxae.models.stacking import join_layers
from reports import load_splits
from stack_configs import Stack
from stack_phases import chain, plan

KINDS = ("rbm", "autoencoder", "tied", "denoising", "contractive", "sparse")
TINY = {
    "train_split": "train[:200]",
    "test_split": "test[:40]",
    "layers": (8, 4),
    "batch_size": 50,
    "pretrain_epochs": 3,
    "finetune_epochs": 2,
    "label_epochs": 2,
}


def train(phase):
    """The last parameters of a phase, without a run's folder."""
    state, rows = phase.state, phase.rows[0]
    advance = jaxae.over_arrays(phase.learner, rows, phase.key, batch_size=phase.batch_size)
    for epoch in range(phase.epochs):
        state, _ = advance(state, epoch)
    return state.params


@pytest.mark.parametrize("layer", KINDS)
@pytest.mark.parametrize("code", ["linear", "sigmoid"])
def test_layers_of_every_kind_unroll_to_the_net(layer, code):
    if (layer, code) == ("sparse", "linear"):
        code = None
    config = Stack(**TINY, layer=layer, code=code)
    batch = {"x": np.random.default_rng(0).random((5, 4, 3), np.float32)}
    models, net = config.models((4, 3)), config.net((4, 3))
    stack = jaxae.stacked(models)
    params = stack.init(jax.random.key(0), batch)
    unrolled = jaxae.unroll(models, params, net, batch)
    both = [m.decode(p, m.encode(p, batch)) for m, p in ((stack, params), (net, unrolled))]
    np.testing.assert_allclose(*both, rtol=1e-5)
    np.testing.assert_allclose(both[0].shape, batch["x"].shape)


@pytest.mark.parametrize("layer", ["rbm", "denoising"])
def test_phases_learn_what_jaxae_pretrain_does_with_the_same_key(layer):
    config = Stack(**TINY, layer=layer, finetune="none")
    splits = load_splits(config)
    titles = []

    def follow(phase):
        titles.append(phase.title)
        return train(phase)

    made = plan(config, splits)
    trained = chain(made, follow)
    assert titles == [f"layer 1 of 2: {layer} 64-8", f"layer 2 of 2: {layer} 8-4"]
    rows = {"x": splits.train["x"]}
    expected = jaxae.pretrain(made.layers, rows, made.keys.layers).params
    for ours, theirs in zip(*map(jax.tree.leaves, (trained.stack, expected)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)


def test_frozen_parts_stay_in_fine_tuning_and_in_the_classifier_but_not_in_their_twins():
    frozen = {"frozen": ("encoder/layer_0",), "freeze_layers": 2}
    config = Stack(**TINY, **frozen, layer="tied", labels=20, twin=True)
    made, states = plan(config, load_splits(config)), {}

    def follow(phase):
        after = train(phase)
        states[phase.name] = phase.state.params, after
        return after

    chain(made, follow)

    def moved(name, *path):
        """Whether each encoder's kernel is another after the phase."""
        return [
            not np.array_equal(*(_at(tree, *path, layer, "kernel") for tree in states[name]))
            for layer in ("layer_0", "layer_1")
        ]

    assert moved("finetune", "encoder") == [False, True]
    assert moved("twin", "encoder") == [True, True]
    assert moved("classifier", "model", "encoder") == [False, False]
    assert moved("classifier_random", "model", "encoder") == [True, True]
    assert not np.array_equal(*(_at(tree, "head", "kernel") for tree in states["classifier"]))
    first = _at(states["classifier"][0], "model", "decoder", "layer_0", "kernel")
    assert np.array_equal(first, _at(states["finetune"][0], "decoder", "layer_0", "kernel"))


def _at(tree, *path):
    for name in path:
        tree = tree[name]
    return np.asarray(tree)


def test_a_configuration_survives_its_file():
    config = Stack(layers=(5,), frozen=("encoder/layer_0",), seed=3)
    again = stack_configs.from_json(json.loads(json.dumps(stack_configs.to_json(config))))
    assert again == config
    with pytest.raises(ValueError, match=r"pretraining lacks: \['flavour'\]"):
        stack_configs.from_json({"variant": "pretraining", "flavour": 1})


def test_filters_of_upper_layers_are_products_of_kernels():
    rng = np.random.default_rng(0)
    kernels = [rng.normal(size=size).astype(np.float32) for size in ((6, 5), (5, 4), (4, 2))]
    stack = join_layers([{"encoder": {"layer_0": {"kernel": kernel}}} for kernel in kernels])
    found = stack_reports.projected_filters(stack, 3)
    inputs = np.eye(6, dtype=np.float64)
    for i, kernel in enumerate(kernels):
        inputs = inputs @ kernel
        np.testing.assert_allclose(found[i], inputs, rtol=1e-12)
