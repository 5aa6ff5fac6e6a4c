"""Networks that diffusers itself made and saved compute the same here.

torch and diffusers are no requirements of this project: launch/test_interop.sh installs them and
runs these tests, which are skipped elsewhere. The networks have Stable Diffusion 1.5's layout in
miniature: all kinds of its blocks, norms in 32 groups, 8 heads.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from glober_jax.interop.network import Naming, choose_naming
from glober_jax.interop.sd_codec import codec_namings
from glober_jax.interop.sd_unet import unet_namings
from glober_jax.interop.weights_file import open_tensors
from glober_jax.models.frame_codec import FrameCodec
from glober_jax.models.networks import Params
from glober_jax.models.video_decoder import UNet
from tests.interop.released import import_network
from tests.parity.recording import relative_error

_WHERE = "made by diffusers, which launch/test_interop.sh installs"
torch = pytest.importorskip("torch", reason=_WHERE)
diffusers = pytest.importorskip("diffusers", reason=_WHERE)

CODEC = FrameCodec(channels=32, multipliers=(1, 2), blocks_per_level=1)
UNET = UNet(channels=32, multipliers=(1, 2, 2, 2))
CONTEXT_WIDTH = 24


def saved(network: Any, folder: Path, *, as_torch: bool) -> Mapping[str, Any]:
    """The network's tensors from the file it saves, after every parameter is made random."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            # Norms too, and layers that begin as zeros: a parameter that matters must be seen.
            parameter.add_(0.1 * torch.randn(parameter.shape))
            assert parameter.abs().min() > 0, name
    network.eval().save_pretrained(folder, safe_serialization=not as_torch)
    (file,) = [file for file in folder.iterdir() if file.suffix != ".json"]
    assert file.suffix == (".bin" if as_torch else ".safetensors")
    return open_tensors(file)


def converted(tensors: Mapping[str, Any], shapes: Params, namings: tuple[Naming, ...]) -> Params:
    naming = choose_naming(tensors, shapes, namings)
    assert naming.title == "diffusers"
    return import_network(tensors, shapes, naming)


def channels_last(tensor: Any) -> np.ndarray:
    return np.moveaxis(tensor.detach().numpy(), 1, -1)


@pytest.mark.parametrize("as_torch", [False, True])
def test_autoencoder_kl(tmp_path: Path, as_torch: bool) -> None:
    """Fails when a layer of diffusers' codec is read as another (broken: q and k exchanged)."""
    torch.manual_seed(0)
    theirs = diffusers.AutoencoderKL(
        block_out_channels=(32, 64),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=1,
        latent_channels=4,
    )
    tensors = saved(theirs, tmp_path, as_torch=as_torch)
    key = jax.random.key(0)
    frames = torch.randn(2, 3, 16, 16)
    shapes = jax.eval_shape(lambda: CODEC.init(key, channels_last(frames), 0.0)["params"])
    params = converted(tensors, shapes, codec_namings(CODEC))

    latents = torch.randn(2, 4, 8, 8)
    moments = theirs.encode(frames).latent_dist.parameters
    for method, inputs, outputs in (
        ("encode", frames, moments),
        ("decode", latents, theirs.decode(latents).sample),
    ):
        ours = CODEC.apply({"params": params}, channels_last(inputs), method=method)
        assert relative_error(np.asarray(ours), channels_last(outputs)) < 1e-4


def test_unet_2d_condition_model(tmp_path: Path) -> None:
    """Fails when a layer of diffusers' UNet is read as another.

    Broken: norm2 and norm3 exchanged; the upsampling of a level looked for in the next one.
    """
    torch.manual_seed(0)
    theirs = diffusers.UNet2DConditionModel(
        block_out_channels=(32, 64, 64, 64),
        down_block_types=(*("CrossAttnDownBlock2D",) * 3, "DownBlock2D"),
        up_block_types=("UpBlock2D", *("CrossAttnUpBlock2D",) * 3),
        layers_per_block=2,
        cross_attention_dim=CONTEXT_WIDTH,
        # By which diffusers means the number of heads here.
        attention_head_dim=UNET.heads,
    )
    tensors = saved(theirs, tmp_path, as_torch=False)
    latents, steps = torch.randn(3, 4, 8, 8), torch.tensor([3, 500, 998])
    tokens = torch.randn(3, 6, CONTEXT_WIDTH)
    # GLOBER's own maps, one per level, of which Stable Diffusion knows nothing.
    widths = (32, 32, 64, 64)
    features = [
        np.zeros((3, 8 >> level, 8 >> level, width), np.float32)
        for level, width in enumerate(widths)
    ]
    inputs = channels_last(latents), steps.numpy().astype(np.float32), tokens.numpy(), features
    shapes = jax.eval_shape(lambda: UNET.init(jax.random.key(0), *inputs)["params"])
    params = converted(tensors, shapes, unet_namings(UNET))
    ours = jax.jit(UNET.apply)({"params": params}, *inputs)
    outputs = theirs(latents, steps, tokens).sample
    assert relative_error(np.asarray(ours), channels_last(outputs)) < 1e-4
