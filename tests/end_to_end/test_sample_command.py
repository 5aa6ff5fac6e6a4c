"""`glober_jax.sample`: files, repeatability, classes and sub-clips."""

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

# Strong guidance, so that classes show after the few updates these networks had.
FLAGS = ("--num_videos=3", "--save_arrays", "--seed=5", "--guidance_condition=20")


@pytest.fixture(scope="module")
def sampled(commands: Any, finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three videos of classes 0, 1, 2, one after the other."""
    output = tmp_path_factory.mktemp("sampled")
    _sample(commands, finished, output, *FLAGS)
    return output


def test_leaves_what_is_promised(sampled: Path, finished: Path) -> None:
    """Fails when a file is missing or the record lacks what it takes to repeat the call."""
    names = {"video_0000.mp4", "video_0001.mp4", "video_0002.mp4", "grid.gif", "sheet.png"}
    assert {path.name for path in sampled.iterdir()} == names | {"frames.npz", "samples.json"}
    frames = _frames(sampled)
    assert frames.dtype == np.uint8 and frames.shape == (3, 8, 16, 16, 3)
    record = json.loads((sampled / "samples.json").read_text())
    assert record["seed"] == 5 and record["labels"] == [0, 1, 2]
    assert record["index"] == [i / 8 for i in range(8)]
    assert record["workdir"] == str(finished)
    assert record["checkpoint_steps"] == {"autoencoder": 6, "generator": 6}
    assert record["sampling"]["steps"] == 2 and record["sampling"]["condition_scale"] == 20
    assert {"jax", "numpy"} <= record["versions"].keys()


def test_recorded_command_repeats_it(commands: Any, sampled: Path, tmp_path: Path) -> None:
    """Fails when the same seed gives other videos, or the record is not enough to repeat."""
    command = shlex.split(json.loads((sampled / "samples.json").read_text())["command"])
    assert command[:3] == ["python", "-m", "glober_jax.sample"]
    commands.succeed("sample", *command[3:], f"--output={tmp_path}")
    np.testing.assert_array_equal(_frames(tmp_path), _frames(sampled))


def test_other_seed_other_videos(
    commands: Any, finished: Path, sampled: Path, tmp_path: Path
) -> None:
    """Fails when the seed is ignored."""
    _sample(commands, finished, tmp_path, *FLAGS, "--seed=6")
    assert all((_frames(tmp_path) != _frames(sampled)).any(axis=(1, 2, 3, 4)))


def test_class_by_number(commands: Any, finished: Path, sampled: Path, tmp_path: Path) -> None:
    """Fails when the class is ignored, or a video depends on the classes of its neighbours."""
    _sample(commands, finished, tmp_path, *FLAGS, "--class_label=1")
    differs = (_frames(tmp_path) != _frames(sampled)).any(axis=(1, 2, 3, 4))
    assert differs.tolist() == [True, False, True]


def test_sub_clip_of_a_named_class(
    commands: Any, finished: Path, sampled: Path, tmp_path: Path
) -> None:
    """Fails when a class name is another class, or a sub-clip is not the same frames alone."""
    sub_clip = ("--start=0.25", "--end=0.75", "--num_frames=4", "--class_label=overcast")
    _sample(commands, finished, tmp_path, *FLAGS, *sub_clip)
    assert json.loads((tmp_path / "samples.json").read_text())["labels"] == [2, 2, 2]
    difference = _frames(tmp_path)[2].astype(int) - _frames(sampled)[2, 2:6]
    # Another batch size may sum in another order: at most the last bit of a pixel.
    assert np.abs(difference).max() <= 1 and (difference != 0).mean() < 0.01


def test_between_two_videos(commands: Any, finished: Path, sampled: Path, tmp_path: Path) -> None:
    """Fails when a resumed run mixes two interpolations, or a flag is ignored."""
    ends = [f"--input={sampled / f'video_000{number}.mp4'}" for number in (0, 1)]
    _sample(commands, finished, tmp_path, *ends, "--num_videos=2")
    (tmp_path / "video_0001.mp4").unlink()
    flags = (f"--workdir={finished}", f"--output={tmp_path}", *ends)
    said = commands.refuse("sample", *flags, "--num_videos=3", "--resume")
    assert "holds videos of another run (num_videos differ)" in said
    said = commands.refuse("sample", *flags, "--class_label=1")
    assert "--class_label and --prompt are of new videos" in said
    said = commands.refuse("sample", *flags[:-1], "--num_videos=3")
    assert "a single --input makes one video" in said
    assert not (tmp_path / "video_0001.mp4").exists()


def _sample(commands: Any, workdir: Path, output: Path, *flags: str) -> None:
    commands.succeed("sample", f"--workdir={workdir}", f"--output={output}", *flags)


def _frames(folder: Path) -> np.ndarray:
    with np.load(folder / "frames.npz") as arrays:
        return arrays["frames"]
