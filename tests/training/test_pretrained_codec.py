"""A codec that was trained before: the one in the package, and that of another run."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from etils import epath

from configs import quickstart
from glober_jax.data.datasets.make import make_dataset
from glober_jax.data.datasets.sky_render import render_video
from glober_jax.data.datasets.synthetic_sky import SyntheticSkyOptions
from glober_jax.errors import UserError
from glober_jax.evaluation.metrics.frame_quality import pooled_psnr, psnr
from glober_jax.experiment.config import parse
from glober_jax.experiment.pipeline import Pipeline
from glober_jax.models.frame_codec import normalise_frames, to_pixels
from glober_jax.models.latents import Gaussian
from glober_jax.parallel.multihost import Preemption
from glober_jax.training.loop import run_stage
from glober_jax.training.metric_writer import MetricsWriter
from glober_jax.training.packaged_model import write_builtin
from glober_jax.training.restore import load_codec, load_pretrained_codec
from tests.tiny import drawn_params, mesh_of, tiny_config


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sky")
    options = SyntheticSkyOptions(num_videos=8, num_test_videos=2, num_frames=16, size=16)
    make_dataset(options, folder)
    return folder


def train_codec(data: Path, workdir: Path, pretrained: str, **encoder: int) -> int:
    """Runs the tiny codec stage; returns the step of the checkpoint that it leaves."""
    config = tiny_config()
    config.data.dir = str(data)
    config.codec.pretrained = pretrained
    config.model.video_encoder.update(encoder)
    experiment = parse(config)
    mesh = mesh_of()
    stage = Pipeline(experiment, workdir, mesh).stage("codec")
    with MetricsWriter(epath.Path(workdir) / "logs", enabled=False) as writer:
        run_stage(stage, workdir, experiment.source, experiment.loop, mesh, writer, Preemption())
    return load_codec(experiment.networks, workdir, mesh)[0]


def test_one_run_s_codec_serves_another(data: Path, tmp_path: Path) -> None:
    """Fails when the second run trains, draws its own codec, or minds another network's width."""
    networks, mesh = parse(tiny_config()).networks, mesh_of()
    first, second = tmp_path / "first", tmp_path / "second"
    assert train_codec(data, first, "") == 4
    assert train_codec(data, second, str(first), channels=32) == 0
    given, taken = (load_codec(networks, workdir, mesh)[1] for workdir in (first, second))
    jax.tree.map(np.testing.assert_array_equal, given, taken)
    # A workdir that is complete needs the other one no more.
    first.rename(tmp_path / "moved")
    assert train_codec(data, second, str(first), channels=32) == 0
    with pytest.raises(UserError, match=r"codec\.pretrained is .* there,  here"):
        train_codec(data, second, "")


def test_what_cannot_serve_is_refused(data: Path, tmp_path: Path) -> None:
    """Fails when a codec of other sizes, or none at all, is found after something was compiled."""
    with pytest.raises(UserError, match=r"'nowhere' is no folder; .* builtin:f4"):
        train_codec(data, tmp_path, "nowhere")
    with pytest.raises(UserError, match="builtin:f5'; choose one of builtin:f4"):
        train_codec(data, tmp_path, "builtin:f5")
    with pytest.raises(UserError, match=r"does not fit config\.model\.frame_codec; set that to"):
        train_codec(data, tmp_path, "builtin:f4")
    assert not (tmp_path / "codec").exists()


@pytest.mark.parametrize("size", [32, 64])
def test_the_codec_in_the_package_keeps_texture(size: int) -> None:
    """Fails when its file, its sizes in the quick start, or the order of its patches is wrong.

    The skies are none that it was trained on: those have another seed.
    """
    networks = parse(quickstart.get_config()).networks
    params = load_pretrained_codec(networks, "builtin:f4", mesh_of())
    frames = render_video(0, 1_000_000, size=size, num_frames=2)

    @jax.jit
    def both_ways(frames: jax.Array) -> jax.Array:
        moments = networks.apply(params, "frame_codec", normalise_frames(frames), method="encode")
        mean = Gaussian.from_moments(moments).mean
        return to_pixels(networks.apply(params, "frame_codec", mean, method="decode"))

    assert pooled_psnr(psnr(np.asarray(both_ways(frames)), frames)[None]).mean() > 28.0


def test_a_codec_is_written_as_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails when a parameter is lost or takes another's name; float16 may round it."""
    networks = parse(tiny_config()).networks
    params = drawn_params(networks, ("frame_codec",))
    file = tmp_path / "f4.safetensors"
    write_builtin(file, params, json.dumps({"channels": 8}))
    monkeypatch.setattr("glober_jax.builtin._FOLDER", tmp_path)
    read = load_pretrained_codec(networks, "builtin:f4", mesh_of())
    for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(read), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-3)
