"""The plain video model of the ablations, by its command."""

import shutil
from pathlib import Path

import numpy as np

from tests.end_to_end.commands import Commands


def test_it_is_trained_and_sampled_and_that_only_once(
    commands: Commands, finished: Path, tmp_path: Path
) -> None:
    """Fails when the stage does not fit the loop, or a second call trains or samples otherwise."""
    for stage in ("codec", "latents"):
        shutil.copytree(finished / stage, tmp_path / stage)
    flags = [*commands.train_flags(tmp_path), "--clips=3"]
    found = []
    for _ in range(2):
        done = commands.succeed("ablations.train_row", "--plain_video", *flags)
        found.append(np.load(tmp_path / "clips.npy"))
    assert found[0].shape == (3, 8, 16, 16, 3) and found[0].dtype == np.uint8
    np.testing.assert_array_equal(*found)
    assert (tmp_path / "plain_video" / "6").exists() and "plain_video 1/6" not in done.stderr
    assert (tmp_path / "seconds.json").exists()
