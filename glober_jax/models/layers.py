"""Blocks that several networks share: norms, convolutions, attention, embeddings.

Dimension key: B batch, T frames, H height, W width, C channels, L tokens, Q query tokens,
N heads, D channels of one head, I input channels, P parts. `x` with more leading dimensions than
named is allowed where the docstring says so. Parameters, normalisation and softmax are float32;
everything else computes in the module's `dtype`. Architecture: REFERENCE networks of arXiv
2309.13274 (Stable Diffusion blocks, 3-D convolutions and attention over time).
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

zeros = nn.initializers.zeros_init()
lecun_normal = nn.initializers.lecun_normal()
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


def attention(q_BQND: jax.Array, k_BLND: jax.Array, v_BLND: jax.Array) -> jax.Array:
    """softmax(q kᵀ / √D) v over the token axis; any number of leading batch dimensions.

    The softmax is float32. On a CPU it is written out, heads first and divided by its sums after
    the product with v: two to four times faster than the library call, which is the right one on
    GPU and TPU; both give the same numbers.
    """

    def einsum_attention(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        q, k, v = (x.swapaxes(1, 2) for x in (q * q.shape[-1] ** -0.5, k, v))
        logits = jnp.einsum("bnqd,bnld->bnql", q, k).astype(jnp.float32)
        weights = jnp.exp(logits - jax.lax.stop_gradient(logits.max(-1, keepdims=True)))
        out = jnp.einsum("bnql,bnld->bnqd", weights.astype(v.dtype), v)
        return (out / weights.sum(-1, keepdims=True)).astype(v.dtype).swapaxes(1, 2)

    batch = q_BQND.shape[:-3]
    flat = [x.reshape(-1, *x.shape[-3:]) for x in (q_BQND, k_BLND, v_BLND)]
    out = jax.lax.platform_dependent(
        *flat, cpu=einsum_attention, default=jax.nn.dot_product_attention
    )
    return out.reshape(*batch, *out.shape[1:])


class GroupNorm(nn.Module):
    """Group normalisation with affine parameters, statistics in float32.

    Statistics are pooled over `axes` (token axes) and over the channels of a group; every other
    axis keeps its own. min(groups, C) groups, so that narrow maps never ask for more groups than
    channels. Computed from per-channel sums folded into groups and applied as one multiply-add:
    on a CPU ten times faster than the library's, which reshapes the full map. The variance is that
    of what remains without the mean: E[x²] - E[x]² loses digits where the mean is large. With 0
    groups nothing is normalised, and there are no parameters.
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
        variance = group_mean(jnp.square(x32 - mean).mean(self.axes, keepdims=True))
        gain = scale_C * jax.lax.rsqrt(variance + self.eps)
        offset = bias_C - mean * gain
        normed = tuple(
            (y.astype(jnp.float32) * gain + offset).astype(self.dtype) for y in (x, *others)
        )
        return normed if others else normed[0]


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
            name="conv",
        )
        flat = conv(x.reshape(-1, *x.shape[-3:]))
        return flat.reshape(*x.shape[:-3], *flat.shape[1:])


class Conv3D(nn.Module):
    """3x3x3 convolution over T, H, W of [B, T, H, W, C]; `stride` applies to H and W only.

    Computed as one 2-D convolution over the three temporal neighbours stacked as channels: the
    same sums, and the form that every backend runs at matrix-multiply speed.
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

    Their kernels lie side by side in one of [I, parts * C]. The sum is written with an axis for
    the parts: where channels are spread over devices, every device then computes its share of each
    part, and not some parts whole that the others have to be sent.
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


def split_heads(x: jax.Array, heads: int) -> jax.Array:
    """[..., L, C] -> [..., L, heads, C // heads]."""
    return x.reshape(*x.shape[:-1], heads, x.shape[-1] // heads)


def merge_heads(x: jax.Array) -> jax.Array:
    """[..., L, N, D] -> [..., L, N * D]."""
    return x.reshape(*x.shape[:-2], -1)


class SelfAttention(nn.Module):
    """x + zero_dense(attention(qkv(GN(x)))) over the flattened pixels of maps [B, H, W, C]."""

    head_dim: int
    groups: int = 32
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x_BHWC: jax.Array) -> jax.Array:
        batch, height, width, channels = x_BHWC.shape
        normed = GroupNorm(self.groups, dtype=self.dtype, name="norm")(x_BHWC)
        qkv = Dense(3 * channels, dtype=self.dtype, name="qkv")(normed)
        qkv = split_heads(qkv.reshape(batch, height * width, -1), channels // self.head_dim)
        out = merge_heads(attention(*jnp.split(qkv, 3, axis=-1)))
        out = Dense(channels, zero_init=True, dtype=self.dtype, name="out")(out)
        return x_BHWC + out.reshape(x_BHWC.shape)


class TemporalAttention(nn.Module):
    """x + zero_dense(attention(qkv(GN(x)))) over time, each pixel of [B, T, H, W, C] by itself.

    GroupNorm statistics are taken per pixel over T, as published. With `queries`, only those
    frames are computed: they are normalised with the statistics of `x`, attend to `x`, and equal
    the full result wherever a query is one of the frames of `x`.
    """

    head_dim: int
    groups: int = 32
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x_BTHWC: jax.Array, queries_BTHWC: jax.Array | None = None) -> jax.Array:
        channels = x_BTHWC.shape[-1]
        heads = channels // self.head_dim
        norm = GroupNorm(self.groups, axes=(1,), dtype=self.dtype, name="norm")
        qkv = Dense(3 * channels, dtype=self.dtype, name="qkv")

        def project(normed_BTHWC: jax.Array) -> list[jax.Array]:
            pixel_major = jnp.moveaxis(qkv(normed_BTHWC), 1, 3)
            return jnp.split(split_heads(pixel_major, heads), 3, axis=-1)

        if queries_BTHWC is None:
            queries_BTHWC = x_BTHWC
            q, k, v = project(norm(x_BTHWC))
        else:
            normed, normed_queries = norm(x_BTHWC, queries_BTHWC)
            _, k, v = project(normed)
            q, _, _ = project(normed_queries)
        out = jnp.moveaxis(merge_heads(attention(q, k, v)), 3, 1)
        out = Dense(channels, zero_init=True, dtype=self.dtype, name="out")(out)
        return queries_BTHWC + out


class CrossAttention(nn.Module):
    """Multi-head attention of x [B, Q, C] to context [B, L, E] (or to itself), no q/k/v bias."""

    heads: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x_BQC: jax.Array, context_BLE: jax.Array | None = None) -> jax.Array:
        channels = x_BQC.shape[-1]
        context_BLE = x_BQC if context_BLE is None else context_BLE

        def project(name: str, source: jax.Array) -> jax.Array:
            dense = Dense(channels, use_bias=False, dtype=self.dtype, name=name)
            return split_heads(dense(source), self.heads)

        out = attention(project("q", x_BQC), project("k", context_BLE), project("v", context_BLE))
        return Dense(channels, dtype=self.dtype, name="out")(merge_heads(out))


def gelu(x: jax.Array) -> jax.Array:
    """x Φ(x) by the error function; the library's version by erfc costs a CPU five times more."""
    return 0.5 * x * (1.0 + jax.lax.erf(x * 0.5**0.5))


class GEGLU(nn.Module):
    """Dense(x) * GELU(Dense(x)), each [..., channels]; GELU by the error function."""

    channels: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        value, gate = FusedDense(2, self.channels, dtype=self.dtype, name="dense")(x)
        return value * gelu(gate)


class SpatialTransformer(nn.Module):
    """One transformer block over the pixels of [B, H, W, C] with cross-attention to [B, L, E].

    GN, dense in; x += SelfAttn(LN x); x += CrossAttn(LN x, context); x += GEGLU(LN x); zero dense
    out; plus the input. GEGLU has four times the width.
    """

    heads: int
    groups: int = 32
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x_BHWC: jax.Array, context_BLE: jax.Array) -> jax.Array:
        batch, height, width, channels = x_BHWC.shape

        def layer_norm(name: str, x: jax.Array) -> jax.Array:
            return nn.LayerNorm(epsilon=1e-5, dtype=jnp.float32, name=name)(x).astype(self.dtype)

        h = GroupNorm(self.groups, eps=1e-6, dtype=self.dtype, name="norm")(x_BHWC)
        h = Dense(channels, dtype=self.dtype, name="proj_in")(h)
        h = h.reshape(batch, height * width, channels)
        h = h + CrossAttention(self.heads, self.dtype, name="self")(layer_norm("norm_self", h))
        h = h + CrossAttention(self.heads, self.dtype, name="cross")(
            layer_norm("norm_cross", h), context_BLE
        )
        wide = GEGLU(4 * channels, self.dtype, name="ff_in")(layer_norm("norm_ff", h))
        h = h + Dense(channels, dtype=self.dtype, name="ff_out")(wide)
        h = Dense(channels, zero_init=True, dtype=self.dtype, name="proj_out")(h)
        return x_BHWC + h.reshape(x_BHWC.shape)
