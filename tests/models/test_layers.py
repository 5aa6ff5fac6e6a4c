"""Layers against arrays recorded from the published release, weights mapped by shape alone.

Broken on purpose, one at a time: sine before cosine, row for column, groups dealt in turn, temporal
taps reversed, attention scale 1/D, temporal norm over space, GEGLU's halves swapped.
"""

import numpy as np
import pytest
from flax import linen as nn

from glober_jax.models.generator import grid_positions
from glober_jax.models.layers import (
    Conv3D,
    GroupNorm,
    ResBlock,
    SelfAttention,
    SpatialTransformer,
    TemporalAttention,
    sinusoidal_embedding,
)
from glober_jax.models.networks import Params
from tests.tiny import FIXTURES

FIXTURE = np.load(FIXTURES / "layers.npz")


def weight(name: str) -> np.ndarray:
    return FIXTURE[f"sd/{name}"].astype(np.float32)


def norm(name: str) -> Params:
    return {"scale": weight(f"{name}.weight"), "bias": weight(f"{name}.bias")}


def dense(name: str, bias: bool = True) -> Params:
    """From [out, in, 1...]."""
    kernel = weight(f"{name}.weight")
    inner = {"kernel": kernel.reshape(kernel.shape[:2]).T}
    return {"dense": inner | ({"bias": weight(f"{name}.bias")} if bias else {})}


def conv(name: str) -> Params:
    """From [out, in, h, w]."""
    kernel = weight(f"{name}.weight").transpose(2, 3, 1, 0)
    return {"conv": {"kernel": kernel, "bias": weight(f"{name}.bias")}}


def attention_params(layer: str) -> Params:
    """Rows of the qkv kernel are (head, q k v, channel), as published."""
    return {
        "norm": norm(f"{layer}/norm"),
        "qkv": dense(f"{layer}/qkv"),
        "out": dense(f"{layer}/proj_out"),
    }


def cross_attention_params(name: str) -> Params:
    projections = {key: dense(f"{name}.to_{key}", bias=False) for key in "qkv"}
    return projections | {"out": dense(f"{name}.to_out.0")}


def channels_last(x: np.ndarray) -> np.ndarray:
    """[B, C, ...] -> [B, ..., C]."""
    return np.moveaxis(x, 1, -1)


def check(layer: str, module: nn.Module, params: Params, *inputs: np.ndarray) -> None:
    """`module` gives the recorded output to 2e-5 of its largest value."""
    expected = channels_last(FIXTURE[f"out/{layer}"])
    out = module.apply({"params": params}, *inputs)
    np.testing.assert_allclose(
        np.reshape(out, expected.shape), expected, atol=2e-5 * np.abs(expected).max()
    )


def recorded_input(layer: str) -> np.ndarray:
    return channels_last(FIXTURE[f"in/{layer}.0"])


@pytest.mark.parametrize("dim", [7, 32])
def test_sinusoids(dim: int) -> None:
    """Fails when sine comes before cosine, or an odd dimension is not padded with zero."""
    out = sinusoidal_embedding(FIXTURE[f"in/timestep_embedding_{dim}.0"], dim)
    np.testing.assert_allclose(out, FIXTURE[f"out/timestep_embedding_{dim}"], atol=1e-4)


def test_grid_positions() -> None:
    """Fails when rows and columns, or sine and cosine, change places."""
    np.testing.assert_allclose(grid_positions(4, 4, 48), FIXTURE["out/sincos2d_48_4"], atol=1e-5)


def test_group_norm_over_a_map() -> None:
    """Fails when channels are dealt out to groups in turn, or eps is another."""
    params = {"scale": weight("gn64/weight"), "bias": weight("gn64/bias")}
    check("gn64", GroupNorm(32), params, recorded_input("gn64"))


def test_group_norm_over_frames_with_one_channel_per_group() -> None:
    """Fails when statistics are not shared over time, or 32 groups are forced on 16 channels."""
    params = {"scale": weight("gn16/weight"), "bias": weight("gn16/bias")}
    check("gn16", GroupNorm(32, axes=(1, 2, 3)), params, recorded_input("gn16"))


def test_residual_block() -> None:
    """Fails when the embedding is added after the second norm, or without its SiLU."""
    params = {
        "norm_in": norm("resblock_same/in_layers.0"),
        "conv_in": conv("resblock_same/in_layers.2"),
        "embedding": dense("resblock_same/emb_layers.1"),
        "norm_out": norm("resblock_same/out_layers.0"),
        "conv_out": conv("resblock_same/out_layers.3"),
    }
    embedding = FIXTURE["in/resblock_same.1"]
    check("resblock_same", ResBlock(32), params, recorded_input("resblock_same"), embedding)


def test_convolution_over_time_and_space() -> None:
    """Fails when the three temporal neighbours are stacked in another order than their taps."""
    kernel = weight("conv3d/weight")  # [out, in, t, h, w]
    kernel = kernel.transpose(3, 4, 2, 1, 0).reshape(3, 3, -1, kernel.shape[0])
    params = {"taps": {"conv": {"kernel": kernel, "bias": weight("conv3d/bias")}}}
    check("conv3d", Conv3D(16), params, recorded_input("conv3d"))


def test_attention_over_space() -> None:
    """Fails when pixels of different frames attend to each other, or the scale is not D^-1/2."""
    frames = recorded_input("spatial_attn")
    module, params = SelfAttention(head_dim=16), attention_params("spatial_attn")
    check("spatial_attn", module, params, frames.reshape(-1, *frames.shape[2:]))


def test_attention_over_time() -> None:
    """Fails when the norm's statistics are taken over space, or pixels see each other."""
    module, params = TemporalAttention(head_dim=8), attention_params("temporal_attn")
    check("temporal_attn", module, params, recorded_input("temporal_attn"))


def test_spatial_transformer() -> None:
    """Fails when GEGLU's halves, the norms or self- and cross-attention change places."""
    block = "spatial_transformer/transformer_blocks.0"
    params = {
        "norm": norm("spatial_transformer/norm"),
        "proj_in": dense("spatial_transformer/proj_in"),
        "self": cross_attention_params(f"{block}.attn1"),
        "cross": cross_attention_params(f"{block}.attn2"),
        "norm_self": norm(f"{block}.norm1"),
        "norm_cross": norm(f"{block}.norm2"),
        "norm_ff": norm(f"{block}.norm3"),
        "ff_in": dense(f"{block}.ff.net.0.proj"),
        "ff_out": dense(f"{block}.ff.net.2"),
        "proj_out": dense("spatial_transformer/proj_out"),
    }
    context = FIXTURE["in/spatial_transformer.1"]
    pixels = recorded_input("spatial_transformer")
    check("spatial_transformer", SpatialTransformer(heads=4), params, pixels, context)
