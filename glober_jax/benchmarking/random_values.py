"""Random arrays in place of trained parameters and of data; speed does not depend on which."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def random_like(tree: Any) -> Any:
    """NumPy arrays for a pytree of shapes: zeros would let a processor run faster than it does.

    Vectors, which are scales and biases, are about one, other floats small, integers 0 or 1.
    """
    random = np.random.default_rng(0)

    def draw(leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return random.integers(0, 2, leaf.shape).astype(leaf.dtype)
        noise = 0.02 * random.standard_normal(leaf.shape, np.float32)
        return ((leaf.ndim == 1) + noise).astype(leaf.dtype)

    return jax.tree.map(draw, tree)
