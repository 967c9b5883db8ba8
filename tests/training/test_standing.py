"""Where members stand, against a loop over one member's numbers at a time."""

import math

import numpy as np
import pytest

from jaxae.training.standing import Standing

MEMBERS, EPOCHS = 40, 12


def by_hand(losses, values, patience):
    """The best epoch, its value, whether it diverged and how many epochs count, of one member."""
    best, lowest, diverged, counted = 0, math.inf, False, 0
    for epoch, (loss, value) in enumerate(zip(losses, values, strict=True), 1):
        if diverged or (patience is not None and counted - best >= patience):
            break
        if not (math.isfinite(loss) and math.isfinite(value)):
            diverged = True
            break
        counted = epoch
        if value < lowest:
            best, lowest = epoch, value
    return best, lowest, diverged, counted


def numbers(seed):
    """Losses and values with ties, NaN and infinities, `(epochs, members)` each."""
    rng = np.random.default_rng(seed)
    losses, values = rng.normal(size=(2, EPOCHS, MEMBERS)).round(1)
    losses[rng.random(losses.shape) < 0.03] = np.nan
    values[rng.random(values.shape) < 0.03] = np.inf
    return losses, values


def row_of(epoch, losses, values):
    return {"epoch": epoch + 1, "seconds": 0.0, "loss": losses[epoch], "val": values[epoch]}


@pytest.mark.parametrize("patience", [None, 1, 2, 4])
def test_members_stop_diverge_and_are_best_as_each_by_itself(patience):
    losses, values = numbers(patience or 0)
    standing = Standing.start((), "val", patience)
    took, got_better = np.zeros(MEMBERS, int), np.zeros(MEMBERS, int)
    for epoch in range(EPOCHS):
        standing, good, better = standing.after(row_of(epoch, losses, values))
        assert not (better & ~good).any()
        took += good
        got_better = np.where(better, epoch + 1, got_better)
    expected = [by_hand(losses[:, i], values[:, i], patience) for i in range(MEMBERS)]
    best, lowest, diverged, counted = (np.array(a) for a in zip(*expected, strict=True))
    assert 0 < diverged.sum() < MEMBERS
    np.testing.assert_array_equal(standing.best_epoch, best)
    np.testing.assert_array_equal(standing.lowest, lowest)
    np.testing.assert_array_equal(standing.diverged, diverged)
    np.testing.assert_array_equal(took, counted)
    np.testing.assert_array_equal(got_better, best)
    assert standing.epoch == EPOCHS


@pytest.mark.parametrize("patience", [None, 2])
def test_members_that_stopped_and_have_no_numbers_any_more_stand_as_they_did(patience):
    losses, values = numbers(7)
    standing = Standing.start((MEMBERS,), "val", patience)
    rows = []
    for epoch in range(EPOCHS):
        row = row_of(epoch, losses, values)
        gone = ~standing.moving  # a file has no lines of these
        rows.append({**row, "loss": np.where(gone, np.nan, row["loss"])})
        rows[-1]["val"] = np.where(gone, np.nan, row["val"])
        standing = standing.after(row)[0]
    again = Standing.of(rows, "val", patience)
    for mine, theirs in zip(standing, again, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_a_run_of_its_own_stands_as_a_member_does():
    losses, values = numbers(1)
    whole = Standing.of([row_of(i, losses, values) for i in range(EPOCHS)], "val", 3)
    for member in range(MEMBERS):
        rows = [row_of(i, losses[:, member], values[:, member]) for i in range(EPOCHS)]
        alone = Standing.of([{k: float(v) for k, v in row.items()} for row in rows], "val", 3)
        assert np.shape(alone.diverged) == ()
        for name in ("lowest", "best_epoch", "diverged"):
            np.testing.assert_array_equal(getattr(alone, name), getattr(whole, name)[member])


def test_more_patience_afterwards_sets_tired_members_going_and_no_diverged_ones():
    losses = np.array([[1.0, 1.0], [2.0, np.nan], [3.0, 0.0]])
    rows = [row_of(i, losses, losses) for i in range(3)]
    assert Standing.of(rows, "val", 2).moving.tolist() == [False, False]
    assert Standing.of(rows, "val", 3).moving.tolist() == [True, False]


def test_before_any_epoch_all_go_on_and_none_is_best():
    standing = Standing.of([], "loss", 1)
    assert (standing.epoch, int(standing.best_epoch), bool(standing.moving)) == (0, 0, True)
