"""Conditions of clips (class or text) -> context tokens of the global generator.

Dimension key: B clips, L tokens, E their width.
"""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

_normal = nn.initializers.normal(0.1)


class ConditionTokens(nn.Module):
    """Condition of each clip -> tokens [B, L, E], all zero where `with_condition_B` is 0.

    By `kind` a condition is

    - "unconditional": ignored. The tokens are learned, the same for every clip, as published.
    - "class": a label [B] in 0..num_classes - 1. Every class has learned tokens of its own.
    - "text": token embeddings [B, L, E] of a text encoder, used as they are; no parameters.

    `with_condition_B` [B] is 0 where the condition is dropped, for classifier-free guidance.
    """

    kind: Literal["unconditional", "class", "text"]
    length: int = 64
    num_classes: int = 0
    width: int = 768
    dtype: DTypeLike = jnp.float32

    @property
    def field(self) -> Literal["label", "text"]:
        """The field of a batch that holds the conditions."""
        return "text" if self.kind == "text" else "label"

    def input(self, clips: int) -> jax.ShapeDtypeStruct:
        """Shape and dtype of the conditions of `clips` clips: int32 [B] or float16 [B, L, E]."""
        if self.kind == "text":
            return jax.ShapeDtypeStruct((clips, self.length, self.width), jnp.float16)
        return jax.ShapeDtypeStruct((clips,), jnp.int32)

    @nn.compact
    def __call__(self, condition: jax.Array, with_condition_B: jax.Array) -> jax.Array:
        shape = (self.length, self.width)
        if self.kind == "text":
            tokens = condition
        elif self.kind == "class":
            table = self.param("table", _normal, (self.num_classes, *shape), jnp.float32)
            tokens = table[condition]
        else:
            tokens = self.param("tokens", _normal, shape, jnp.float32)
        return tokens.astype(self.dtype) * with_condition_B.astype(self.dtype)[:, None, None]
