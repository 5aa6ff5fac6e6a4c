"""Stable Diffusion's codec through the converter: outputs of the published release, all namings.

The fixture is a small codec of the release (32 channels, multipliers 1, 1, 2, one block per
level) with random weights, none of them zero, and what it computed from them.
"""

import re
from pathlib import Path

import jax
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from glober_jax.errors import UserError
from glober_jax.interop.network import choose_naming, import_network
from glober_jax.interop.sd_codec import codec_namings
from glober_jax.interop.weights_file import open_tensors
from glober_jax.models.frame_codec import FrameCodec
from glober_jax.models.networks import Params
from tests.interop.comparison import relative_error
from tests.tiny import FIXTURES

FIXTURE = np.load(FIXTURES / "vae.npz")
RELEASE = {name[3:]: FIXTURE[name] for name in FIXTURE if name.startswith("sd/")}
CODEC = FrameCodec(channels=32, multipliers=(1, 1, 2), blocks_per_level=1)
Tensors = dict[str, np.ndarray]


def converted(tensors: Tensors) -> tuple[str, Params]:
    """The title of the naming that was found, and the parameters."""
    frame = np.zeros((1, 16, 16, 3), np.float32)
    key = jax.random.key(0)
    shapes = jax.eval_shape(lambda: CODEC.init(key, frame, 0.0)["params"])
    naming = choose_naming(tensors, shapes, codec_namings(CODEC))
    return naming.title, import_network(tensors, shapes, naming)


def in_diffusers(tensors: Tensors, *, old: bool) -> Tensors:
    """The same tensors as diffusers saves them, written down from its modules' names."""
    projections = {"q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}
    if old:
        projections = {"q": "query", "k": "key", "v": "value", "proj_out": "proj_attn"}
    up = {"2": "0", "1": "1", "0": "2"}
    middle = {"1": "0", "2": "1"}
    renamed = {}
    for name, tensor in tensors.items():
        if found := re.search(r"mid\.attn_1\.(q|k|v|proj_out)\.", name):
            name = name.replace(f"attn_1.{found[1]}", f"attn_1.{projections[found[1]]}")
            # Attention became linear layers there: [O, I] instead of [O, I, 1, 1].
            tensor = tensor.reshape(tensor.shape[:2]) if tensor.ndim == 4 else tensor
        name = re.sub(r"mid\.attn_1\.norm", "mid.attn_1.group_norm", name)
        name = re.sub(r"mid\.attn_1", "mid_block.attentions.0", name)
        name = re.sub(r"mid\.block_(\d)", lambda m: f"mid_block.resnets.{middle[m[1]]}", name)
        name = re.sub(r"down\.(\d)\.block", r"down_blocks.\1.resnets", name)
        name = re.sub(r"down\.(\d)\.downsample", r"down_blocks.\1.downsamplers.0", name)
        name = re.sub(r"up\.(\d)\.block", lambda m: f"up_blocks.{up[m[1]]}.resnets", name)
        name = re.sub(r"up\.(\d)\.upsample", lambda m: f"up_blocks.{up[m[1]]}.upsamplers.0", name)
        name = name.replace("nin_shortcut", "conv_shortcut")
        renamed[re.sub(r"coder\.norm_out", "coder.conv_norm_out", name)] = tensor
    return renamed


def test_computes_what_the_release_does() -> None:
    """Fails when a kernel is transposed wrongly, or lands on a layer of the same shape.

    Broken: dense kernels not transposed; k and v, or the two blocks of the middle, exchanged.
    """
    title, params = converted(RELEASE)
    assert title == "the published release"

    @jax.jit
    def run(p: Params, frames: jax.Array, latents: jax.Array) -> tuple[jax.Array, jax.Array]:
        encoded = CODEC.apply({"params": p}, frames, method="encode")
        return encoded, CODEC.apply({"params": p}, latents, method="decode")

    inputs = (np.moveaxis(FIXTURE[name], 1, -1) for name in ("in/image", "in/z"))
    moments, frames = jax.device_get(run(params, *inputs))
    recorded = np.concatenate([FIXTURE["out/mean"], FIXTURE["out/logvar"]], 1)
    assert relative_error(moments, np.moveaxis(recorded, 1, -1)) < 1e-5
    assert relative_error(frames, np.moveaxis(FIXTURE["out/decode"], 1, -1)) < 1e-5


@pytest.mark.parametrize(("old", "title"), [(False, "diffusers"), (True, "older diffusers")])
def test_names_of_diffusers_give_the_same_parameters(old: bool, title: str) -> None:
    """Fails when a diffusers name is wrong (broken: its decoder levels counted by resolution)."""
    found, params = converted(in_diffusers(RELEASE, old=old))
    assert found == title
    jax.tree.map(np.testing.assert_array_equal, params, converted(RELEASE)[1])


@pytest.mark.parametrize("kind", [np.float16, ml_dtypes.bfloat16])
def test_files_in_half_precision_become_float32(kind: type, tmp_path: Path) -> None:
    """Fails when a file's own type is kept (broken: the cast left out)."""
    halved = {name: tensor.astype(kind) for name, tensor in RELEASE.items()}
    save_file(halved, tmp_path / "half.safetensors")
    _, params = converted(open_tensors(tmp_path / "half.safetensors"))
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype(np.float32)}
    bias = params["encoder"]["conv_in"]["conv"]["bias"]
    np.testing.assert_array_equal(bias, halved["encoder.conv_in.bias"].astype(np.float32))


def test_types_that_are_no_weights_are_refused(tmp_path: Path) -> None:
    """Fails when an 8-bit file ends in a stack trace (broken: types are not looked at)."""
    file = tmp_path / "eight.safetensors"
    save_file(RELEASE | {"quant_conv.bias": np.zeros(8, ml_dtypes.float8_e4m3fn)}, file)
    with pytest.raises(UserError, match=r"1 of a type that no weights have: quant_conv\.bias F8_E"):
        converted(open_tensors(file))


def test_what_a_training_run_left_in_the_file_is_passed_over() -> None:
    """Fails when weights of the release's loss make a good file useless (broken: no leftovers)."""
    left = {"loss.logvar": np.zeros(()), "model_ema.decay": np.ones(())}
    jax.tree.map(np.testing.assert_array_equal, converted(RELEASE | left)[1], converted(RELEASE)[1])


def test_everything_wrong_is_listed_in_one_message() -> None:
    """Fails when only the first problem is told (broken: raising at the first group)."""
    tensors = {name: tensor for name, tensor in RELEASE.items() if "decoder.mid.attn" not in name}
    tensors["encoder.stranger.weight"] = np.zeros(3, np.float32)
    tensors["quant_conv.weight"] = np.zeros((6, 8, 1, 1), np.float32)
    with pytest.raises(UserError) as caught:
        converted(tensors)
    message = str(caught.value)
    assert "10 missing: decoder.mid.attn_1.k.bias, " in message and "and 7 more" in message
    assert "1 unexpected: encoder.stranger.weight" in message
    assert "1 of another shape: quant_conv.weight [6, 8, 1, 1], not [8, 8, 1, 1]" in message
