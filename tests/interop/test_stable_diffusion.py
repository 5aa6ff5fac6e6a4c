"""What `convert sd_unet` refuses, and that nothing of a refused file stays."""

from pathlib import Path

import jax
import numpy as np
import pytest
from etils import epath
from safetensors.numpy import save_file

from glober_jax.config import parse
from glober_jax.errors import UserError
from glober_jax.experiment import Experiment
from glober_jax.interop.sd_unet import CHECKPOINT_PREFIX, unet_namings
from glober_jax.interop.stable_diffusion import convert_unet
from glober_jax.training.checkpoint import StageCheckpoints
from tests.interop.released import released_tensors
from tests.tiny import tiny_config

Tensors = dict[str, np.ndarray]


def _experiment(**unet: int) -> Experiment:
    config = tiny_config()
    config.model.unet.update({"channels": 32, "heads": 8, "groups": 32} | unet)
    return parse(config)


def _refusal(experiment: Experiment, tensors: Tensors, folder: Path) -> str:
    """The one sentence that says why these tensors are no UNet for this experiment."""
    file, workdir = folder / "unet.safetensors", folder / "run"
    save_file(tensors, file)
    with pytest.raises(UserError) as caught:
        convert_unet(experiment, file, epath.Path(workdir))
    assert not (workdir / "initial" / "unet.safetensors").exists()
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


@pytest.fixture(scope="module")
def tensors() -> Tensors:
    networks = _experiment().networks
    return released_tensors(networks, "unet", unet_namings(networks.unet)[0])


def test_the_unet_of_xl_is_told_apart(tensors: Tensors, tmp_path: Path) -> None:
    """Fails when its names are all that a person gets to see (broken: no look at what it is)."""
    # It embeds more than time, attends at fewer levels, and deeper.
    xl = {name: tensor for name, tensor in tensors.items() if "output_blocks.1.1." not in name}
    xl["label_emb.0.0.weight"] = np.zeros((4, 4), np.float16)
    deeper = {n.replace("blocks.0.attn", "blocks.1.attn"): t for n, t in xl.items()}
    xl |= {name: deeper[name] for name in deeper if "transformer_blocks.1" in name}
    message = _refusal(
        _experiment(), {CHECKPOINT_PREFIX + name: tensor for name, tensor in xl.items()}, tmp_path
    )
    assert "looks like the UNet of Stable Diffusion XL, which the video decoder is not" in message
    assert "missing: output_blocks.1.1." in message and "unexpected: " in message


def test_the_unet_of_2_is_refused_even_where_it_fits(tensors: Tensors, tmp_path: Path) -> None:
    """Fails when heads of another width go unnoticed (broken: only names and shapes compared)."""
    config = tiny_config()
    config.model.unet.update({"channels": 32, "heads": 8, "groups": 32})
    config.model.global_tokens.width = 1024
    experiment = parse(config)
    wide = released_tensors(experiment.networks, "unet", unet_namings(experiment.networks.unet)[0])
    assert "looks like the UNet of Stable Diffusion 2" in _refusal(experiment, wide, tmp_path)


@pytest.mark.parametrize(("key", "value", "right"), [("heads", 2, 8), ("groups", 4, 32)])
def test_what_the_file_cannot_tell(
    tensors: Tensors, tmp_path: Path, key: str, value: int, right: int
) -> None:
    """Fails when the same weights would compute something else (broken: heads not looked at).

    Looked at where the UNet is as wide as Stable Diffusion's; others may have heads of their own.
    """
    message = _refusal(_experiment(channels=320, **{key: value}), tensors, tmp_path)
    assert f"config.model.unet.{key} is {value}, but Stable Diffusion's is {right}" in message


def test_a_stage_that_has_begun_is_left_alone(tensors: Tensors, tmp_path: Path) -> None:
    """Fails when a UNet is left that no stage would ever read, or beside another config's codec.

    Broken: only the codec's checkpoints looked at; its architecture not compared.
    """
    experiment = _experiment()
    with StageCheckpoints(tmp_path / "run", "codec", experiment.source) as checkpoints:
        checkpoints.save(4, {"step": jax.numpy.zeros(())})
    config = _experiment().source
    codec = config["model"]["frame_codec"] | {"channels": 16}
    other = parse(config | {"model": config["model"] | {"frame_codec": codec}})
    message = _refusal(other, tensors, tmp_path)
    assert "another architecture (model.frame_codec.channels is 8 there, 16 here)" in message
    with StageCheckpoints(tmp_path / "run", "autoencoder", experiment.source) as checkpoints:
        checkpoints.save(2, {"step": jax.numpy.zeros(())})
    message = _refusal(experiment, tensors, tmp_path)
    assert "already holds the autoencoder stage, at step 2; choose another" in message
