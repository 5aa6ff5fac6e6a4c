"""Checksums of arrays, independent of sharding and devices."""

import math
from typing import Any

import jax
import jax.numpy as jnp

# The golden ratio's 32 bits: neighbouring places get words far apart.
_STRIDE = 0x9E3779B9


def checksums(tree: Any) -> Any:
    """A checksum in [0, 2^32) for each array of a tree, computed by one program where they lie.

    All processes that hold shards have to call this.
    """
    return jax.tree.map(int, jax.device_get(_checksums(tree)))


@jax.jit
def _checksums(tree: Any) -> Any:
    return jax.tree.map(_checksum, tree)


@jax.jit  # Traced once for all arrays of a shape.
def _checksum(array: jax.Array) -> jax.Array:
    """The sum, modulo 2^32, of a word for each element: its bits and its place, well mixed.

    A changed element is seen for certain, other changes all but once in 2^32 times. The order of
    a sum does not matter, so it is the same for every sharding.
    """
    bits = _bits(array)
    place = jnp.zeros(bits.shape, jnp.uint32)
    for axis in range(bits.ndim):
        stride = math.prod(bits.shape[axis + 1 :]) * _STRIDE % 2**32
        index = jax.lax.broadcasted_iota(jnp.uint32, bits.shape, axis)
        place += index * jnp.uint32(stride)
    return jnp.sum(_mix(bits + place), dtype=jnp.uint32)


def _bits(array: jax.Array) -> jax.Array:
    """The bits of each element, as uint32; of an element of 64 bits, two of them."""
    if array.dtype == jnp.bool_:
        return array.astype(jnp.uint32)
    width = min(8 * array.dtype.itemsize, 32)
    return jax.lax.bitcast_convert_type(array, f"uint{width}").astype(jnp.uint32)


def _mix(word: jax.Array) -> jax.Array:
    """The finaliser of MurmurHash3, a bijection (Austin Appleby, public domain)."""
    word = (word ^ (word >> 16)) * jnp.uint32(0x85EBCA6B)
    word = (word ^ (word >> 13)) * jnp.uint32(0xC2B2AE35)
    return word ^ (word >> 16)
