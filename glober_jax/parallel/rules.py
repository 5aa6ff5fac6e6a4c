"""Sharding rules of parameters, their averages and optimizer moments.

A rule matches the end of a path, so it holds for every network, average and moment alike.
"""

import functools
import math
import re
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jax.typing import DTypeLike

# Below this many elements a parameter is cheaper to replicate than to gather.
MIN_SHARDED_SIZE = 2**16

# Path -> the axis to shard over `tensor`: output channels of a layer (-1), then input channels of
# the next (-2), so that one sum over `tensor` follows the pair. Other parameters are replicated
# over `tensor`, also kernels of several projections, such as GEGLU's, whose borders differ.
TENSOR_RULES: tuple[tuple[str, int], ...] = (
    # Attention: the heads.
    (r"(q|k|v)/dense/kernel", -1),
    (r"(spatial|temporal|exchange)/qkv/dense/kernel", -1),
    (r"(self|cross|spatial|temporal|exchange|middle_attention)/out/dense/kernel", -2),
    (r"attention_out/kernel", -2),
    # Networks of two layers: the channels between them.
    (r"(time|index|mlp)_in(/dense)?/kernel", -1),
    (r"mlp_conv/conv/kernel", -1),
    (r"(time|index|mlp|ff)_out(/dense)?/kernel", -2),
    # Residual blocks: the channels between the convolutions, and what is added to them.
    (r"(block\d+|residual|level\d+|global_tokens)/conv_in/conv/kernel", -1),
    (r"(embedding/dense|previous/conv)/kernel", -1),
    (r"(block\d+|residual|level\d+|global_tokens)/conv_out/conv/kernel", -2),
)


def parameter_spec(path: str, shape: tuple[int, ...], mesh: Mesh) -> PartitionSpec:
    """The PartitionSpec of the parameter at a path ("unet/conv_in/conv/kernel").

    Arrays under `MIN_SHARDED_SIZE` elements are replicated. Of others the axis of a rule is sharded
    over `tensor`, and the largest other axis that divides over `fsdp`.
    """
    if math.prod(shape) < MIN_SHARDED_SIZE:
        return PartitionSpec()
    axes: list[str | None] = [None] * len(shape)
    if (ways := mesh.shape["tensor"]) > 1:
        for pattern, axis in TENSOR_RULES:
            if re.search(rf"(^|[/_]){pattern}$", path) and shape[axis] % ways == 0:
                axes[axis] = "tensor"
                break
    if mesh.shape["fsdp"] > 1:
        free = [axis for axis in range(len(shape)) if axes[axis] is None]
        for axis in sorted(free, key=lambda axis: -shape[axis]):
            if shape[axis] % mesh.shape["fsdp"] == 0:
                axes[axis] = "fsdp"
                break
    return PartitionSpec(*axes)


def tree_shardings(abstract: Any, mesh: Mesh) -> Any:
    """A sharding for each leaf of an abstract pytree, by `parameter_spec`."""

    def of_leaf(path: tuple[Any, ...], leaf: Any) -> NamedSharding:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        return NamedSharding(mesh, parameter_spec(name, leaf.shape, mesh))

    return jax.tree_util.tree_map_with_path(of_leaf, abstract)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _gather(value: jax.Array, sharding: NamedSharding, dtype: DTypeLike) -> jax.Array:
    whole = PartitionSpec(*(axis if axis == "tensor" else None for axis in sharding.spec))
    # Otherwise the partitioner gathers before the cast.
    cast = jax.lax.with_sharding_constraint(value.astype(dtype), sharding)
    return jax.lax.with_sharding_constraint(cast, NamedSharding(sharding.mesh, whole))


def _gather_forward(
    value: jax.Array, sharding: NamedSharding, dtype: DTypeLike
) -> tuple[jax.Array, None]:
    return _gather(value, sharding, dtype), None


def _gather_backward(
    sharding: NamedSharding, dtype: DTypeLike, _: None, gradient: jax.Array
) -> tuple[jax.Array]:
    del dtype
    return (jax.lax.with_sharding_constraint(gradient.astype(jnp.float32), sharding),)


_gather.defvjp(_gather_forward, _gather_backward)


def gather_parameters(params: Any, mesh: Mesh, dtype: DTypeLike) -> Any:
    """All-gathers float32 parameters along `fsdp`, for a forward pass that computes in `dtype`.

    Shards are cast first; backward, gradients are reduce-scattered in float32. Without this the
    partitioner may reshard activations instead.
    """
    if mesh.shape["fsdp"] == 1:
        return params

    def gather(value: jax.Array, sharding: NamedSharding) -> jax.Array:
        return _gather(value, sharding, dtype if "fsdp" in sharding.spec else value.dtype)

    return jax.tree.map(gather, params, tree_shardings(params, mesh))
