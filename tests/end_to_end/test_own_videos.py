"""From a folder of MP4 files to new videos, with the three commands the README names."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from glober_jax import media


def test_prepare_train_sample(commands: Any, tmp_path: Path) -> None:
    """Fails when one's own videos do not get through all three commands."""
    rows, columns = np.mgrid[:48, :64]
    for number, name in enumerate(("east", "north", "south", "west")):
        # A disc that crosses over a gradient.
        video = np.zeros((40, 48, 64, 3), np.uint8)
        video[..., number % 3] = 3 * columns
        for t, frame in enumerate(video):
            frame[(rows - 24) ** 2 + (columns - 8 - 1.2 * t) ** 2 < 60] = 250
        media.write_mp4(tmp_path / "videos" / name / "clip.mp4", video, fps=24)
    data, workdir, output = tmp_path / "data", tmp_path / "run", tmp_path / "new"

    prepared = commands.run(
        "prepare", "video_folder", f"--input={tmp_path / 'videos'}", f"--output={data}",
        "--size=16", "--min_frames=8", "--class_folders",
    )  # fmt: skip
    assert prepared.returncode == 0, prepared.stderr
    assert "accepted: 4 videos" in prepared.stdout

    flags = [*commands.train_flags(workdir), f"--config.data.dir={data}"]
    trained = commands.run("main", *flags)
    assert trained.returncode == 0, trained.stderr
    assert json.loads((workdir / "summary.json").read_text())["held_out_clips"] == 4

    sampled = commands.run(
        "sample", f"--workdir={workdir}", f"--output={output}", "--num_videos=1", "--num_frames=12",
        "--class_label=south",
    )  # fmt: skip
    assert sampled.returncode == 0, sampled.stderr
    record = json.loads((output / "samples.json").read_text())
    assert record["index"][-1] == 11 / 12 and record["labels"] == [2]
    assert (output / "video_0000.mp4").stat().st_size > 0
