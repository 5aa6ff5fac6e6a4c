"""Weights of Stable Diffusion's layout into a workdir, and training that begins with them."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from etils import epath
from safetensors.numpy import save_file

from glober_jax.config import parse
from glober_jax.interop.sd_codec import codec_namings
from glober_jax.models.networks import Networks
from glober_jax.parallel.mesh import MeshShape, make_mesh
from glober_jax.training.metrics import read_metrics
from glober_jax.training.trained import load_codec
from tests.end_to_end.tiny_config import get_config

PREFIX = "first_stage_model."
# The tiny codec has 16 channels at most: 32 groups become one per channel, as everywhere.
GROUPS = "--config.model.frame_codec.groups=32"
Tensors = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def networks() -> Networks:
    config = get_config()
    config.model.frame_codec.groups = 32
    return parse(config).networks


@pytest.fixture(scope="module")
def tensors(networks: Networks) -> Tensors:
    """Random weights of the tiny codec under the release's names; all 3x3 kernels OIHW."""
    release = codec_namings(networks.frame_codec)[0]
    shapes = jax.eval_shape(lambda: networks.init("frame_codec", jax.random.key(0)))
    rng = np.random.default_rng(0)
    made = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(shapes):
        name = release.published("/".join(key.key for key in path))
        order = [*leaf.shape[:-3:-1], *leaf.shape[:-2]]
        made[name] = (0.3 * rng.standard_normal(order)).astype(np.float16)
    return made


def convert_flags(commands: Any, workdir: Path, file: Path) -> list[str]:
    return ["sd_vae", *commands.train_flags(workdir), GROUPS, f"--input={file}"]


def test_training_begins_with_the_autoencoder(
    commands: Any, networks: Networks, tensors: Tensors, tmp_path: Path
) -> None:
    """Fails when `main` trains the codec after all, or cannot read what was converted.

    Broken: the state saved at step 0; the average left at its initial values.
    """
    file, workdir = tmp_path / "sd.safetensors", tmp_path / "run"
    # A whole checkpoint: what belongs to other networks is passed over.
    stranger = {"model.diffusion_model.out.2.bias": np.zeros(4, np.float16)}
    save_file({PREFIX + name: tensor for name, tensor in tensors.items()} | stranger, file)
    converted = commands.run("convert", *convert_flags(commands, workdir, file))
    assert converted.returncode == 0, converted.stderr
    assert f"{len(tensors)} tensors" in converted.stdout
    assert "the published release" in converted.stdout

    step, params = load_codec(networks, epath.Path(workdir), make_mesh(MeshShape()))
    assert step == 6
    bias = params["frame_codec"]["encoder"]["conv_in"]["conv"]["bias"]
    np.testing.assert_array_equal(bias, tensors["encoder.conv_in.bias"].astype(np.float32))

    for stage in ("codec", "autoencoder"):
        flags = [*commands.train_flags(workdir), GROUPS, f"--stage={stage}"]
        trained = commands.run("main", *flags)
        assert trained.returncode == 0, trained.stderr
    records = read_metrics(workdir / "logs" / "metrics.jsonl")
    assert {record["stage"] for record in records} == {"autoencoder"}
    assert json.loads((workdir / "config.json").read_text())["codec"]["steps"] == 6

    # Another codec under a trained autoencoder would go unnoticed until its videos are seen.
    again = commands.run("convert", *convert_flags(commands, workdir, file))
    assert again.returncode == 1
    assert "already holds a codec checkpoint, of step 6" in again.stderr

    other = [*commands.train_flags(workdir), "--stage=autoencoder"]
    refused = commands.run("main", *other)
    assert refused.returncode == 1
    assert "frame_codec.groups is 32 there, 4 here" in refused.stderr


def _broken(kind: str, tensors: Tensors, file: Path) -> None:
    bias = "decoder.conv_out.bias"
    if kind == "missing":
        save_file({name: tensor for name, tensor in tensors.items() if name != bias}, file)
    elif kind == "extra":
        save_file(tensors | {"decoder.extra.weight": tensors[bias]}, file)
    elif kind == "shape":
        save_file(tensors | {bias: np.zeros(5, np.float16)}, file)
    elif kind == "truncated":
        save_file(tensors, file)
        file.write_bytes(file.read_bytes()[:-100])
    elif kind == "text":
        file.write_text("These are not the weights that you are looking for.\n" * 10)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("missing", "1 missing: decoder.conv_out.bias"),
        ("extra", "1 unexpected: decoder.extra.weight"),
        ("shape", "1 of another shape: decoder.conv_out.bias [5], not [3]"),
        ("truncated", "is cut off, damaged or not a safetensors file"),
        ("text", "is cut off, damaged or not a safetensors file"),
        ("absent", "no such file"),
    ],
)
def test_files_that_cannot_be_used(
    commands: Any, tensors: Tensors, tmp_path: Path, kind: str, says: str
) -> None:
    """Fails when a bad file is accepted, leaves a workdir, or ends in a stack trace.

    Broken: errors of the file's library passed on; unexpected tensors not looked for.
    """
    file, workdir = tmp_path / "bad.safetensors", tmp_path / "run"
    _broken(kind, tensors, file)
    refused = commands.run("convert", *convert_flags(commands, workdir, file))
    assert refused.returncode == 1
    assert "Traceback" not in refused.stderr
    message = refused.stderr[refused.stderr.index("error: ") :].strip()
    assert says in message and str(file) in message and len(message.splitlines()) == 1
    assert not workdir.exists()


def test_groups_that_the_file_cannot_tell(commands: Any, tmp_path: Path) -> None:
    """Fails when a config with other groups computes something else from the same weights."""
    flags = convert_flags(commands, tmp_path / "run", tmp_path / "any.safetensors")
    refused = commands.run("convert", *flags, "--config.model.frame_codec.groups=4")
    assert refused.returncode == 1
    assert "error: config.model.frame_codec.groups is 4" in refused.stderr
