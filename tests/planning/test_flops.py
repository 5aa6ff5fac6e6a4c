"""Operations counted before compiling: XLA's count where that is right, more where it is not."""

import re
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AbstractMesh, PartitionSpec

from glober_jax.planning.flops import count_flops, flops_by_module
from glober_jax.planning.hlo import module_of

MAPS = jax.ShapeDtypeStruct((4, 18, 18, 32), jnp.float32)


LAYERS = {
    "same": nn.Conv(64, (3, 3)),
    "strided": nn.Conv(64, (3, 3), (2, 2), ((0, 1), (0, 1))),
    "dilated": nn.Conv(64, (3, 3), kernel_dilation=2),
    "grouped": nn.Conv(64, (3, 3), feature_group_count=4),
    "transposed": nn.ConvTranspose(64, (4, 4), (2, 2)),
    "attention": nn.MultiHeadDotProductAttention(4, qkv_features=64),
}


@pytest.mark.parametrize("name", LAYERS)
def test_equals_xla_where_nothing_loops(name: str) -> None:
    """Fails when a layer or its gradient is counted otherwise than XLA counts it.

    XLA also counts sums and activations. Broken: padding counted; groups of a gradient ignored.
    """
    layer = LAYERS[name]
    params = jax.eval_shape(layer.init, jax.random.key(0), MAPS)

    def loss(params: Any, x: jax.Array) -> jax.Array:
        return jnp.square(layer.apply(params, x)).sum()

    traced = jax.jit(jax.grad(loss, (0, 1))).trace(params, MAPS)
    xla = traced.lower().cost_analysis()["flops"]
    # What attention does besides products is a larger part.
    assert 0.93 * xla < count_flops(traced) <= xla


def test_loops_and_recomputation_count_and_dead_code_does_not() -> None:
    """Fails when a loop's body counts once, as in XLA's own count, or what nobody uses counts."""
    square = jax.ShapeDtypeStruct((32, 32), jnp.float32)
    once = 2 * 32**3

    def looped(x: jax.Array) -> jax.Array:
        return jax.lax.scan(lambda c, _: (c @ x, None), x, None, length=5)[0]

    def dead(x: jax.Array) -> jax.Array:
        unused = jax.jit(lambda y: (y @ y, y + 1))(x)
        return unused[1]

    @jax.checkpoint
    def block(x: jax.Array) -> jax.Array:
        return jnp.sin(jnp.sin(x @ x) @ x)

    def gradient(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jax.value_and_grad(lambda y: block(y).sum())(x)

    assert count_flops(jax.jit(looped).trace(square)) == 5 * once
    assert count_flops(jax.jit(dead).trace(square)) == 0
    # Two products forward, two again, and two for the gradient of each.
    assert count_flops(jax.jit(gradient).trace(square)) == 8 * once


def test_what_one_device_does_counts_for_all() -> None:
    """Fails when the inside of a `shard_map`, one device's work, is taken for all work."""
    mesh = AbstractMesh((2, 4), ("videos", "frames"))
    product = jax.shard_map(
        jnp.matmul,
        mesh=mesh,
        in_specs=(PartitionSpec(("videos", "frames")), PartitionSpec()),
        out_specs=PartitionSpec(("videos", "frames")),
    )
    traced = jax.jit(product).trace(jnp.zeros((16, 4)), jnp.zeros((4, 3)))
    assert count_flops(traced) == 2 * 16 * 4 * 3


def test_modules_are_those_of_the_compiled_program() -> None:
    """Fails when operations go to another module, or the other direction, than XLA names them by:
    shares of the peak compare the two."""

    class Network(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            for block in range(2):
                x = nn.remat(nn.Dense)(32, name=f"down0_block{block}")(x)
            return x.sum()

    network, x = Network(), jnp.zeros((4, 32))
    params = jax.eval_shape(network.init, jax.random.key(0), x)
    traced = jax.jit(jax.grad(network.apply)).trace(params, x)
    once = 2 * 4 * 32 * 32
    by_module, _ = flops_by_module(traced)
    hlo = traced.lower().compile().as_text()
    named = {module_of(name) for name in re.findall(r'op_name="([^"]*dot_general)"', hlo)}
    assert named == by_module.keys() == {"Network/down0_block*", "Network/down0_block*, backward"}
    # The first block's output, gradients of two kernels and of what is between.
    assert by_module.total() == count_flops(traced) == 4 * once
