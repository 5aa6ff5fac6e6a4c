"""Processes of this machine and Apache Beam make the same dataset."""

import sys
from pathlib import Path

import pytest

from glober_jax.data.datasets.make import Options, make_dataset
from glober_jax.data.datasets.media_folders import VideoFolderOptions
from glober_jax.data.datasets.synthetic_sky import SyntheticSkyOptions
from glober_jax.data.schema import record_digest
from glober_jax.errors import Unfinished, UserError
from tests.data.videos import write_ruins, write_video, written

SKIES = SyntheticSkyOptions(num_videos=12, num_test_videos=4, num_frames=9, size=16)


def _videos(folder: Path) -> Options:
    """Real files, of which six cannot be used."""
    for number in range(6):
        write_video(folder / "in" / f"{number}.mp4", 20)
    write_ruins(folder / "in")
    return VideoFolderOptions(input=str(folder / "in"), size=16, test_fraction=0.3)


@pytest.mark.parametrize(
    ("options", "mode"), [(lambda folder: SKIES, "in_memory"), (_videos, "multi_processing")]
)
def test_beam_makes_what_the_pool_makes(
    options, mode: str, tmp_path: Path, small_shards: None
) -> None:
    """Fails when records, rejected inputs or shards depend on what made them."""
    pytest.importorskip("apache_beam")
    chosen = options(tmp_path)
    flags = f"--direct_running_mode={mode} --direct_num_workers=2"
    card = make_dataset(chosen, tmp_path / "pool", workers=2)
    assert make_dataset(chosen, tmp_path / "beam", beam_options=flags) == card
    assert card["splits"]["train"]["shards"] > 1
    assert bool(card["rejected"]) == (options is _videos)
    assert written(tmp_path / "pool") == written(tmp_path / "beam")


def test_what_beam_has_finished_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_shards: None
) -> None:
    """Fails when a pipeline that breaks down is a stack trace, or costs more than its shards."""
    pytest.importorskip("apache_beam")
    with monkeypatch.context() as patch:
        patch.setattr("glober_jax.data.building.make_shards.record_digest", _break_down)
        with pytest.raises(Unfinished, match=r"Beam pipeline failed \(.*broken.*\): run the same"):
            flags = "--direct_running_mode=in_memory"
            make_dataset(SKIES, tmp_path / "out", beam_options=flags)
    kept = {path.stem for path in tmp_path.glob("out/.prepare-*/shards/*-of-*.json")}
    made = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("out/.prepare-*/*/*/*")}
    assert kept
    assert make_dataset(SKIES, tmp_path / "out")["accepted"] == 16
    found = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("out/*/*/*-of-*")}
    assert {name: made[name] for name in kept}.items() <= found.items()


def _break_down(record) -> str:
    if record.video_id == "sky_0_0000009":
        raise ValueError("broken")
    return record_digest(record)


def test_beam_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails when it is not said what to install, or what was finished before is lost."""
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "apache_beam", None)
        with pytest.raises(UserError, match=r"pip install -r requirements-beam\.txt"):
            make_dataset(SKIES, tmp_path / "out", beam_options="")
    assert list(tmp_path.glob("out/.prepare-*"))
    assert make_dataset(SKIES, tmp_path / "out")
