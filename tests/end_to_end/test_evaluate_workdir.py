"""One's own videos, prepared, trained on with grades, scored at the end, and evaluated again."""

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glober_jax import media
from tests.end_to_end.commands import TINY_CONFIG, Commands

KINDS = ("codec", "interpolated", "reconstruction")
SCORES = {"fvd", "kvd", "fd_alex"}
CLASSES = ("east", "north", "south", "west")


@pytest.fixture(scope="module")
def data(commands: Commands, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MP4 files, in folders by class, of a disc that swings over a gradient."""
    folder = tmp_path_factory.mktemp("own")
    rows, columns = np.mgrid[:48, :64]
    for number, name in enumerate(CLASSES):
        video = np.zeros((40, 48, 64, 3), np.uint8)
        video[..., number % 3] = 3 * columns
        for t, frame in enumerate(video):
            # To and fro, so that the part that is held out looks like the rest.
            centre = 32 + 20 * np.sin(2 * np.pi * t / 12 + number)
            frame[(rows - 24) ** 2 + (columns - centre) ** 2 < 60] = 250
        media.write_mp4(folder / "videos" / name / "clip.mp4", video, fps=24)
    prepared = commands.succeed(
        "prepare", "video_folder", f"--input={folder / 'videos'}", f"--output={folder / 'data'}",
        "--size=16", "--min_frames=16", "--class_folders",
    )  # fmt: skip
    assert "accepted: 4 videos" in prepared.stdout
    return folder / "data"


@pytest.fixture(scope="module")
def trained(
    commands: Commands, data: Path, finished: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    """A workdir, not to be modified, whose generator was trained, and what was said meanwhile."""
    workdir = tmp_path_factory.mktemp("evaluated")
    for stage in ("codec", "autoencoder"):
        shutil.copytree(finished / stage, workdir / stage)
    flags = (f"--config={TINY_CONFIG}:evaluated", f"--config.data.dir={data}")
    run = commands.succeed("main", *flags, f"--workdir={workdir}")
    return workdir, run.stderr


@pytest.fixture
def workdir(trained: tuple[Path, str], tmp_path: Path) -> Path:
    """A copy of the workdir."""
    return Path(shutil.copytree(trained[0], tmp_path / "run"))


def results_of(workdir: Path) -> dict[str, Mapping[str, Any]]:
    return {
        path.name: json.loads(path.read_text()) for path in (workdir / "evaluations").glob("*.json")
    }


def test_training_ends_with_fvd_beside_its_floor(trained: tuple[Path, str]) -> None:
    """Fails when the summary lacks the scores, the floor, their numbers or the report."""
    workdir, said = trained
    lines = said.splitlines()
    end = lines[lines.index("small@4: 4 generated clips, 4 real ones (95 % intervals)") :]
    assert [line.split()[0] for line in end[1:4]] == ["fvd", "kvd", "fd_alex"]
    assert all("real clips against real ones" in line for line in end[1:4])
    assert re.match(
        r"  motion \(and its share of real\): frame difference .* \(\d+ %\), op", end[4]
    )
    assert end[5].split() == ["reconstructions", "real", *KINDS]
    first = [line.split("  ")[1].strip() or line.strip().split("  ")[0] for line in end[6:-1]]
    assert first == [
        "PSNR of frames in dB", "at key / other frames", "SSIM", "at key / other frames", "FVD",
        "KVD", *(f"{x} (share of real)" for x in ("frame difference", "optical flow", "roughness")),
    ]  # fmt: skip
    report = Path(end[-1].split()[-1])
    assert report == workdir / "report.html" and "FVD" in report.read_text(encoding="utf-8")
    (result,) = results_of(workdir).values()
    summary = json.loads((workdir / "summary.json").read_text())
    assert summary["held_out_clips"] == 4
    assert summary["evaluation"] == result["scores"] and result["scores"].keys() == SCORES
    assert result["floor"].keys() == SCORES
    assert result["model"]["checkpoint_steps"] == {"autoencoder": 6, "generator": 6}
    kinds = result["reconstruction"]["kinds"]
    assert tuple(kinds) == KINDS and summary["reconstruction"] == result["reconstruction"]
    assert [kind for kind in KINDS if "scores" in kinds[kind]] == ["codec", "reconstruction"]
    for name, kind in kinds.items():
        assert kind.keys() - {"scores"} == {"psnr_db", "ssim", "motion"}
        assert summary["psnr_db"][name] == round(kind["psnr_db"]["of_clips"], 3)
    # Real clips are the same in all parts of the record: measured once.
    names = [path.name.split("-")[0] for path in (workdir / "evaluations/measures").iterdir()]
    assert sorted(names) == [*sorted((*KINDS, "generated", "other_real", "real")), "test", "train"]
    # Untrained pictures are far from real ones, and real ones near each other.
    assert result["scores"]["fvd"]["value"] > 2 * result["floor"]["fvd"]["value"]


def test_the_best_checkpoint_is_kept(
    commands: Commands, trained: tuple[Path, str], tmp_path: Path
) -> None:
    """Fails when checkpoints are not graded as configured, or the best one cannot be sampled.

    By the name of a class, which is that of a folder, and in another number of frames.
    """
    workdir, said = trained
    grades = json.loads((workdir / "grades.json").read_text())["generator"]
    assert grades.keys() == {"4", "6"} and said.count("graded fvd_of_4") == 2
    best = min(grades, key=lambda step: grades[step]["value"])
    commands.succeed(
        "sample", f"--workdir={workdir}", f"--output={tmp_path}", "--num_videos=1",
        "--num_frames=12", "--checkpoint=best", "--class_label=south",
    )  # fmt: skip
    record = json.loads((tmp_path / "samples.json").read_text())
    assert record["checkpoint_steps"]["generator"] == int(best)
    assert record["index"][-1] == 11 / 12 and record["labels"] == [CLASSES.index("south")]
    assert (tmp_path / "video_0000.mp4").stat().st_size > 0


def test_evaluating_again_measures_only_what_is_new(commands: Commands, workdir: Path) -> None:
    """Fails when real clips are measured for every model, or a sweep leaves out a choice.

    (broken: the instrument's identity with the time of day in it.)
    """
    before = {path.name for path in (workdir / "evaluations" / "measures").iterdir()}
    run = commands.succeed(
        "evaluate",
        f"--workdir={workdir}",
        "--steps=1,2",
        "--guidance_condition=1",
        "--reconstruction",
    )
    after = {path.name for path in (workdir / "evaluations" / "measures").iterdir()}
    new = sorted(name.split("-")[0] for name in after - before)
    # A copy's model is another one, but codec and interpolated clips are those of both samplings.
    assert new == ["codec", *["generated"] * 2, "interpolated", *["reconstruction"] * 2]
    assert len(results_of(workdir)) == 3
    written = [Path(line.split()[-1]) for line in run.stdout.splitlines() if "result: " in line]
    sampling = [json.loads(path.read_text())["model"]["sampling"] for path in written]
    assert [choice["steps"] for choice in sampling] == [1, 2]
    kinds = json.loads(written[0].read_text())["reconstruction"]["kinds"]
    assert tuple(kinds) == KINDS and all(
        kind["scores"].keys() == {"fvd", "kvd"} for kind in kinds.values()
    )
    compared = commands.succeed("evaluate", *(f"--compare={path}" for path in written)).stdout
    assert "codec: fvd" in compared and "interpolated: flow_magnitude" in compared


def test_frames_between_those_of_training(
    commands: Commands, workdir: Path, tmp_path: Path
) -> None:
    """Fails when the finer data set is not found, or too short a one is not refused."""
    finer = tmp_path / "finer"
    commands.succeed(
        "prepare", "synthetic_sky", f"--output={finer}", "--num_videos=1", "--num_test_videos=3",
        "--num_frames=31", "--size=16",
    )  # fmt: skip
    run = commands.succeed("evaluate", f"--workdir={workdir}", f"--between={finer}", "--steps=1")
    lines = run.stdout.splitlines()
    assert lines[0].split("  ")[0] == "frames" and len(lines) == 5
    record = json.loads(Path(lines[-1].split()[-1]).read_text())
    assert record["num_clips"] == 3 and record["protocol"]["num_frames"] == 31
    sizes = {name: len(group["psnr_db"]["by_index"]) for name, group in record["frames"].items()}
    assert sizes == {"grid": 16, "between": 15, "interpolated": 15}
    short = commands.refuse("evaluate", f"--workdir={workdir}", f"--between={commands.data}")
    assert "have at most 12 frames, and a clip of this model" in short


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("--protocol=styleganv_16",), "did you mean styleganv_16f?"),
        (("--protocol=styleganv_128f",), "128 frames, 16 of which are a clip of this model"),
        (("--steps=many",), "--steps=many: give numbers"),
        (("--guidance_video=much",), "--guidance_video=much: give numbers"),
        (("--steps=5000",), "steps"),
        (("--real=somewhere",), "give --workdir=DIR alone, or --real=PATH and --generated=PATH"),
        (("--data=nowhere",), "there is no prepared dataset in"),
        (("--between=finer", "--controls"), "--between has no use for"),
    ],
)
def test_mistakes(
    commands: Commands, trained: tuple[Path, str], flags: tuple[str, ...], sentence: str
) -> None:
    """Fails when a mistake is found late, or ends in a stack of frames."""
    assert sentence in commands.refuse("evaluate", f"--workdir={trained[0]}", *flags)
