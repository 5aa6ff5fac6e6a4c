"""A workdir's networks out under published names and back into another workdir; its sampler out."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from glober_jax.experiment.config import parse
from glober_jax.parallel.mesh import MeshShape, make_mesh
from glober_jax.training.autoencoder import DISCRIMINATOR
from glober_jax.training.restore import load_feature_model, load_frame_model, load_network
from tests.end_to_end.tiny_config import get_config

BACK = {
    "reference_autoencoder": "autoencoder.safetensors",
    "reference_generator": "generator.safetensors",
}


@pytest.fixture(scope="module")
def exported(commands: Any, finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that `export` writes of the finished run."""
    folder = tmp_path_factory.mktemp("exported")
    commands.succeed("convert", "export", f"--workdir={finished}", f"--output={folder}")
    return folder


def everything(workdir: Path) -> Any:
    """Averaged networks of all stages with their scales, and the discriminator."""
    networks, mesh = parse(get_config()).networks, make_mesh(MeshShape())
    return jax.device_get(
        (
            load_frame_model(networks, workdir, mesh)[1],
            load_feature_model(networks, workdir, mesh)[1],
            load_network(networks, workdir, "autoencoder", DISCRIMINATOR, mesh),
        )
    )


def test_out_and_back_changes_nothing(
    commands: Any, finished: Path, exported: Path, tmp_path: Path
) -> None:
    """Fails when any array, or a scale, comes back as another.

    Broken: taps of a 3-D convolution split in the wrong order; scales left out. Sampling and
    training go on in the new workdir as in any other.
    """
    workdir = tmp_path / "back"
    for command, file in BACK.items():
        flags = [command, *commands.train_flags(workdir), f"--input={exported / file}"]
        commands.succeed("convert", *flags)
    jax.tree.map(np.testing.assert_array_equal, everything(workdir), everything(finished))

    flags = [f"--workdir={workdir}", f"--output={tmp_path / 'samples'}", "--num_videos=2"]
    commands.succeed("sample", *flags)
    steps = [f"--config.{stage}.steps=7" for stage in ("codec", "autoencoder", "generator")]
    commands.succeed("main", *commands.train_flags(workdir), *steps, "--stage=autoencoder")


def test_the_codec_alone_goes_where_stable_diffusions_does(
    commands: Any, exported: Path, tmp_path: Path
) -> None:
    """Fails when `sd_vae` cannot read what `export` wrote of a codec."""
    flags = [*commands.train_flags(tmp_path), f"--input={exported / 'codec.safetensors'}"]
    back = commands.succeed("convert", "sd_vae", *flags)
    assert "named as in the published release" in back.stdout


def test_flags_that_are_missing(commands: Any, tmp_path: Path) -> None:
    """Fails when export without a workdir ends in a stack trace."""
    for flags, says in (
        ([], "export needs --workdir"),
        ([f"--workdir={tmp_path}"], "export needs --output"),
        ([f"--workdir={tmp_path}", f"--output={tmp_path}"], "holds no config.json"),
    ):
        assert says in commands.refuse("convert", "export", *flags)


def test_a_sampler_comes_out(commands: Any, finished: Path, tmp_path: Path) -> None:
    """Fails when the command loses a flag, a class name, or what a person is told."""
    flags = (f"--workdir={finished}", f"--output={tmp_path}", "--num_frames=4", "--platforms=cpu")
    out = commands.succeed("convert", "export_sampler", *flags)
    assert "lowering it for cpu" in out.stderr
    for name in ("weights.safetensors", "sampler.stablehlo", "sampler.json"):
        assert (tmp_path / name).stat().st_size > 0 and f"{tmp_path / name}: " in out.stdout
    record = json.loads((tmp_path / "sampler.json").read_text())
    assert record["output"]["shape"] == [1, 4, 16, 16, 3] and record["platforms"] == ["cpu"]
    assert record["class_names"] == ["clear", "broken", "overcast", "sunset"]
    assert record["checkpoint_steps"] == {"autoencoder": 6, "generator": 6}

    refused = commands.refuse("convert", "export_sampler", *flags[:-1], "--platforms=gpu")
    assert "--platforms=gpu: choose from cpu, cuda, rocm, tpu" in refused
