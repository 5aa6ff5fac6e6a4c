"""Processes of this machine and Apache Beam make the same data set."""

import builtins
import json
from pathlib import Path

import pytest
from glober_jax.data.building.runners import BeamRunner, LocalRunner

from glober_jax.data.building import splits
from glober_jax.data.building.pool import Unfinished
from glober_jax.data.datasets.make import Options, make_dataset
from glober_jax.data.datasets.synthetic_sky import SyntheticSkyOptions
from glober_jax.data.datasets.video_folder import VideoFolderOptions
from glober_jax.data.schema import record_digest
from glober_jax.errors import UserError
from tests.data.miniatures import ucf_tree

BEAM = BeamRunner("--direct_running_mode=multi_processing --direct_num_workers=2")


def _skies(folder: Path) -> Options:
    del folder
    return SyntheticSkyOptions(num_videos=12, num_test_videos=4, num_frames=9, size=16)


def _videos(folder: Path) -> Options:
    """Real files, of which one is too short, one empty and one no video."""
    root = ucf_tree(folder / "in").root
    return VideoFolderOptions(input=str(root), size=16, test_fraction=0.3)


@pytest.mark.parametrize("options", [_skies, _videos])
def test_beam_makes_what_the_pool_makes(
    options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails when records, rejected inputs or shards depend on what made them."""
    pytest.importorskip("apache_beam")
    monkeypatch.setattr(splits, "LEAST_BYTES", 8_000)
    chosen = options(tmp_path)
    cards = [
        make_dataset(chosen, tmp_path / name, run=run).to_dict()
        for name, run in {"pool": LocalRunner(2), "beam": BEAM}.items()
    ]
    assert cards[0] == cards[1]
    assert cards[0]["splits"]["train"]["shards"] > 1
    assert bool(cards[0]["rejected"]) == (options is _videos)
    contents = [
        {path.name: path.read_bytes() for path in (tmp_path / name).glob("*/*/*")}
        for name in ("pool", "beam")
    ]
    assert contents[0] == contents[1]


def test_what_beam_has_finished_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails when a pipeline that breaks down is a stack trace, or costs more than its shards."""
    pytest.importorskip("apache_beam")
    monkeypatch.setattr(splits, "LEAST_BYTES", 8_000)
    run = BeamRunner("--direct_running_mode=in_memory")
    monkeypatch.setattr("glober_jax.data.building.make_shard.record_digest", _break_down)
    with pytest.raises(Unfinished, match=r"Beam pipeline failed \(.*broken.*\): run the same"):
        make_dataset(_skies(tmp_path), tmp_path / "out", run=run)
    monkeypatch.undo()
    monkeypatch.setattr(splits, "LEAST_BYTES", 8_000)
    kept = {path.name for path in tmp_path.glob("out/.prepare-*/shards/*.json")}
    assert kept
    (made,) = tmp_path.glob("out/.prepare-*")
    times = {path.name: path.stat().st_mtime_ns for path in made.glob("*/*/*-of-*")}
    make_dataset(_skies(tmp_path), tmp_path / "out")
    for path in tmp_path.glob("out/*/*/*-of-*"):
        assert path.name not in kept or path.stat().st_mtime_ns == times[path.name]
    assert json.loads((tmp_path / "out" / "data_card.json").read_text())["accepted"] == 16


def _break_down(record) -> str:
    if record.video_id == "sky_0_0000009":
        raise ValueError("broken")
    return record_digest(record)


def test_beam_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails when people who lack it are not told what to install, lose what was finished before, or
    need it otherwise.
    """
    find = builtins.__import__

    def without_beam(name: str, *args: object, **kwargs: object) -> object:
        if name.partition(".")[0] == "apache_beam":
            raise ImportError(name)
        return find(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_beam)
    with pytest.raises(UserError, match=r"pip install -r requirements-beam\.txt"):
        make_dataset(_skies(tmp_path), tmp_path / "out", run=BEAM)
    assert list(tmp_path.glob("out/.prepare-*"))
    assert make_dataset(_skies(tmp_path), tmp_path / "out")
