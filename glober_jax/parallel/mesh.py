"""The device mesh and where arrays lie on it.

Axes: `data` (batch only), `fsdp` (batch, and parameters cut into shards), `tensor` (output
channels of wide layers). One device is a 1x1x1 mesh; nothing in the code asks how many there are.
"""

import dataclasses
import functools
import math
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from glober_jax.errors import UserError

BATCH_AXES = ("data", "fsdp")
# Below this many elements a parameter is cheaper to replicate than to gather.
MIN_SHARDED_SIZE = 2**16


@dataclasses.dataclass(frozen=True)
class MeshShape:
    """Devices along each axis; -1 (for one axis at most) takes all that remain."""

    data: int = -1
    fsdp: int = 1
    tensor: int = 1


def make_mesh(shape: MeshShape) -> Mesh:
    """The mesh over all devices. Raises `UserError` where the sizes cannot cover them."""
    sizes = list(dataclasses.astuple(shape))
    count = jax.device_count()
    if sizes.count(-1) > 1 or any(size == 0 or size < -1 for size in sizes):
        raise UserError(f"mesh sizes must be positive, with at most one -1; got {shape}")
    if -1 in sizes:
        sizes[sizes.index(-1)] = max(count // -math.prod(sizes), 1)
    if math.prod(sizes) != count:
        data, fsdp, tensor = sizes
        raise UserError(
            f"mesh data={data} x fsdp={fsdp} x tensor={tensor} needs {math.prod(sizes)} devices, "
            f"but {count} are present; set config.mesh so that the product is {count}"
        )
    return jax.make_mesh(sizes, ("data", "fsdp", "tensor"), axis_types=(AxisType.Auto,) * 3)


def check_batch(mesh: Mesh, batch_size: int, name: str) -> None:
    """Raises `UserError` unless the global batch divides over the batch axes of the mesh."""
    ways = math.prod(mesh.shape[axis] for axis in BATCH_AXES)
    if batch_size % ways:
        raise UserError(
            f"{name}={batch_size} does not divide over the mesh: it must be a multiple of "
            f"data x fsdp = {mesh.shape['data']} x {mesh.shape['fsdp']} = {ways}"
        )


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Leading axis over data and fsdp."""
    return NamedSharding(mesh, PartitionSpec(BATCH_AXES))


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())


def put_batch(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """This process's rows of a batch become global arrays on the mesh."""
    sharding = batch_sharding(mesh)
    return {
        name: jax.make_array_from_process_local_data(sharding, rows) for name, rows in batch.items()
    }


def batch_ways(mesh: Mesh) -> int:
    """Over how many devices a batch is spread."""
    return math.prod(mesh.shape[axis] for axis in BATCH_AXES)


def constrain_batch(rows: jax.Array, mesh: Mesh) -> jax.Array:
    """Inside jit: spreads the leading axis over the mesh where it divides, else leaves it."""
    if rows.shape[0] % batch_ways(mesh):
        return rows
    return jax.lax.with_sharding_constraint(rows, batch_sharding(mesh))


def parameter_spec(shape: tuple[int, ...], mesh: Mesh) -> PartitionSpec:
    """The one rule by which parameters, EMA and optimizer moments are sharded.

    Arrays under `MIN_SHARDED_SIZE` elements are replicated. Of larger ones the output channels
    (last axis) go over `tensor` and the largest other axis that divides goes over `fsdp`.
    """
    axes: list[str | None] = [None] * len(shape)
    if math.prod(shape) < MIN_SHARDED_SIZE:
        return PartitionSpec()
    if mesh.shape["tensor"] > 1 and shape[-1] % mesh.shape["tensor"] == 0:
        axes[-1] = "tensor"
    if mesh.shape["fsdp"] > 1:
        free = [axis for axis in range(len(shape)) if axes[axis] is None]
        for axis in sorted(free, key=lambda axis: -shape[axis]):
            if shape[axis] % mesh.shape["fsdp"] == 0:
                axes[axis] = "fsdp"
                break
    return PartitionSpec(*axes)


def tree_shardings(abstract: Any, mesh: Mesh) -> Any:
    """A sharding for each leaf of an abstract pytree, by `parameter_spec`."""
    return jax.tree.map(
        lambda leaf: NamedSharding(mesh, parameter_spec(leaf.shape, mesh)), abstract
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _gather(value: jax.Array, sharding: NamedSharding) -> jax.Array:
    whole = PartitionSpec(*(axis if axis == "tensor" else None for axis in sharding.spec))
    return jax.lax.with_sharding_constraint(value, NamedSharding(sharding.mesh, whole))


def _gather_forward(value: jax.Array, sharding: NamedSharding) -> tuple[jax.Array, None]:
    return _gather(value, sharding), None


def _gather_backward(sharding: NamedSharding, _: None, gradient: jax.Array) -> tuple[jax.Array]:
    return (jax.lax.with_sharding_constraint(gradient, sharding),)


_gather.defvjp(_gather_forward, _gather_backward)


def gather_parameters(params: Any, mesh: Mesh) -> Any:
    """Parameters made whole along `fsdp` for use in a forward pass.

    Forward: all-gather; backward: the gradient is reduce-scattered into the parameter's own
    shards. Without this the partitioner may reshard activations instead of parameters.
    """
    if mesh.shape["fsdp"] == 1:
        return params
    return jax.tree.map(_gather, params, tree_shardings(params, mesh))
