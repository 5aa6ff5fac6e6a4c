"""Stable Diffusion's names for our codec and UNet, and what is said of tensors that do not fit.

That converted networks compute what the release does is in tests/parity, and what diffusers does in
test_diffusers.py.
"""

from pathlib import Path

import jax
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from glober_jax.errors import UserError
from glober_jax.interop.network import choose_naming
from glober_jax.interop.sd_codec import codec_namings
from glober_jax.interop.sd_unet import unet_namings
from glober_jax.interop.weights_file import open_tensors
from glober_jax.models.frame_codec import FrameCodec
from glober_jax.models.networks import Params
from glober_jax.models.video_decoder import UNet
from tests.interop.released import import_network
from tests.tiny import FIXTURES

CODEC = FrameCodec(channels=32, multipliers=(1, 1, 2), blocks_per_level=1)
UNET = UNet(channels=32, multipliers=(1, 1, 2, 2), attention_levels=(0, 1, 2))
RELEASE = {
    name.removeprefix("sd/"): array
    for name, array in np.load(FIXTURES / "vae.npz").items()
    if name.startswith("sd/")
}
# Names in diffusers' files; those of the release are in tests/parity. Codecs with one level less.
NAMES = {
    "decoder/level2_up/conv/kernel": "decoder.up_blocks.0.upsamplers.0.conv.weight",
    "decoder/level0_block1/norm_in/scale": "decoder.up_blocks.2.resnets.1.norm1.weight",
    "encoder/middle_attention/out/dense/bias": "encoder.mid_block.attentions.0.to_out.0.bias",
    "encoder/middle_attention/q/dense/kernel": "encoder.mid_block.attentions.0.to_q.weight",
    "down1_sample/conv/kernel": "down_blocks.0.downsamplers.0.conv.weight",
    "down0_block1_attention/self/q/dense/kernel": (
        "down_blocks.0.attentions.1.transformer_blocks.0.attn1.to_q.weight"
    ),
    "up3_sample/conv/kernel": "up_blocks.0.upsamplers.0.conv.weight",
    "up2_sample/conv/kernel": "up_blocks.1.upsamplers.0.conv.weight",
    "up0_block2/skip/dense/kernel": "up_blocks.3.resnets.2.conv_shortcut.weight",
    "middle_block1/norm_out/scale": "mid_block.resnets.1.norm2.weight",
}
OLDER = {".to_out.0.": ".proj_attn.", ".to_q.": ".query."}


@pytest.mark.parametrize("path", NAMES)
def test_names_of_diffusers(path: str) -> None:
    """Fails when blocks are counted from the other end, or an attention is another's."""
    if "coder/" not in path:
        assert unet_namings(UNET)[1].published(path) == NAMES[path]
        return
    _, newer, older = codec_namings(CODEC)
    name = NAMES[path]
    assert newer.published(path) == name
    for here, there in OLDER.items():
        name = name.replace(here, there)
    assert older.published(path) == name


def shapes() -> Params:
    frame, key = np.zeros((1, 16, 16, 3), np.float32), jax.random.key(0)
    return jax.eval_shape(lambda: CODEC.init(key, frame, 0.0)["params"])


def converted(tensors: dict) -> Params:
    naming = choose_naming(tensors, shapes(), codec_namings(CODEC))
    assert naming.title == "the published release"
    return import_network(tensors, shapes(), naming)


@pytest.mark.parametrize("kind", [np.float16, ml_dtypes.bfloat16])
def test_files_in_half_precision_become_float32(kind: type, tmp_path: Path) -> None:
    """Fails when a file's own type is kept, or a training run's own tensors make it useless."""
    left = {"loss.logvar": np.zeros((), kind), "model_ema.decay": np.ones((), kind)}
    halved = {name: tensor.astype(kind) for name, tensor in RELEASE.items()}
    save_file(halved | left, tmp_path / "half.safetensors")
    params = converted(open_tensors(tmp_path / "half.safetensors"))
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype(np.float32)}
    bias = params["encoder"]["conv_in"]["conv"]["bias"]
    np.testing.assert_array_equal(bias, halved["encoder.conv_in.bias"].astype(np.float32))


def test_everything_wrong_is_listed_in_one_message(tmp_path: Path) -> None:
    """Fails when only the first problem is told, or an 8-bit file ends in a stack trace."""
    tensors = {name: tensor for name, tensor in RELEASE.items() if "decoder.mid.attn" not in name}
    tensors["encoder.stranger.weight"] = np.zeros(3, np.float32)
    tensors["quant_conv.weight"] = np.zeros((6, 8, 1, 1), np.float32)
    tensors["quant_conv.bias"] = np.zeros(8, ml_dtypes.float8_e4m3fn)
    save_file(tensors, tmp_path / "wrong.safetensors")
    with pytest.raises(UserError) as caught:
        converted(open_tensors(tmp_path / "wrong.safetensors"))
    message = str(caught.value)
    assert "10 missing: decoder.mid.attn_1.k.bias, " in message and "and 7 more" in message
    assert "1 unexpected: encoder.stranger.weight" in message
    assert "1 of another shape: quant_conv.weight [6, 8, 1, 1], not [8, 8, 1, 1]" in message
    assert "1 of a type that no weights have: quant_conv.bias F8_E" in message
