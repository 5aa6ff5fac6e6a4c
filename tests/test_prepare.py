"""The prepare command: done once, redone never, and clear about every refusal."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from glober_jax import prepare
from glober_jax.data.datasets import synthetic_sky
from glober_jax.data.datasets.make import make_dataset
from glober_jax.data.datasets.media_folders import VideoFolderOptions
from glober_jax.data.datasets.synthetic_sky import SyntheticSkyOptions
from glober_jax.data.source import open_videos
from glober_jax.errors import UserError

TINY = SyntheticSkyOptions(num_videos=2, num_test_videos=1, num_frames=2, size=8)


def _files(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Time and content of all that is not hidden."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file() and ".prepare-" not in str(path)
    }


def _run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "glober_jax.prepare", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_command_line_makes_a_readable_dataset_once(tmp_path: Path) -> None:
    arguments = ("synthetic_sky", f"--output={tmp_path}", "--num_videos=2", "--num_test_videos=1",
                 "--num_frames=2", "--size=8")  # fmt: skip
    first = _run(*arguments)
    assert first.returncode == 0, first.stderr
    assert "train: 2 videos, 4 frames" in first.stdout
    before = _files(tmp_path)
    assert make_dataset(TINY, tmp_path) is None
    assert _files(tmp_path) == before
    assert len(open_videos(tmp_path, "train")) == 2
    stray = _run("synthetic_sky", f"--output={tmp_path}", "--fps=3")
    assert stray.returncode == 1
    assert stray.stderr.startswith("error: --fps does not apply to synthetic_sky")
    assert "Traceback" not in stray.stderr


def test_unknown_and_missing_sub_commands_name_the_choices() -> None:
    for arguments in ([], ["ucf"], ["video_folder", "extra"]):
        with pytest.raises(UserError, match=r"video_folder, .* synthetic_sky, doctor, latents"):
            prepare.main(arguments)


def test_other_arguments_need_overwrite(tmp_path: Path) -> None:
    make_dataset(TINY, tmp_path)
    other = replace(TINY, seed=7)
    before = _files(tmp_path)
    with pytest.raises(UserError, match=r"--seed was 0, now 7.*--overwrite"):
        make_dataset(other, tmp_path)
    assert _files(tmp_path) == before
    assert make_dataset(other, tmp_path, overwrite=True)
    assert open_videos(tmp_path, "test")[0].video_id == "sky_7_1000000"
    assert json.loads((tmp_path / "data_card.json").read_text())["arguments"]["seed"] == 7


def test_what_an_earlier_version_made_is_made_again(tmp_path: Path) -> None:
    """Fails when files of another format count as prepared already, or are examined as ours."""
    make_dataset(TINY, tmp_path)
    (version,) = tmp_path.glob("synthetic_sky/*")
    version.rename(version.with_name("1.0.0"))
    with pytest.raises(UserError, match=r"earlier version .* --overwrite"):
        make_dataset(TINY, tmp_path)
    assert make_dataset(TINY, tmp_path, overwrite=True)
    assert [folder.name for folder in tmp_path.glob("synthetic_sky/*")] == [version.name]


def test_interruption_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails when an interrupted run is taken for a dataset, or spoils or outlives the next."""
    make_dataset(TINY, tmp_path)
    before = _files(tmp_path)

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(synthetic_sky, "render_video", interrupt)
        with pytest.raises(KeyboardInterrupt):
            make_dataset(replace(TINY, seed=1), tmp_path, overwrite=True)
        assert _files(tmp_path) == before
        with pytest.raises(KeyboardInterrupt):
            make_dataset(TINY, tmp_path / "new")
    with pytest.raises(UserError, match="no prepared dataset"):
        open_videos(tmp_path / "new", "train")
    make_dataset(replace(TINY, seed=2), tmp_path / "new")
    found = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert found == ["data_card.json", "data_card.md", "synthetic_sky"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_foreign_files_are_never_replaced(tmp_path: Path, overwrite: bool) -> None:
    """Fails when another dataset, or somebody's videos in a folder of that name, are deleted."""
    info = tmp_path / "a" / "mnist" / "3.0.1" / "dataset_info.json"
    info.parent.mkdir(parents=True)
    info.write_text("{}")
    precious = tmp_path / "b" / "synthetic_sky" / "holiday.mp4"
    precious.parent.mkdir(parents=True)
    precious.touch()
    for name, message in (("a", "holds the dataset mnist"), ("b", "is in the way and is no data")):
        with pytest.raises(UserError, match=message):
            make_dataset(TINY, tmp_path / name, overwrite=overwrite)
    assert info.exists() and precious.exists()


def test_places_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write to --output"):
        make_dataset(TINY, tmp_path / "file" / "below")
    with pytest.raises(UserError, match="is not a folder"):
        make_dataset(VideoFolderOptions(input=str(tmp_path / "none")), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_prepare_starts_without_jax() -> None:
    code = "import sys, glober_jax.prepare; assert not {'jax', 'tensorflow'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
