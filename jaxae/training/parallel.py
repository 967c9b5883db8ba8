"""One model on several devices: parameters on each of them, a share of every batch on each.

Nothing else changes: `fit`, `stream` and `run` compile the learner of `data_parallel` for all
devices, with the sums between them that a mean over the whole batch needs. So losses that
look at a batch as a whole stay what they are on one device.
"""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxae.base import Batch, Key, Learner, Metrics, Params, is_traced, num_examples


def devices_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Devices in a row, over which `data_parallel` shares the examples of a batch.

    Args:
        devices: which; None takes all, those of every process included.

    >>> devices_mesh(jax.devices()[:1]).size
    1

    Raises:
        ValueError: no device, or one twice.
    """
    chosen = jax.devices() if devices is None else list(devices)
    if not chosen or len(set(chosen)) < len(chosen):
        raise ValueError(f"A mesh needs at least one device, and each once; got {chosen}.")
    return Mesh(np.asarray(chosen), ("data",))


def data_parallel(learner: Learner, mesh: Mesh) -> Learner:
    """Takes the steps of `learner` with each batch shared by the devices of `mesh`.

    Every device has the whole state and computes on `batch_size / devices` examples; what
    the loss sums over the batch is summed over the devices. Results equal those of one
    device within rounding, noise included, as long as keys are of JAX's default kind
    (`rbg` draws other numbers). What no example enters, such as the chains of
    `persistent`, is computed by all devices alike.

    Give `fit` and `over_arrays` `replicated(data, mesh)`, or, where the data is too large
    for one device, `global_batch(data, mesh)`: then the devices exchange the rows of each
    batch, in the type that the data has.

    >>> import jaxae, optax
    >>> model = jaxae.undercomplete(8, 3)
    >>> mesh = devices_mesh()
    >>> learner = data_parallel(jaxae.gradient(model.loss, optax.adam(1e-2)), mesh)
    >>> data = replicated({"x": jax.random.normal(jax.random.key(0), (32, 8))}, mesh)
    >>> state = learner.init(model.init(jax.random.key(1), data), jax.random.key(2))
    >>> state, history = jaxae.fit(
    ...     learner, state, data, jax.random.key(3), epochs=2, batch_size=16
    ... )

    Raises:
        ValueError: a mesh with axes that are not automatic, as those of `jax.make_mesh` are
            not; at a step, a batch that the devices cannot share equally.
    """
    _check_mesh(mesh)

    def init(params: Params, key: Key) -> Any:
        return replicated(learner.init(params, key), mesh)

    def step(state: Any, key: Key, batch: Batch) -> tuple[Any, Metrics]:
        num = num_examples(batch)
        if num % mesh.size:
            less = num - num % mesh.size
            fits = f"{less} or {less + mesh.size}" if less else f"{mesh.size}"
            raise ValueError(
                f"{mesh.size} devices cannot share batches of {num} equally; take a batch_size "
                f"that {mesh.size} divides, such as {fits}."
            )
        batch = jax.lax.with_sharding_constraint(dict(batch), _by_rows(mesh))
        return replicated(learner.step(replicated(state, mesh), key, batch), mesh)

    return Learner(init, step)


def replicated(tree: Any, mesh: Mesh) -> Any:
    """The arrays of `tree`, each whole on every device of `mesh`.

    With several processes all must give the same values, else it is an AssertionError.

    >>> replicated({"x": np.zeros((4, 2))}, devices_mesh())["x"].sharding.is_fully_replicated
    True
    """
    everywhere = NamedSharding(mesh, PartitionSpec())
    return jax.tree.map(lambda a: _placed(a, everywhere), tree)


def global_batch(batch: Batch, mesh: Mesh) -> Batch:
    """The batch of all processes, spread over the devices of `mesh`, from this one's rows.

    Types stay: images that are bytes are sent as bytes. With one process its rows are all.

    Args:
        batch: the rows of this process, such as `own_rows` of each array; as many for
            each of its devices as in the other processes.
        mesh: of `devices_mesh`.

    >>> global_batch({"x": np.zeros((4, 2), np.uint8)}, devices_mesh(jax.devices()[:1]))["x"].dtype
    dtype('uint8')

    Raises:
        ValueError: this process has no device in the mesh, or they cannot share the rows equally.
    """
    num, devices = num_examples(batch), _own_devices(mesh)
    if num % devices:
        raise ValueError(
            f"This process has {devices} devices, which cannot share its {num} rows equally; give "
            f"it {num - num % devices or devices}, or another multiple of {devices}."
        )
    rows, sharding = num // devices * mesh.size, _by_rows(mesh)
    return {
        name: jax.make_array_from_process_local_data(
            sharding, np.asarray(a), (rows, *np.shape(a)[1:])
        )
        for name, a in batch.items()
    }


def own_rows(count: int, mesh: Mesh) -> slice:
    """Which of `count` rows this process reads: those of its devices, as many for each.

    So every process has equally many batches, without which they would wait for each other
    for ever. At most the last `mesh.size - 1` rows are no process's.

    >>> own_rows(10, devices_mesh(jax.devices()[:1]))
    slice(0, 10, None)

    Raises:
        ValueError: fewer rows than devices, or this process has no device in the mesh.
    """
    if count < mesh.size:
        raise ValueError(f"{mesh.size} devices cannot share {count} rows.")
    own, here = _own_devices(mesh), jax.process_index()
    before = sum(device.process_index < here for device in mesh.devices.flat)
    each = count // mesh.size
    return slice(before * each, (before + own) * each)


def _by_rows(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec(mesh.axis_names))


def _placed(a: Any, sharding: NamedSharding) -> Any:
    if is_traced(a):
        return jax.lax.with_sharding_constraint(a, sharding)
    if jax.process_count() == 1 or not getattr(a, "is_fully_addressable", True):
        return jax.device_put(a, sharding)
    # what this process has for itself goes to the devices of all through the host only
    if isinstance(a, jax.Array) and jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key):
        bits = _placed(jax.random.key_data(a), sharding)
        return jax.random.wrap_key_data(bits, impl=jax.random.key_impl(a))
    return jax.device_put(np.asarray(a), sharding)


def _own_devices(mesh: Mesh) -> int:
    own = sum(device.process_index == jax.process_index() for device in mesh.devices.flat)
    if not own:
        raise ValueError(
            f"Process {jax.process_index()} has none of the mesh's devices; make the mesh of "
            "devices of all processes, as devices_mesh() is."
        )
    return own


def _check_mesh(mesh: Mesh) -> None:
    if set(mesh.axis_types) != {AxisType.Auto}:
        raise ValueError(
            f"The mesh has axes of the types {mesh.axis_types}, which must all be AxisType.Auto; "
            "make it by devices_mesh()."
        )
