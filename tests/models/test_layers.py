"""Norms keep their digits, in every type; tiny maps are convolved as large ones are."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glober_jax.models.layers import Conv, GroupNorm


@pytest.mark.parametrize(
    ("dtype", "mean", "tolerance"),
    [("float32", 1000.0, 1e-3), ("bfloat16", 0.0, 0.01), ("bfloat16", 100.0, 0.01)],
)
def test_group_norm_is_exact_for_the_values_it_is_given(
    dtype: str, mean: float, tolerance: float
) -> None:
    """Fails when the variance loses digits that the map has."""
    drawn = mean + np.random.default_rng(0).standard_normal((2, 16, 16, 8))
    x = jnp.asarray(drawn, dtype)
    norm = GroupNorm(4)
    made = norm.apply(jax.jit(norm.init)(jax.random.key(0), x), x)
    given = np.asarray(x, np.float64).reshape(2, 256, 4, 2)
    centred = given - given.mean((1, 3), keepdims=True)
    expected = centred / np.sqrt(np.square(centred).mean((1, 3), keepdims=True) + 1e-5)
    np.testing.assert_allclose(made, expected.reshape(x.shape), atol=tolerance)


@pytest.mark.parametrize("shape", [(3, 1, 1, 4), (3, 2, 2, 4), (3, 1, 2, 4), (2, 3, 2, 2, 4)])
def test_tiny_maps_see_the_kernel_where_it_lies(shape: tuple[int, ...]) -> None:
    """Fails when a pixel meets a part of the kernel that is another's, or the gradient differs."""
    x = jnp.asarray(np.random.default_rng(0).standard_normal(shape), jnp.float32)
    conv = Conv(5)
    params = conv.init(jax.random.key(0), x)
    # The same maps in the corner of larger ones, which XLA convolves.
    padding = [(0, 0)] * (x.ndim - 3) + [(0, 4), (0, 4), (0, 0)]
    height, width = shape[-3:-1]

    def tiny(params: Any) -> jax.Array:
        return conv.apply(params, x)

    def large(params: Any) -> jax.Array:
        return conv.apply(params, jnp.pad(x, padding))[..., :height, :width, :]

    np.testing.assert_allclose(tiny(params), large(params), atol=1e-5)
    assert "conv_general_dilated" not in str(jax.make_jaxpr(tiny)(params))
    gradients = (jax.grad(lambda p, f=f: jnp.sin(f(p)).sum())(params) for f in (tiny, large))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), *gradients)
