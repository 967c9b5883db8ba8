"""Checkpoints: what was saved comes back bit for bit, and into nothing else."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxae.training.checkpoints import flatten, open_checkpoints, restore, save


class State(NamedTuple):
    params: dict
    opt_state: object = ()


PARAMS = {"dense": {"kernel": jnp.arange(6.0).reshape(2, 3), "bias": jnp.full(3, -0.5)}}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "checkpoints"


@pytest.fixture
def saved(folder):
    """Saves trees one after another and waits until they are on disk."""

    def write(*states, best=PARAMS):
        manager = open_checkpoints(folder)
        for epoch, state in enumerate(states, 1):
            save(manager, epoch, state, best)
        manager.close()

    return write


def read(folder, **like):
    manager = open_checkpoints(folder, write=False)
    try:
        return restore(manager, **like)
    finally:
        manager.close()


def bits(tree):
    """Type, dtype, shape and bytes of each array."""

    def raw(a):
        return jax.random.key_data(a) if jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key) else a

    arrays = [(type(a), str(a.dtype), np.asarray(raw(a))) for a in jax.tree.leaves(tree)]
    return [(kind, dtype, a.shape, a.tobytes()) for kind, dtype, a in arrays]


def assert_same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    assert bits(a) == bits(b)


TREES = {
    "float32": {"a": jnp.array([1 / 3, -0.0, np.nan, np.inf], jnp.float32)},
    "bfloat16": {"a": jnp.array([1 / 3, -2.0], jnp.bfloat16)},
    "float16": {"a": jnp.array([1 / 3, -2.0], jnp.float16)},
    "int32": {"a": jnp.array([-(2**31), 2**31 - 1], jnp.int32)},
    "uint8": {"a": jnp.array([0, 255], jnp.uint8)},
    "bool": {"a": jnp.array([[True], [False]])},
    "scalars": (jnp.float32(0.1), jnp.int32(7), jnp.bool_(True)),
    "keys": {"one": jax.random.key(3), "many": jax.random.split(jax.random.key(1, impl="rbg"), 2)},
    "raw key": jax.random.key_data(jax.random.key(5)),
    "lists": [jnp.ones(1), [jnp.zeros(2), (jnp.ones(3),)], None],
    "integers as names": {0: jnp.zeros(1), 10: jnp.ones(1), 9: jnp.ones(2)},
    "unusual names": {"a/b": jnp.zeros(1), "ä b": jnp.ones(2), "a": jnp.ones(3)},
    "adam": optax.adam(1e-3).init(PARAMS),
    "chain": optax.chain(optax.clip(1.0), optax.sgd(0.1, momentum=0.9)).init(PARAMS),
    "schedule": optax.adamw(optax.cosine_decay_schedule(0.1, 10)).init(PARAMS),
}


@pytest.mark.parametrize("name", TREES)
def test_every_kind_of_leaf_comes_back_bit_for_bit(name, saved, folder):
    state = State(PARAMS, TREES[name])
    saved(state)
    like = jax.tree.map(jnp.zeros_like, state) if "key" not in name else state
    assert_same(read(folder, state=like)["state"], state)


def test_python_numbers_come_back_as_a_step_returns_them(saved, folder):
    state = State(PARAMS, {"count": 3, "rate": 0.5, "flag": True, "x": np.ones(2)})
    saved(jax.jit(lambda state: state)(state))
    expected = State(PARAMS, jax.tree.map(jnp.asarray, state.opt_state))
    assert_same(read(folder, state=state)["state"], expected)


def test_restores_into_shapes_of_eval_shape(saved, folder):
    state = State(PARAMS, (optax.adam(1e-3).init(PARAMS), jax.random.key(3)))
    saved(state)
    assert_same(read(folder, state=jax.eval_shape(lambda: state))["state"], state)


def test_best_is_restored_alone_without_the_optimiser(saved, folder):
    best = jax.tree.map(lambda a: a + 1, PARAMS)
    saved(State(PARAMS, optax.adam(1e-3).init(PARAMS)), best=best)
    restored = read(folder, best=jax.eval_shape(lambda: best))
    assert sorted(restored) == ["best", "epoch", "monitor"]
    assert_same(restored["best"], best)


def test_the_epoch_is_that_of_the_save(folder):
    manager = open_checkpoints(folder)
    save(manager, 17, State(PARAMS), PARAMS)
    manager.close()
    assert read(folder, best=PARAMS)["epoch"] == 17


def test_only_the_newest_step_is_kept_and_restored(saved, folder):
    saved(*(State(jax.tree.map(lambda a, i=i: a + i, PARAMS)) for i in range(4)))
    assert [path.name for path in folder.iterdir()] == ["4"]
    like = State(PARAMS)
    assert_same(read(folder, state=like)["state"].params, jax.tree.map(lambda a: a + 3, PARAMS))


def test_nothing_saved_is_an_empty_mapping(folder):
    manager = open_checkpoints(folder)
    assert restore(manager, state=State(PARAMS)) == {}
    manager.close()


def test_reading_where_there_is_no_folder_is_an_error_and_makes_none(folder):
    with pytest.raises(ValueError, match="no checkpoints in"):
        open_checkpoints(folder, write=False)
    assert not folder.exists()


def test_reading_neither_changes_the_folder_nor_warns(saved, folder, caplog):
    saved(State(PARAMS))
    (folder / "2.orbax-checkpoint-tmp" / "state").mkdir(parents=True)  # a run is saving
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    caplog.clear()
    read(folder, best=PARAMS)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    assert not [record for record in caplog.records if record.levelname != "INFO"]


def test_a_half_written_save_is_ignored_and_then_cleared(saved, folder):
    saved(State(PARAMS))
    (folder / "7.orbax-checkpoint-tmp" / "state").mkdir(parents=True)
    assert read(folder, best=PARAMS)["epoch"] == 1
    manager = open_checkpoints(folder)
    assert restore(manager, best=PARAMS)["epoch"] == 1
    save(manager, 2, State(PARAMS), PARAMS)
    manager.close()
    assert [path.name for path in folder.iterdir()] == ["2"]


WRONG = {
    "another shape": (
        {"dense": {"kernel": jnp.zeros((2, 4)), "bias": jnp.zeros(3)}},
        ["  dense.kernel: saved [[2, 3], 'float32'], wanted [[2, 4], 'float32']"],
    ),
    "another dtype": (
        {"dense": {"kernel": jnp.zeros((2, 3)), "bias": jnp.zeros(3, jnp.int32)}},
        ["  dense.bias: saved [[3], 'float32'], wanted [[3], 'int32']"],
    ),
    "one more and one fewer": (
        {"dense": {"kernel": jnp.zeros((2, 3))}, "new": jnp.zeros(())},
        [
            "  dense.bias: saved [[3], 'float32'], wanted None",
            "  new: saved None, wanted [[], 'float32']",
        ],
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_tree_lists_the_differences_and_nothing_else(name, saved, folder, caplog, capfd):
    like, lines = WRONG[name]
    saved(State(PARAMS))
    caplog.clear()
    with pytest.raises(ValueError, match="checkpoint's best does not fit") as error:
        read(folder, best=like)
    assert str(error.value).splitlines()[1:] == lines
    assert not [record for record in caplog.records if record.levelname != "INFO"]
    assert capfd.readouterr() == ("", "")


def test_a_wrong_optimiser_is_named_as_state(saved, folder):
    saved(State(PARAMS, optax.adam(1e-3).init(PARAMS)))
    like = State(PARAMS, optax.sgd(1e-3).init(PARAMS))
    with pytest.raises(ValueError, match=r"state does not fit[^$]*opt_state\.0\.mu\.dense\.bias"):
        read(folder, state=like)


def test_of_many_differences_twenty_are_listed(saved, folder):
    saved(State(PARAMS), best={f"w{i:02}": jnp.zeros(1) for i in range(25)})
    with pytest.raises(ValueError, match="and 6 more") as error:
        read(folder, best={"other": jnp.zeros(1)})
    assert len(str(error.value).splitlines()) == 22


def test_two_arrays_of_one_name_are_refused():
    with pytest.raises(ValueError, match=r"share the name \['a\.b'\]"):
        flatten({"a.b": jnp.zeros(1), "a": {"b": jnp.ones(1)}})
