"""What `convert sd_unet` refuses, and that nothing of a refused file stays."""

from pathlib import Path

import jax
import numpy as np
import pytest
from etils import epath
from safetensors.numpy import save_file

from glober_jax.errors import UserError
from glober_jax.experiment.config import parse
from glober_jax.experiment.options import Experiment
from glober_jax.interop.sd_unet import CHECKPOINT_PREFIX, unet_namings
from glober_jax.interop.stable_diffusion import convert_unet
from glober_jax.training.checkpoint import StageCheckpoints
from tests.interop.released import released_tensors
from tests.tiny import tiny_config

Tensors = dict[str, np.ndarray]


def _experiment(token_width: int = 0, **unet: int) -> Experiment:
    config = tiny_config()
    config.model.unet.update({"channels": 32, "heads": 8, "groups": 32} | unet)
    if token_width:
        config.model.global_tokens.width = token_width
    return parse(config)


def _tensors(experiment: Experiment) -> Tensors:
    namings = unet_namings(experiment.networks.unet)
    return released_tensors(experiment.networks, "unet", namings[0])


def _refusal(experiment: Experiment, tensors: Tensors, folder: Path) -> str:
    """The one sentence that says why these tensors are no UNet for this experiment."""
    file, workdir = folder / "unet.safetensors", folder / "run"
    save_file(tensors, file)
    with pytest.raises(UserError) as caught:
        convert_unet(experiment, file, epath.Path(workdir))
    assert not (workdir / "initial" / "unet.safetensors").exists()
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_unets_of_other_versions_are_told_apart(tmp_path: Path) -> None:
    """Fails when XL's names are all that a person sees, or a UNet of 2 is taken where it fits.

    XL embeds more than time, attends at fewer levels, and deeper; 2 has heads of another width.
    """
    tensors = _tensors(_experiment())
    xl = {name: tensor for name, tensor in tensors.items() if "output_blocks.1.1." not in name}
    xl["label_emb.0.0.weight"] = np.zeros((4, 4), np.float16)
    message = _refusal(_experiment(), {CHECKPOINT_PREFIX + n: t for n, t in xl.items()}, tmp_path)
    assert "looks like the UNet of Stable Diffusion XL, which the video decoder is not" in message
    assert "missing: output_blocks.1.1." in message and "unexpected: " in message
    experiment = _experiment(token_width=1024)
    message = _refusal(experiment, _tensors(experiment), tmp_path)
    assert "looks like the UNet of Stable Diffusion 2" in message


@pytest.mark.parametrize(
    ("key", "value", "right"), [("heads", 2, 8), ("head_dim", 64, 0), ("groups", 4, 32)]
)
def test_what_the_file_cannot_tell(tmp_path: Path, key: str, value: int, right: int) -> None:
    """Fails when the same weights would compute something else.

    Looked at where the UNet is as wide as Stable Diffusion's; others may have heads of their own.
    """
    message = _refusal(_experiment(channels=320, **{key: value}), {}, tmp_path)
    assert f"config.model.unet.{key} is {value}, but Stable Diffusion's is {right}" in message


def test_a_stage_that_has_begun_is_left_alone(tmp_path: Path) -> None:
    """Fails when a UNet is left that no stage would ever read, or beside another config's codec."""
    experiment = _experiment()
    with StageCheckpoints(tmp_path / "run", "codec", experiment.source) as checkpoints:
        checkpoints.save(4, {"step": jax.numpy.zeros(())})
    config = _experiment().source
    codec = config["model"]["frame_codec"] | {"channels": 16}
    other = parse(config | {"model": config["model"] | {"frame_codec": codec}})
    message = _refusal(other, {}, tmp_path)
    assert "another architecture (model.frame_codec.channels is 8 there, 16 here)" in message
    with StageCheckpoints(tmp_path / "run", "autoencoder", experiment.source) as checkpoints:
        checkpoints.save(2, {"step": jax.numpy.zeros(())})
    message = _refusal(experiment, {}, tmp_path)
    assert "already holds the autoencoder stage, at step 2; choose another" in message
