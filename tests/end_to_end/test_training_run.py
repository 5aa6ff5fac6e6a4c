"""`glober_jax.main` from nothing to a summary."""

import json
import shutil
from pathlib import Path
from typing import Any

import av
import pytest
from PIL import Image

from glober_jax.training.metric_writer import read_metrics

STEPS = {"codec": 6, "autoencoder": 6, "generator": 6}
BASELINES = {"codec", "interpolated_key_frames", "repeated_middle_frame", "mean_image"}


@pytest.fixture(scope="module")
def summary(finished: Path) -> dict[str, Any]:
    return json.loads((finished / "summary.json").read_text())


def test_leaves_config_checkpoints_and_logs(finished: Path) -> None:
    """Fails when a stage stops early, or a file that the README lists is not written."""
    config = json.loads((finished / "config.json").read_text())
    assert config["frame_size"] == 16 and config["autoencoder"]["steps"] == STEPS["autoencoder"]
    for stage, steps in STEPS.items():
        kept = sorted(int(folder.name) for folder in (finished / stage).iterdir())
        assert kept == [steps - 2, steps], stage
        assert (finished / "logs" / f"parameters_{stage}.txt").stat().st_size > 0
    assert list((finished / "logs").glob("events.out.tfevents.*"))


def test_every_step_is_logged_and_the_codec_improves(finished: Path) -> None:
    """Fails when a step or a preview is not logged, or the codec's training does nothing."""
    records = read_metrics(finished / "logs" / "metrics.jsonl")
    for stage, steps in STEPS.items():
        trained = [r["step"] for r in records if r["stage"] == stage and "loss" in r]
        assert trained == list(range(1, steps + 1)), stage
    for stage in ("codec", "autoencoder"):
        held_out = {
            r["step"]: r["held_out_psnr"]
            for r in records
            if r["stage"] == stage and "held_out_psnr" in r
        }
        assert list(held_out) == [0, 3, 6], stage
        if stage == "codec":
            assert held_out[6] > held_out[0] + 1.0
    adversarial = [(r["stage"], r["step"]) for r in records if "adversarial_loss" in r]
    first = {"codec": 4, "autoencoder": 1}
    assert adversarial == [(stage, n) for stage in first for n in range(first[stage], 7)]


def test_leaves_samples_that_open(finished: Path) -> None:
    """Fails when the summary's videos or pictures are missing, empty or unreadable."""
    folder = finished / "samples"
    pictures = {"grid.gif", "sheet.png", "real.png", "reconstructed.png", "curves.png"}
    videos = {f"video_{number:04d}.mp4" for number in range(8)}
    assert {path.name for path in folder.iterdir()} == pictures | videos | {"samples.json"}
    for name in pictures:
        with Image.open(folder / name) as picture:
            picture.load()
            assert getattr(picture, "n_frames", 1) == (8 if name == "grid.gif" else 1), name
    for name in videos:
        with av.open(str(folder / name)) as container:
            frames = list(container.decode(video=0))
        assert len(frames) == 8 and (frames[0].width, frames[0].height) == (16, 16), name


def test_summary_holds_what_a_report_needs(summary: dict[str, Any]) -> None:
    """Fails when the summary lacks a phase, a baseline, a stage, a network or a version."""
    assert summary["seconds"].keys() == {*STEPS, "summary"}
    assert all(seconds > 0 for seconds in summary["seconds"].values())
    assert summary["psnr_db"].keys() == {"reconstruction", "interpolated", *BASELINES}
    assert all(5 < value < 60 for value in summary["psnr_db"].values())
    assert len(summary["psnr_by_index_db"]) == 8
    assert summary["steps"] == STEPS
    assert summary["held_out_clips"] == 4
    assert all(count > 0 for count in summary["parameters"].values())
    assert {"frame_codec", "unet", "generator"} <= summary["parameters"].keys()
    assert {"jax", "flax", "numpy"} <= summary["versions"].keys()


def test_same_command_on_a_finished_run_trains_nothing(
    commands: Any, finished: Path, tmp_path: Path
) -> None:
    """Fails when a finished stage is trained, logged or saved again."""
    workdir = tmp_path / "copy"
    shutil.copytree(finished, workdir)
    kept = [
        *(path for stage in STEPS for path in (workdir / stage).rglob("*") if path.is_file()),
        workdir / "logs" / "metrics.jsonl",
    ]
    before = {path: path.read_bytes() for path in kept}
    again = commands.succeed("main", *commands.train_flags(workdir))
    for stage, steps in STEPS.items():
        assert f"{stage} {steps}/{steps}" not in again.stderr
    assert {path: path.read_bytes() for path in kept} == before
    assert json.loads((workdir / "summary.json").read_text())["steps"] == STEPS
    # The finished stages were trained with the codec of step 6.
    flags = ("--stage=codec", "--config.codec.steps=7")
    further = commands.succeed("main", *commands.train_flags(workdir), *flags)
    for stage in ("autoencoder", "generator"):
        assert f"codec is trained further from step 6, but {stage} is finished" in further.stderr
