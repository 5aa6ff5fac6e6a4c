"""Every single layer: where a network's mismatch comes from."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glober_jax.interop.network import Naming, Rewrite
from glober_jax.interop.sd_unet import (
    ATTENTION,
    CROSS_ATTENTION,
    INDEXED_RES_BLOCK,
    RES_BLOCK,
    TRANSFORMER,
)
from glober_jax.models.attention import (
    CrossAttention,
    SelfAttention,
    SpatialTransformer,
    TemporalAttention,
    attention,
    merge_heads,
    split_heads,
)
from glober_jax.models.layers import (
    Conv,
    Conv3D,
    Dense,
    GroupNorm,
    ResBlock,
    average_pool,
    upsample,
)
from glober_jax.models.video_decoder import FrameBlock
from tests.interop.released import import_network
from tests.parity.recording import NETWORK, Recording, relative_error, shapes_of


class Layer(NamedTuple):
    """A module, names for its parameters, and how recorded inputs are handed to it."""

    module: nn.Module
    rewrites: tuple[Rewrite, ...] = ()
    call: Callable[..., tuple[Any, ...]] = lambda *inputs: inputs
    prefix: str = ""


class NewOrderAttention(nn.Module):
    """`SelfAttention` with q, k and v told apart before heads: of the UNet that GLOBER left out."""

    heads: int

    @nn.compact
    def __call__(self, x_BHWC: jax.Array) -> jax.Array:
        channels = x_BHWC.shape[-1]
        normed = GroupNorm(name="norm")(x_BHWC).reshape(len(x_BHWC), -1, channels)
        q, k, v = jnp.split(Dense(3 * channels, name="qkv")(normed), 3, axis=-1)
        out = merge_heads(attention(*(split_heads(x, self.heads) for x in (q, k, v))))
        return x_BHWC + Dense(channels, name="out")(out).reshape(x_BHWC.shape)


class Upsample(nn.Module):
    """Twice the size, then a convolution, as in the UNet's way up."""

    @nn.compact
    def __call__(self, x_BHWC: jax.Array) -> jax.Array:
        return Conv(x_BHWC.shape[-1], name="conv_up")(upsample(x_BHWC))


def frames_as_batch(x_BTHWC: np.ndarray) -> tuple[np.ndarray]:
    return (x_BTHWC.reshape(-1, *x_BTHWC.shape[2:]),)


def one_index(
    feature: np.ndarray, embedding: np.ndarray, previous: np.ndarray | None = None
) -> tuple[Any, ...]:
    """Inputs of a `FrameBlock` for a single index, without time courses."""
    return feature, embedding[:, None], None, None if previous is None else previous[:, None]


def layer_of(name: str, width: int, enlarged: float) -> Layer:
    """The layer of that name with `width` output channels, whose map is `enlarged` so much."""
    if name.startswith("resblock_woemb"):
        return Layer(ResBlock(width), RES_BLOCK, frames_as_batch)
    if name.startswith("resblock_"):
        return Layer(ResBlock(width), RES_BLOCK)
    if name.startswith(("resblock2n", "indw")):
        times = int(np.log2(enlarged))
        rewrites = INDEXED_RES_BLOCK if name.startswith("indw") else RES_BLOCK
        return Layer(FrameBlock(width, times, 32, jnp.float32), rewrites, one_index)
    simple = {
        "spatial_attn": Layer(SelfAttention(16), ATTENTION, frames_as_batch),
        "temporal_attn": Layer(TemporalAttention(8), ATTENTION),
        "unet_attn_new_order": Layer(NewOrderAttention(4), ATTENTION),
        "spatial_transformer": Layer(SpatialTransformer(4), TRANSFORMER),
        "cross_attention_noctx": Layer(CrossAttention(2), CROSS_ATTENTION),
        "down2d": Layer(Conv(width, stride=2), prefix="op."),
        "down3d": Layer(Conv3D(width, stride=2), prefix="op."),
        "up2d": Layer(Upsample(), ((r"^conv_up/", "conv/"),)),
        "conv3d": Layer(Conv3D(width)),
    }
    if name in simple:
        return simple[name]
    return Layer(GroupNorm(axes=(1, 2, 3) if name == "gn16" else (1, 2)))


@pytest.mark.recorded("layers")
def test_layers(recording: Recording) -> None:
    """Fails when a layer computes something else, or its weights are laid out otherwise.

    Broken, one at a time: temporal taps reversed, attention scale 1/D, heads dealt in turn,
    GEGLU's halves swapped, pooling before the norm.
    """
    names = [n for n in recording.named("out/") if not n.startswith(("timestep", "sincos"))]
    assert names
    errors = {name: layer_error(recording, name) for name in names}
    assert max(errors.values()) < NETWORK, errors


def layer_error(recording: Recording, name: str) -> float:
    expected = recording.channels_last(f"out/{name}")
    inputs = list(recording.named(f"in/{name}.").values())
    if name == "cross_attention_noctx":
        expected = recording[f"out/{name}"]
    else:
        # Maps have their channels second there, embeddings and contexts last.
        inputs = [np.moveaxis(x, 1, -1) if x.ndim > 3 else x for x in inputs]
    if name == "down_avg":
        return relative_error(average_pool(inputs[0]), expected)
    layer = layer_of(name, expected.shape[-1], expected.shape[-2] / inputs[0].shape[-2])
    given = layer.call(*inputs)
    params = layer_params(recording.named(f"sd/{name}/"), layer, shapes_of(layer.module, *given))
    out = layer.module.apply({"params": params}, *given)
    return relative_error(np.reshape(out, expected.shape), expected)


def layer_params(tensors: dict[str, np.ndarray], layer: Layer, shapes: Any) -> Any:
    """Converted parameters; a `FrameBlock` ends in a convolution that the layer does not have."""
    own = dict(shapes)
    identity = {}
    if isinstance(layer.module, FrameBlock):
        absent = ["out"] + ["skip"] * ("skip_connection.weight" not in tensors)
        for name in absent:
            kernel, bias = (own[name]["dense"][key].shape for key in ("kernel", "bias"))
            identity[name] = {"dense": {"kernel": np.eye(*kernel), "bias": np.zeros(bias)}}
            del own[name]
    return import_network(tensors, own, Naming("layers", layer.rewrites, layer.prefix)) | identity
