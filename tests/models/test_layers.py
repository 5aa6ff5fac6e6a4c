"""Norms keep their digits, in every type."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glober_jax.models.layers import GroupNorm


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
