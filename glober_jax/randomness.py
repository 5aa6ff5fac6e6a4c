"""Random keys: every (seed, name, step) has its own; keys are never stored or reused."""

import zlib

import jax
import jax.numpy as jnp
import numpy as np

from glober_jax.values import check_seed


def seed_words(seed: int) -> np.ndarray:
    """High and low half of a seed, uint32 [2]: an argument of jitted functions, which have no
    64-bit integers. Raises as `check_seed`.
    """
    return np.array(divmod(check_seed(seed), 2**32), np.uint32)


def named_key(
    seed: int | np.ndarray | jax.Array, name: str, step: int | jax.Array = 0
) -> jax.Array:
    """The typed key of `name` at `step`: fold_in(fold_in(key(seed), crc32(name)), step).

    `seed` is an integer, or its `seed_words`; a traced uint32 or Python integer is the low half
    alone.
    """
    words = seed if isinstance(seed, np.ndarray | jax.Array) else seed_words(seed)
    if words.ndim == 0:
        words = jnp.stack([jnp.uint32(0), words])
    # As jax.random.key with 64-bit integers enabled.
    key = jax.random.wrap_key_data(words, impl="threefry2x32")
    return jax.random.fold_in(jax.random.fold_in(key, zlib.crc32(name.encode())), step)
