"""The device mesh, and batches on it.

Axes: `data` (batch), `fsdp` (batch, and shards of parameters), `tensor` (channels of wide layers).
Only `data` spans slices, which a slower network connects: it moves one sum of gradients per step,
the others parameters and maps in every layer. Dimension key: B clips, F frames, H, W, C of frames.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from glober_jax.errors import UserError

AXES = ("data", "fsdp", "tensor")
BATCH_AXES = ("data", "fsdp")


@dataclasses.dataclass(frozen=True)
class MeshShape:
    """Devices along each axis; -1 (for one axis at most) takes all that remain.

    `data` spans `slices` slices: -1 for those of the devices; 1 joins GPU hosts, which are slices
    to JAX, so that `fsdp` and `tensor` may span them.
    """

    data: int = -1
    fsdp: int = 1
    tensor: int = 1
    slices: int = -1


def make_mesh(shape: MeshShape, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """The mesh over all of `devices`, by default those present.

    Neighbours within a slice are neighbours in its network. Raises `UserError` if the sizes do not
    cover the devices.
    """
    devices = jax.devices() if devices is None else devices
    sizes = mesh_sizes(shape, len(devices))
    data, fsdp, tensor = sizes
    slices = _slices(shape.slices, devices)
    if len(devices) // slices % (fsdp * tensor):
        raise UserError(
            f"config.mesh: {len(devices)} devices in {slices} slices are {len(devices) // slices} "
            f"in each, which fsdp x tensor = {fsdp} x {tensor} = {fsdp * tensor} does not divide; "
            "only data can span slices"
        )
    if slices == 1:
        grid = mesh_utils.create_device_mesh(sizes, devices, allow_split_physical_axes=True)
    else:
        grid = mesh_utils.create_hybrid_device_mesh(
            (data // slices, fsdp, tensor),
            (slices, 1, 1),
            devices,
            process_is_granule=_slice_count(devices) == 1,
            allow_split_physical_axes=True,
        )
    return Mesh(grid, AXES, axis_types=(AxisType.Auto,) * 3)


def mesh_sizes(shape: MeshShape, count: int) -> tuple[int, int, int]:
    """Sizes of the axes over `count` devices; raises `UserError` if they do not match."""
    sizes = [shape.data, shape.fsdp, shape.tensor]
    given = ", ".join(f"{axis}={size}" for axis, size in zip(AXES, sizes, strict=True))
    if sizes.count(-1) > 1 or any(size == 0 or size < -1 for size in sizes):
        raise UserError(f"config.mesh must be positive, with at most one -1; it is {given}")
    if -1 in sizes:
        sizes[sizes.index(-1)] = max(count // -math.prod(sizes), 1)
    if math.prod(sizes) != count:
        data, fsdp, tensor = sizes
        raise UserError(
            f"mesh data={data} x fsdp={fsdp} x tensor={tensor} needs {math.prod(sizes)} devices, "
            f"but {count} are present; set config.mesh so that the product is {count}"
        )
    return tuple(sizes)


def _slices(asked: int, devices: Sequence[jax.Device]) -> int:
    """How many slices `data` spans."""
    told = _slice_count(devices)
    if asked in (-1, told):
        return told
    if asked == 1 and devices[0].platform != "tpu":
        return 1
    processes = len({device.process_index for device in devices})
    if told == 1 and asked == processes:
        return processes
    found = f"{told} slices" if told > 1 else f"one slice and {processes} processes"
    raise UserError(f"config.mesh.slices is {asked}, but the devices are of {found}; -1 takes all")


def _slice_count(devices: Sequence[jax.Device]) -> int:
    """The number of slices by the devices' `slice_index`, which some platforms lack."""
    return len({getattr(device, "slice_index", 0) for device in devices})


def check_batch(
    mesh: Mesh, batch_size: int, name: str, micro_batches: int = 1, clip_stride: int = 1
) -> None:
    """Raises `UserError` unless the batch of stage `name` divides over the mesh and into parts.

    A device's part of a micro-batch must be a multiple of `clip_stride`.
    """
    factors = {"data x fsdp": batch_ways(mesh)}
    if micro_batches > 1:
        factors |= {"micro_batches": micro_batches, "clip_stride": clip_stride}
    multiple = math.prod(factors.values())
    if batch_size % multiple:
        listed = " x ".join(f"{factor} = {value}" for factor, value in factors.items())
        raise UserError(
            f"config.{name}.batch_size={batch_size} must be a multiple of {multiple}: {listed}"
        )


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Leading axis over data and fsdp."""
    return NamedSharding(mesh, PartitionSpec(BATCH_AXES))


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())


def batch_share(mesh: Mesh) -> tuple[int, int]:
    """(index, count): this process reads part `index` of `count` equal parts of a batch.

    Processes that `tensor` spans hold the same rows, and read the same part.
    """
    parts: dict[int, set[int]] = {}
    ways = mesh.devices.reshape(batch_ways(mesh), -1)
    for way, devices in enumerate(ways):
        for device in devices:
            parts.setdefault(device.process_index, set()).add(way)
    distinct = sorted({tuple(sorted(part)) for part in parts.values()})
    return distinct.index(tuple(sorted(parts[jax.process_index()]))), len(distinct)


def put_batch(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """Makes global arrays on the mesh of this process's rows of a batch (`batch_share`)."""
    sharding = batch_sharding(mesh)
    return {
        name: jax.make_array_from_process_local_data(sharding, rows) for name, rows in batch.items()
    }


def device_batch(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """`put_batch`, with the clips mirrored that `mirrored` bool [B] marks; drops that field."""
    arrays = put_batch(batch, mesh)
    return _mirror(mesh)(arrays) if "mirrored" in arrays else arrays


@functools.cache
def _mirror(mesh: Mesh) -> Callable[[dict[str, jax.Array]], dict[str, jax.Array]]:
    @functools.partial(jax.jit, out_shardings=batch_sharding(mesh))
    def mirror(batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
        chosen_B1111 = batch.pop("mirrored")[:, None, None, None, None]
        for name in batch.keys() & {"key_frames", "target_frames"}:
            frames_BFHWC = batch[name]
            batch[name] = jnp.where(chosen_B1111, frames_BFHWC[:, :, :, ::-1], frames_BFHWC)
        return batch

    return mirror


def batch_ways(mesh: Mesh) -> int:
    """The number of devices that a batch is sharded over."""
    return math.prod(mesh.shape[axis] for axis in BATCH_AXES)


def constrain_batch(rows: jax.Array, mesh: Mesh) -> jax.Array:
    """Inside jit: shards the leading axis over the mesh if it divides."""
    if rows.shape[0] % batch_ways(mesh):
        return rows
    return jax.lax.with_sharding_constraint(rows, batch_sharding(mesh))
