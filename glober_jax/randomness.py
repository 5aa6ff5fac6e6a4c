"""Random keys: one seed, and a key for every (name, step). Never stored, never reused."""

import zlib

import jax


def named_key(seed: int | jax.Array, name: str, step: int | jax.Array = 0) -> jax.Array:
    """The typed key of `name` at `step`: fold_in(fold_in(key(seed), crc32(name)), step)."""
    named = jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode()))
    return jax.random.fold_in(named, step)
