"""Checkpoints: the latest state and the best parameters, saved together by Orbax.

One step of the folder holds all of `state` (to go on training, bit for bit), `best` (to
use the model) and `meta` (the epoch, and what the arrays are). A save that is killed
midway leaves the one before.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxae.base import Params
from jaxae.training.parallel import devices_mesh, replicated

if TYPE_CHECKING:
    import orbax.checkpoint as ocp


def open_checkpoints(folder: Path | str, *, write: bool = True) -> "ocp.CheckpointManager":
    """The checkpoints below `folder`, of which a save keeps the newest; close it after use.

    Raises:
        ValueError: there is no such folder, and it is not to be written.
    """
    import orbax.checkpoint as ocp

    folder = Path(folder)
    if not write and not folder.is_dir():
        raise ValueError(f"There are no checkpoints in {folder}.")
    options = ocp.CheckpointManagerOptions(
        max_to_keep=1 if write else None,
        create=write,
        cleanup_tmp_directories=write,  # of a save that was killed
    )
    return ocp.CheckpointManager(
        folder.absolute(), options=options, item_names=("state", "best", "meta")
    )


def save(
    manager: "ocp.CheckpointManager",
    epoch: int,
    state: Any,
    best: Params,
    monitor: str | None = None,
) -> None:
    """Saves in the background what a run needs after `epoch` epochs, `best` being so by `monitor`.

    `manager.wait_until_finished()` returns when it is on disk.
    """
    import orbax.checkpoint as ocp

    arrays = {"state": _shared(flatten(state)), "best": _shared(flatten(best))}
    specifications = {name: specification(tree) for name, tree in arrays.items()}
    meta = {"epoch": epoch, "monitor": monitor, **specifications}
    manager.save(
        epoch,
        args=ocp.args.Composite(
            state=ocp.args.StandardSave(arrays["state"]),
            best=ocp.args.StandardSave(arrays["best"]),
            meta=ocp.args.JsonSave(meta),
        ),
    )


def restore(manager: "ocp.CheckpointManager", **like: Any) -> dict[str, Any]:
    """The items named, of the newest checkpoint, in the structure of the trees given.

    Args:
        manager: of `open_checkpoints`.
        **like: `state=...`, `best=...`, or both: trees of arrays (or of
            `jax.ShapeDtypeStruct`) with the structure to restore into.

    Returns:
        The trees by name, the number of finished epochs as "epoch" and the metric by
        which `best` is so as "monitor"; empty where nothing was saved yet.

    Raises:
        ValueError: what was saved has other arrays, shapes or dtypes; lists them.
    """
    import orbax.checkpoint as ocp

    step = manager.latest_step()
    if step is None:
        return {}
    meta = manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore())).meta
    flat = {name: flatten(tree) for name, tree in like.items()}
    for name, arrays in flat.items():
        _check_same(name, meta[name], specification(arrays))
    wanted = {name: ocp.args.StandardRestore(_shared(arrays)) for name, arrays in flat.items()}
    items = manager.restore(step, args=ocp.args.Composite(**wanted))
    trees = {name: _unflatten(like[name], items[name]) for name in like}
    return {"epoch": meta["epoch"], "monitor": meta["monitor"], **trees}


def flatten(tree: Any) -> dict[str, Any]:
    """The leaves by their path in the tree, with random keys as their bits.

    Raises:
        ValueError: two leaves have one path, as in `{"a.b": x, "a": {"b": y}}`.
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    paths = [jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in leaves]
    if len(set(paths)) != len(paths):
        twice = sorted({path for path in paths if paths.count(path) > 1})
        raise ValueError(f"Two arrays of a checkpoint share the name {twice}; rename one.")
    return {path: _raw(leaf) for path, (_, leaf) in zip(paths, leaves, strict=True)}


def specification(arrays: dict[str, Any]) -> dict[str, list[Any]]:
    """The shape and dtype of each of `flatten`'s arrays, as JSON has them."""
    return {name: [list(np.shape(a)), str(a.dtype)] for name, a in arrays.items()}


def _shared(arrays: dict[str, Any]) -> dict[str, Any]:
    """With several processes, arrays that each has for itself as one of all, as Orbax wants it."""
    return {n: replicated(a, devices_mesh()) if _is_local(a) else a for n, a in arrays.items()}


def _is_local(a: Any) -> bool:
    return jax.process_count() > 1 and isinstance(a, jax.Array) and a.is_fully_addressable


def _is_key(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _raw(leaf: Any) -> Any:
    if not isinstance(leaf, jax.Array | jax.ShapeDtypeStruct):
        leaf = jnp.asarray(leaf)  # a number or NumPy array as a step returns it
    if not _is_key(leaf):
        return leaf
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return jax.eval_shape(jax.random.key_data, leaf)
    return jax.random.key_data(leaf)


def _unflatten(like: Any, arrays: dict[str, Any]) -> Any:
    leaves, structure = jax.tree.flatten(like)
    restored = [
        arrays[name].addressable_data(0) if _is_local(a) else arrays[name]
        for name, a in flatten(like).items()
    ]
    keyed = [
        jax.random.wrap_key_data(a, impl=jax.random.key_impl(jnp.empty(leaf.shape, leaf.dtype)))
        if hasattr(leaf, "dtype") and _is_key(leaf)
        else a
        for leaf, a in zip(leaves, restored, strict=True)
    ]
    return jax.tree.unflatten(structure, keyed)


def _check_same(name: str, saved: dict[str, Any], wanted: dict[str, Any]) -> None:
    paths = sorted(saved.keys() | wanted.keys())
    differ = [p for p in paths if saved.get(p) != wanted.get(p)]
    if differ:
        lines = [f"  {p}: saved {saved.get(p)}, wanted {wanted.get(p)}" for p in differ[:20]]
        more = f"\n  and {len(differ) - 20} more" if len(differ) > 20 else ""
        raise ValueError(
            f"The checkpoint's {name} does not fit this model and learner:\n"
            + "\n".join(lines)
            + more
        )
