"""Attention is the same function whatever computes it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.pallas import tpu as pltpu
from jax.sharding import PartitionSpec

from glober_jax.models import attention as module
from glober_jax.models.attention import attention
from tests.tiny import mesh_of


def drawn(tokens: int, queries: int, dtype: jnp.dtype = jnp.float32) -> list[jax.Array]:
    rng = np.random.default_rng(0)
    shapes = ((1, queries, 2, 40), *((1, tokens, 2, 40),) * 2)
    return [jnp.asarray(2 * rng.standard_normal(shape), dtype) for shape in shapes]


def in_shard_map(function):
    everywhere = PartitionSpec()
    return jax.shard_map(
        function, mesh=mesh_of(), in_specs=everywhere, out_specs=everywhere, check_vma=False
    )


@pytest.mark.parametrize(("tokens", "queries"), [(9, 2), (1024, 1024)])
def test_what_processors_and_tpus_compute_is_the_library_s(tokens: int, queries: int) -> None:
    """Fails when a scale, a sum or an axis is another."""
    q, k, v = drawn(tokens, queries)
    expected = jax.nn.dot_product_attention(q, k, v)
    np.testing.assert_allclose(jax.jit(attention)(q, k, v), expected, rtol=1e-5, atol=1e-5)
    if queries >= module._FUSED_ON_TPU:
        with pltpu.force_tpu_interpret_mode():
            flash = jax.jit(module._flash_attention)(q, k, v)
        np.testing.assert_allclose(flash, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("tokens", "queries", "manual", "fused"),
    [
        (1024, 1024, True, True),
        (1024, 1024, False, False),
        (256, 256, True, False),
        (64, 1024, True, False),
    ],
)
def test_tpus_are_given_the_kernel_where_it_can_be(
    tokens: int, queries: int, manual: bool, fused: bool
) -> None:
    """Fails when long sequences miss the kernel, or the partitioner is asked to cut it.

    Lowered for a TPU that is not there, as `plan` does.
    """
    function = in_shard_map(attention) if manual else attention
    traced = jax.jit(function).trace(*drawn(tokens, queries, jnp.bfloat16))
    lowered = traced.lower(lowering_platforms=("tpu",)).as_text()
    assert ("tpu_custom_call" in lowered) == fused
