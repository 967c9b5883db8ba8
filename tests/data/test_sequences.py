import jax
import numpy as np
import optax
import pytest

import jaxae
from jaxae.data.sequences import bucketed, pad, step_mask

RNG = np.random.default_rng(4)
LENGTHS = RNG.integers(1, 21, size=103)
SEQUENCES = [RNG.normal(size=(n, 2)) for n in LENGTHS]
DATA = {**pad(SEQUENCES), "y": np.arange(103)}


def test_what_is_padded_is_there_and_the_rest_is_masked_zeros():
    x, mask = DATA["x"], DATA["mask"]
    assert x.dtype == mask.dtype == np.float32
    assert x.shape == (103, LENGTHS.max(), 2)
    for row, there, sequence in zip(x, mask, SEQUENCES, strict=True):
        np.testing.assert_allclose(row[: len(sequence)], sequence, rtol=1e-6)
        assert not row[len(sequence) :].any()
        assert there.tolist() == [1] * len(sequence) + [0] * (len(there) - len(sequence))


def test_lengths_and_kinds_of_sequences():
    assert pad([[1.0, 2.0], [3.0]], length=4)["x"].shape == (2, 4, 1)
    found = pad([np.array([4, 2], np.uint8), np.array([1], np.uint8)])
    assert found["x"].dtype == np.int32
    assert found["x"].tolist() == [[4, 2], [1, 0]]
    assert pad([np.array([[1, 2]]), np.array([[3, 4], [5, 6]])])["x"].dtype == np.float32
    np.testing.assert_array_equal(step_mask(LENGTHS, LENGTHS.max()), DATA["mask"])


@pytest.mark.parametrize(
    ("sequences", "length", "message"),
    [
        ([], None, "a step at least"),
        ([[1.0], []], None, "a step at least"),
        ([np.ones((2, 3)), np.ones((2, 2))], None, "same channels"),
        ([np.ones(2), np.ones(2, int)], None, "one kind"),
        ([np.ones((2, 3, 1))], None, "same channels"),
        ([np.ones(3), np.ones(5)], 4, "5 steps of sequence 1"),
        ([np.array([1.0, np.nan])], None, "NaN"),
    ],
)
def test_what_cannot_be_padded_is_refused(sequences, length, message):
    with pytest.raises(ValueError, match=message):
        pad(sequences, length)


@pytest.mark.parametrize("lengths", [[0, 2], [1, 4], [[1]], [1.0], []])
def test_lengths_that_are_none_are_refused(lengths):
    with pytest.raises(ValueError, match="lengths"):
        step_mask(lengths, 3)


@pytest.mark.parametrize("num_buckets", [1, 3, 4, 50])
def test_an_epoch_of_buckets_loses_no_step_and_few_rows(num_buckets):
    batches = list(bucketed(DATA, 10, num_buckets=num_buckets))
    rows = np.concatenate([batch["y"] for batch in batches])
    assert len(np.unique(rows)) == len(rows) == 100
    assert len({batch["x"].shape for batch in batches}) <= num_buckets
    for batch in batches:
        time = batch["x"].shape[1]
        np.testing.assert_array_equal(batch["x"], DATA["x"][batch["y"], :time])
        np.testing.assert_array_equal(batch["mask"], DATA["mask"][batch["y"], :time])
        assert batch["mask"].sum() == DATA["mask"][batch["y"]].sum()
    # fewer steps are computed than without buckets
    steps = sum(batch["mask"].size for batch in batches)
    assert steps <= 100 * DATA["mask"].shape[1]
    assert num_buckets == 1 or steps < 0.75 * 100 * DATA["mask"].shape[1]


def test_epochs_are_shuffled_by_their_number_and_the_seed_alone():
    def rows(**how):
        return np.concatenate([batch["y"] for batch in bucketed(DATA, 10, **how)]).tolist()

    assert rows(seed=1) == rows(seed=1)
    assert rows(seed=1) != rows(seed=2)
    assert rows(seed=1) != rows(seed=1, epoch=1)
    left = {i for epoch in range(40) for i in set(range(103)) - set(rows(epoch=epoch))}
    assert len(left) > 10  # not always the same


def test_steps_that_are_absent_in_front_are_kept_with_their_rows():
    mask = DATA["mask"][:, ::-1]
    (batch,) = bucketed({"x": DATA["x"][:, ::-1], "mask": mask}, 103)
    assert batch["mask"].sum() == mask.sum()
    assert batch["mask"].shape == mask.shape


def test_masks_of_entries_count_by_their_steps():
    entries = np.repeat(DATA["mask"][..., None], 2, axis=2)
    entries[..., 0] = 0
    found = list(bucketed({**DATA, "mask": entries}, 10))
    for batch, other in zip(found, bucketed(DATA, 10), strict=True):
        assert batch["mask"].shape == batch["x"].shape
        np.testing.assert_array_equal(batch["x"], other["x"])


def test_a_training_over_buckets_compiles_once_a_shape():
    traces = []
    model = jaxae.deep((20, 2), 2, networks=_sums)
    learner = jaxae.gradient(model.loss, optax.sgd(0.01))

    def step(state, key, batch):
        traces.append(batch["x"].shape)
        return learner.step(state, key, batch)

    state, key = jaxae.start(model, learner, DATA, jax.random.key(0))
    batches = (b for epoch in range(3) for b in bucketed(DATA, 10, epoch=epoch, num_buckets=3))
    after = list(jaxae.stream(learner._replace(step=step), state, key, batches))
    assert len(after) == 30
    assert len(traces) == len(set(traces)) == 3


def _sums(shape, latent_dim, *, hidden_dims, outputs, latent_outputs):
    from jaxae.models.networks.recurrent_pairs import recurrent

    return recurrent(shape, latent_dim, hidden_dims=(2,))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": 104}, "batch_size"),
        ({"num_buckets": 0}, "num_buckets"),
        ({"seed": -1}, "seed"),
        ({"data": {"x": DATA["x"]}}, "mask of the steps"),
        ({"data": {**DATA, "mask": DATA["mask"][:, 0]}}, "mask of the steps"),
        ({"data": {**DATA, "mask": DATA["mask"][:, :3]}}, "mask of the steps"),
    ],
)
def test_what_cannot_be_put_into_buckets_is_refused_at_once(change, message):
    with pytest.raises(ValueError, match=message):
        bucketed(**{"data": DATA, "batch_size": 10, **change})


def test_a_file_of_sequences_with_their_mask_loads_as_it_is(tmp_path):
    path = tmp_path / "sequences.npz"
    np.savez(path, **DATA)
    found = jaxae.load(path)
    assert found.keys() == DATA.keys()
    for name, array in DATA.items():
        np.testing.assert_array_equal(found[name], array)
