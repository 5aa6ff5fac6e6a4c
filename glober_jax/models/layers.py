"""Layers that several networks share: norms, convolutions, dense layers, embeddings; remat.

Dimension key: B batch, T frames, H height, W width, C channels, I input channels, P parts. `x` with
more leading dimensions than named is allowed where the docstring says so. Parameters and
normalisation are float32; everything else computes in the module's `dtype`.
"""

from collections.abc import Sequence
from typing import Any, Literal, TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.extend.core import Primitive, primitives
from jax.typing import DTypeLike

# Rematerialisation: less memory for the gradient, more time, the same numbers. "none" keeps
# everything; "blocks" keeps the inputs of blocks, a third more arithmetic for a fraction of the
# memory; "dots" also keeps the outputs of dense layers and convolutions.
Remat = Literal["none", "blocks", "dots"]
_Block = TypeVar("_Block", bound=nn.Module)


def rematerialised(block: type[_Block], remat: Remat) -> type[_Block]:
    """The block, with the same parameters, under the rematerialisation policy `remat`."""
    if remat == "none":
        return block
    return nn.remat(block, policy=_is_layer if remat == "dots" else None)


def _is_layer(primitive: Primitive, *inputs: Any, **parameters: Any) -> bool:
    """A policy of `jax.checkpoint`: whether it is the product of a dense layer or a convolution.

    Products of attention have batch dimensions.
    """
    dense = jax.checkpoint_policies.dots_with_no_batch_dims_saveable
    return primitive is primitives.conv_general_dilated_p or dense(primitive, *inputs, **parameters)


def traced_once(initializer: nn.initializers.Initializer) -> nn.initializers.Initializer:
    """The initializer, traced once per shape; flax traces it whenever a network is applied."""
    return jax.jit(initializer, static_argnums=(1, 2))


zeros = nn.initializers.zeros_init()
lecun_normal = traced_once(nn.initializers.lecun_normal())
# Zero-initialised last layers make every residual branch start as the identity.


def sinusoidal_embedding(positions: jax.Array, dim: int, max_period: float = 10_000.0) -> jax.Array:
    """Embeds real positions [...] as float32 [..., dim].

    [cos(p f_0), ..., cos(p f_{h-1}), sin(p f_0), ..., sin(p f_{h-1})] with h = dim // 2 and
    f_k = max_period^(-k / h); an odd `dim` is padded with one zero.
    """
    half = dim // 2
    frequencies = max_period ** (-jnp.arange(half, dtype=jnp.float32) / half)
    angles = positions.astype(jnp.float32)[..., None] * frequencies
    embedding = jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], -1)
    return jnp.pad(embedding, [(0, 0)] * (embedding.ndim - 1) + [(0, dim % 2)])


class GroupNorm(nn.Module):
    """Group normalisation with affine parameters, statistics in float32.

    Statistics are pooled over `axes` (token axes) and the channels of a group, min(groups, C)
    groups; 0 groups normalise nothing and have no parameters. Per-channel sums are folded into
    groups and applied as one multiply-add: on a CPU ten times faster than the library's.

    The variance is computed in two passes, because E[x²] - E[x]² loses digits where the mean is
    large; for maps of 16 bits, which have fewer digits, in one.
    """

    groups: int = 32
    eps: float = 1e-5
    axes: Sequence[int] = (1, 2)
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *others: jax.Array) -> jax.Array | tuple[jax.Array, ...]:
        """Normalises `x`, and each of `others` with the statistics of `x`."""
        if self.groups == 0:
            return (x, *others) if others else x
        channels = x.shape[-1]
        groups = min(self.groups, channels)
        scale_C = self.param("scale", nn.initializers.ones_init(), (channels,), jnp.float32)
        bias_C = self.param("bias", zeros, (channels,), jnp.float32)

        def group_mean(per_channel: jax.Array) -> jax.Array:
            grouped = per_channel.reshape(*per_channel.shape[:-1], groups, channels // groups)
            return jnp.repeat(grouped.mean(-1), channels // groups, axis=-1)

        x32 = x.astype(jnp.float32)
        mean = group_mean(x32.mean(self.axes, keepdims=True))
        if x.dtype.itemsize == 2:
            square = group_mean(jnp.square(x32).mean(self.axes, keepdims=True))
            variance = jnp.maximum(square - jnp.square(mean), 0.0)
        else:
            variance = group_mean(jnp.square(x32 - mean).mean(self.axes, keepdims=True))
        gain = scale_C * jax.lax.rsqrt(variance + self.eps)
        offset = bias_C - mean * gain
        normed = tuple(
            (y.astype(jnp.float32) * gain + offset).astype(self.dtype) for y in (x, *others)
        )
        return normed if others else normed[0]


def _convolve(
    x_BHWC: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int],
    padding: Any,
    **options: Any,
) -> jax.Array:
    """`jax.lax.conv_general_dilated`, as a product for each pixel where maps are 2x2 or smaller.

    There every pixel sees the whole map, through its own part of a 3x3 kernel. XLA convolves such
    maps on a CPU at a fifteenth of the rate of products. Channels keep their own axes, so that
    sharded channels exchange nothing but sums.
    """
    height, width = x_BHWC.shape[1:3]
    if kernel.shape[:2] != (3, 3) or max(height, width) > 2 or tuple(strides) != (1, 1):
        return jax.lax.conv_general_dilated(x_BHWC, kernel, strides, padding, **options)

    def pixel(row: int, column: int) -> jax.Array:
        part = kernel[1 - row : 1 - row + height, 1 - column : 1 - column + width]
        return jnp.einsum("bhwi,hwic->bc", x_BHWC, part)

    rows = [jnp.stack([pixel(i, j) for j in range(width)], axis=1) for i in range(height)]
    return jnp.stack(rows, axis=1)


class Conv(nn.Module):
    """3x3 (by default) convolution over H, W of [..., H, W, C], zero padded, with bias."""

    channels: int
    kernel: int = 3
    stride: int = 1
    zero_init: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        pad = (self.kernel - 1) // 2
        conv = nn.Conv(
            self.channels,
            (self.kernel, self.kernel),
            (self.stride, self.stride),
            padding=pad,
            kernel_init=zeros if self.zero_init else lecun_normal,
            dtype=self.dtype,
            conv_general_dilated=_convolve,
            name="conv",
        )
        flat = conv(x.reshape(-1, *x.shape[-3:]))
        return flat.reshape(*x.shape[:-3], *flat.shape[1:])


class Conv3D(nn.Module):
    """3x3x3 convolution over T, H, W of [B, T, H, W, C]; `stride` applies to H and W only.

    Computed as one 2-D convolution over the three temporal neighbours stacked as channels, which
    every backend runs at matrix-multiply speed.
    """

    channels: int
    stride: int = 1
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x_BTHWC: jax.Array) -> jax.Array:
        frames = x_BTHWC.shape[1]
        padded = jnp.pad(x_BTHWC, [(0, 0), (1, 1), (0, 0), (0, 0), (0, 0)])
        neighbours = [padded[:, tap : tap + frames] for tap in range(3)]
        conv = Conv(self.channels, stride=self.stride, dtype=self.dtype, name="taps")
        return conv(jnp.concatenate(neighbours, -1))


class Dense(nn.Module):
    """Affine map of the last axis; also the 1x1 convolution."""

    channels: int
    zero_init: bool = False
    use_bias: bool = True
    kernel_init: nn.initializers.Initializer = lecun_normal
    bias_init: nn.initializers.Initializer = zeros
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return nn.Dense(
            self.channels,
            use_bias=self.use_bias,
            bias_init=self.bias_init,
            kernel_init=zeros if self.zero_init else self.kernel_init,
            dtype=self.dtype,
            name="dense",
        )(x)


class FusedDense(nn.Module):
    """Several affine maps of the last axis as one: [..., I] -> `parts` arrays [..., C].

    The kernel is [I, parts * C]; the sum has an axis for the parts, so that with sharded channels
    every device computes its share of each part.
    """

    parts: int
    channels: int
    kernel_init: nn.initializers.Initializer = lecun_normal
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> list[jax.Array]:
        features = self.parts * self.channels
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], features), jnp.float32)
        bias = self.param("bias", zeros, (features,), jnp.float32)
        x, kernel, bias = (y.astype(self.dtype) for y in (x, kernel, bias))
        kernel_IPC = kernel.reshape(-1, self.parts, self.channels)
        out = jnp.einsum("...i,ipc->...pc", x, kernel_IPC) + bias.reshape(self.parts, -1)
        return [out[..., part, :] for part in range(self.parts)]


def upsample(x: jax.Array, times: int = 1) -> jax.Array:
    """Nearest-neighbour enlargement of H, W of [..., H, W, C] by 2^times."""
    return x.repeat(2**times, axis=-3).repeat(2**times, axis=-2)


def average_pool(x: jax.Array, times: int = 1) -> jax.Array:
    """Mean over 2^times x 2^times cells of H, W of [..., H, W, C]."""
    cell = 2**times
    *lead, height, width, channels = x.shape
    cells = x.reshape(*lead, height // cell, cell, width // cell, cell, channels)
    return cells.mean((-4, -2))


class ResBlock(nn.Module):
    """Pre-norm residual block on maps [B, H, W, C], with an optional additive embedding [B, E].

    h = conv(SiLU(GN(x))) + Dense(SiLU(embedding)); out = skip(x) + zero_conv(SiLU(GN(h))).
    """

    channels: int
    groups: int = 32
    eps: float = 1e-5
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x_BHWC: jax.Array, embedding_BE: jax.Array | None = None) -> jax.Array:
        norm = {"groups": self.groups, "eps": self.eps, "dtype": self.dtype}
        h = nn.silu(GroupNorm(**norm, name="norm_in")(x_BHWC))
        h = Conv(self.channels, dtype=self.dtype, name="conv_in")(h)
        if embedding_BE is not None:
            shift = Dense(self.channels, dtype=self.dtype, name="embedding")(nn.silu(embedding_BE))
            h = h + shift[:, None, None, :]
        h = nn.silu(GroupNorm(**norm, name="norm_out")(h))
        h = Conv(self.channels, zero_init=True, dtype=self.dtype, name="conv_out")(h)
        if x_BHWC.shape[-1] != self.channels:
            x_BHWC = Dense(self.channels, dtype=self.dtype, name="skip")(x_BHWC)
        return x_BHWC + h
