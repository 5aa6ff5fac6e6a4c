"""Rematerialisation: less memory for the gradient, more time, the same numbers."""

from typing import Any, Literal, TypeVar

import flax.linen as nn
import jax
from jax.extend.core import Primitive, primitives

# "none" keeps everything; "blocks" keeps the inputs of blocks, a third more arithmetic for a
# fraction of the memory; "dots" also keeps the outputs of dense layers and convolutions.
Remat = Literal["none", "blocks", "dots"]
Block = TypeVar("Block", bound=nn.Module)


def rematerialised(block: type[Block], remat: Remat) -> type[Block]:
    """The block, of the same parameters, with the rematerialisation policy `remat`."""
    if remat == "none":
        return block
    return nn.remat(block, policy=_is_layer if remat == "dots" else None)


def _is_layer(primitive: Primitive, *inputs: Any, **parameters: Any) -> bool:
    """Whether it is the sum of a dense layer or of a convolution: those of attention have batches.

    A policy of `jax.checkpoint`.
    """
    dense = jax.checkpoint_policies.dots_with_no_batch_dims_saveable
    return primitive is primitives.conv_general_dilated_p or dense(primitive, *inputs, **parameters)
