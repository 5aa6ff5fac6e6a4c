"""Weights of Stable Diffusion's layout into a workdir, and training that begins with them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from etils import epath
from safetensors.numpy import save_file

from glober_jax.experiment.config import parse
from glober_jax.interop import sd_codec
from glober_jax.interop.sd_codec import codec_namings
from glober_jax.interop.sd_unet import unet_namings
from glober_jax.models.networks import Networks
from glober_jax.parallel.mesh import MeshShape, make_mesh
from glober_jax.training.metric_writer import read_metrics
from glober_jax.training.restore import load_codec, load_frame_model
from tests.end_to_end.tiny_config import get_config
from tests.interop.released import released_tensors

# The tiny networks have 16 channels at most: 32 groups become one per channel, as everywhere.
LAYOUT = [
    "--config.model.frame_codec.groups=32",
    "--config.model.unet.groups=32",
    "--config.model.unet.heads=8",
]
Tensors = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def networks() -> Networks:
    config = get_config()
    config.model.frame_codec.groups = 32
    config.model.unet.update({"groups": 32, "heads": 8})
    return parse(config).networks


@pytest.fixture(scope="module")
def tensors(networks: Networks) -> Tensors:
    """Random weights of the tiny codec under the release's names."""
    return released_tensors(networks, "frame_codec", codec_namings(networks.frame_codec)[0])


@pytest.fixture(scope="module")
def unet(networks: Networks) -> Tensors:
    """Random weights of the tiny UNet under the names of diffusers."""
    return released_tensors(networks, "unet", unet_namings(networks.unet)[1])


def convert_flags(commands: Any, workdir: Path, file: Path, what: str = "sd_vae") -> list[str]:
    return [what, *commands.train_flags(workdir), *LAYOUT, f"--input={file}"]


def test_training_begins_with_the_autoencoder(
    commands: Any, networks: Networks, tensors: Tensors, unet: Tensors, tmp_path: Path
) -> None:
    """Fails when `main` trains the codec after all, or cannot read what was converted.

    Broken: the state saved at step 0; the average left at its initial values; the UNet's file not
    looked for.
    """
    file, workdir = tmp_path / "sd.safetensors", tmp_path / "run"
    save_file(unet, file)
    converted = commands.succeed("convert", *convert_flags(commands, workdir, file, "sd_unet"))
    assert f"unet: {len(unet)} tensors, " in converted.stdout
    assert "named as in diffusers" in converted.stdout
    fresh = "initial values: discriminator, frame_features, global_tokens, video_encoder"
    assert fresh in converted.stdout

    # A whole checkpoint: what belongs to other networks is passed over.
    stranger = {"cond_stage_model.bias": np.zeros(4, np.float16)}
    named = {sd_codec.CHECKPOINT_PREFIX + name: tensor for name, tensor in tensors.items()}
    save_file(named | stranger, file)
    converted = commands.succeed("convert", *convert_flags(commands, workdir, file))
    assert f"{len(tensors)} tensors" in converted.stdout
    assert "the published release" in converted.stdout

    step, params = load_codec(networks, epath.Path(workdir), make_mesh(MeshShape()))
    assert step == 6
    bias = params["frame_codec"]["encoder"]["conv_in"]["conv"]["bias"]
    np.testing.assert_array_equal(bias, tensors["encoder.conv_in.bias"].astype(np.float32))

    flags = [*commands.train_flags(workdir), *LAYOUT]
    # Steps that are too small to lead far away from where they began.
    flags += ["--config.autoencoder.optimizer.learning_rate=1e-6"]
    trained = commands.succeed("main", *flags, "--stage=autoencoder")
    assert f"autoencoder starts with unet from {workdir}/initial; at {fresh}" in trained.stderr
    _, model = load_frame_model(networks, epath.Path(workdir), make_mesh(MeshShape()))
    kernel = np.moveaxis(unet["conv_in.weight"].astype(np.float32), (2, 3, 1), (0, 1, 2))
    np.testing.assert_allclose(model.params["unet"]["conv_in"]["conv"]["kernel"], kernel, atol=1e-4)

    # The autoencoder has a checkpoint of its own now: what becomes of the file is all one.
    (workdir / "initial" / "unet.safetensors").write_bytes(b"")
    trained = commands.succeed("main", *flags, "--stage=codec")
    records = read_metrics(workdir / "logs" / "metrics.jsonl")
    assert {record["stage"] for record in records} == {"autoencoder"}
    assert json.loads((workdir / "config.json").read_text())["codec"]["steps"] == 6

    again = commands.refuse("convert", *convert_flags(commands, workdir, file, "sd_unet"))
    assert "already holds the autoencoder stage, at step 6" in again

    # Another codec under a trained autoencoder would go unnoticed until its videos are seen.
    again = commands.refuse("convert", *convert_flags(commands, workdir, file))
    assert "already holds the codec stage, at step 6" in again

    other = [*commands.train_flags(workdir), "--stage=autoencoder"]
    assert "frame_codec.groups is 32 there, 4 here" in commands.refuse("main", *other)


def test_a_config_changed_after_conversion(commands: Any, unet: Tensors, tmp_path: Path) -> None:
    """Fails when it is found after the codec was trained (broken: read only when needed)."""
    file, workdir = tmp_path / "sd.safetensors", tmp_path / "run"
    save_file(unet, file)
    commands.succeed("convert", *convert_flags(commands, workdir, file, "sd_unet"))
    flags = [*commands.train_flags(workdir), *LAYOUT, "--config.model.unet.channels=16"]
    message = commands.refuse("main", *flags)
    assert "initial/unet.safetensors was made with another config.model" in message
    assert len(message.splitlines()) == 1
    assert not list(workdir.glob("codec/*"))


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("shape", "1 of another shape: decoder.conv_out.bias [5], not [3]"),
        ("absent", "no such file"),
    ],
)
def test_files_that_cannot_be_used(
    commands: Any, tensors: Tensors, tmp_path: Path, kind: str, says: str
) -> None:
    """Fails when a bad file is accepted, leaves a workdir, or ends in a stack trace."""
    file, workdir = tmp_path / "bad.safetensors", tmp_path / "run"
    if kind == "shape":
        save_file(tensors | {"decoder.conv_out.bias": np.zeros(5, np.float16)}, file)
    message = commands.refuse("convert", *convert_flags(commands, workdir, file))
    assert says in message and str(file) in message and len(message.splitlines()) == 1
    assert not workdir.exists()
