"""Attention, and the blocks built of it: over pixels, over time, to a context.

Dimension key: B batch, T frames, H height, W width, C channels, L tokens, Q query tokens, N heads,
D channels of one head, E context width. Softmax and normalisation are float32; everything else
computes in the module's `dtype`. Source: the networks of arXiv 2309.13274.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from glober_jax.models.layers import Dense, FusedDense, GroupNorm, ResBlock, rematerialised

# Fewest tokens of a fused kernel. On a TPU v5e the compiler keeps the logits of 256 tokens on the
# chip by itself, and writes those of 1024 to memory.
_FUSED_ON_GPU, _FUSED_ON_TPU = 256, 1024
# Tokens of a block of the TPU kernel.
_BLOCK = 512


def attention(q_BQND: jax.Array, k_BLND: jax.Array, v_BLND: jax.Array) -> jax.Array:
    """softmax(q kᵀ / √D) v over the token axis; any number of leading batch dimensions.

    The implementation depends on the platform:

    - CPU: written out, two to four times faster than JAX's `dot_product_attention`.
    - NVIDIA GPU, 16 bits and heads that cuDNN supports: its flash attention.
    - TPU, long sequences: JAX's flash attention; only inside `jax.shard_map`, as in sampling,
      because the partitioner cannot partition this kernel.
    - Otherwise: JAX's.
    """
    batch = q_BQND.shape[:-3]
    flat = [x.reshape(-1, *x.shape[-3:]) for x in (q_BQND, k_BLND, v_BLND)]
    kernels = {"cpu": _einsum_attention}
    if _fits_cudnn(*flat[:2]):
        kernels["cuda"] = functools.partial(jax.nn.dot_product_attention, implementation="cudnn")
    if _fits_flash(*flat[:2]):
        kernels["tpu"] = _flash_attention
    out = jax.lax.platform_dependent(*flat, **kernels, default=jax.nn.dot_product_attention)
    return out.reshape(*batch, *out.shape[1:])


def _einsum_attention(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    """Heads first, divided by the sums after the product with v."""
    q, k, v = (x.swapaxes(1, 2) for x in (q * q.shape[-1] ** -0.5, k, v))
    logits = jnp.einsum("bnqd,bnld->bnql", q, k).astype(jnp.float32)
    weights = jnp.exp(logits - jax.lax.stop_gradient(logits.max(-1, keepdims=True)))
    out = jnp.einsum("bnql,bnld->bnqd", weights.astype(v.dtype), v)
    return (out / weights.sum(-1, keepdims=True)).astype(v.dtype).swapaxes(1, 2)


def _fits_cudnn(q: jax.Array, k: jax.Array) -> bool:
    # Tracing needs cuDNN, so only a process with a GPU may.
    heads_fit = q.shape[-1] % 8 == 0 and q.shape[-1] <= 128
    halves = q.dtype in (jnp.bfloat16, jnp.float16) and q.dtype == k.dtype
    return jax.default_backend() == "gpu" and halves and heads_fit and q.shape[1] >= _FUSED_ON_GPU


def _fits_flash(q: jax.Array, k: jax.Array) -> bool:
    tokens = (q.shape[1], k.shape[1])
    whole_blocks = not any(length % _BLOCK for length in tokens)
    in_shard_map = jax.sharding.get_abstract_mesh().are_all_axes_manual
    return whole_blocks and min(tokens) >= _FUSED_ON_TPU and in_shard_map


def _flash_attention(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    from jax.experimental.pallas.ops.tpu import flash_attention as tpu

    sizes = tpu.BlockSizes(block_q=_BLOCK, block_k_major=_BLOCK, block_k=_BLOCK, block_b=1)
    heads_first = (x.swapaxes(1, 2) for x in (q, k, v))
    out = tpu.flash_attention(*heads_first, sm_scale=q.shape[-1] ** -0.5, block_sizes=sizes)
    return out.swapaxes(1, 2)


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

    GroupNorm statistics are per pixel over T, as published. With `queries`, only those frames are
    computed: normalised with the statistics of `x`, they attend to `x`.
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


def factorised_block(
    network: nn.Module, x_BTHWC: jax.Array, channels: int, name: str, spatial: bool, temporal: bool
) -> jax.Array:
    """Residual block, attention within each frame, then attention over time at each pixel.

    Layers of `network`, which is being applied and has `head_dim`, `groups`, `remat` and `dtype`.
    """
    batch, frames, *map_shape = x_BTHWC.shape
    kinds = (ResBlock, SelfAttention, TemporalAttention)
    residual, in_frame, over_time = (rematerialised(kind, network.remat) for kind in kinds)
    norm = {"groups": network.groups, "dtype": network.dtype}
    h = x_BTHWC.reshape(batch * frames, *map_shape)
    h = residual(channels, **norm, name=f"{name}_residual")(h)
    if spatial:
        h = in_frame(network.head_dim, **norm, name=f"{name}_spatial")(h)
    h = h.reshape(batch, frames, *h.shape[1:])
    if temporal:
        h = over_time(network.head_dim, **norm, name=f"{name}_temporal")(h)
    return h


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


class GEGLU(nn.Module):
    """Dense(x) * GELU(Dense(x)), each [..., channels].

    GELU is x Φ(x) by erf; the library's by erfc costs a CPU five times more.
    """

    channels: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        value, gate = FusedDense(2, self.channels, dtype=self.dtype, name="dense")(x)
        return value * (0.5 * gate * (1.0 + jax.lax.erf(gate * 0.5**0.5)))


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
