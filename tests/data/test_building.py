"""What is behind every data set: parallel, resumable, the same whatever happens on the way."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from glober_jax.data.building.runners import LocalRunner
from PIL import Image

from glober_jax.data.building import encode, make_shard, shard_file, splits
from glober_jax.data.building.pool import Unfinished, run_tasks
from glober_jax.data.datasets.make import make_dataset
from glober_jax.data.datasets.video_folder import VideoFolderOptions
from glober_jax.data.source import open_videos

NUM_VIDEOS = 24
FRAMES = 4


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of frames, one of them too short."""
    root = tmp_path_factory.mktemp("videos")
    rng = np.random.default_rng(0)
    for number in range(NUM_VIDEOS):
        folder = root / "kind" / f"{number:03d}"
        folder.mkdir(parents=True)
        for frame in range(1 if number == 8 else FRAMES):
            pixels = rng.integers(0, 256, (24, 40, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f"{frame}.png")
    return root


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of two videos."""
    monkeypatch.setattr(splits, "LEAST_BYTES", 25_000)


def _options(videos: Path) -> VideoFolderOptions:
    return VideoFolderOptions(
        input=str(videos), size=16, min_frames=2, max_frames=4, class_folders=True
    )


def _content(folder: Path) -> dict[str, bytes]:
    """All that a run leaves, but for the card's line that names the folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "data_card" not in path.name
    }


def _card(folder: Path) -> dict:
    card = json.loads((folder / "data_card.json").read_text("utf-8"))
    return {name: value for name, value in card.items() if name != "command"}


@pytest.fixture
def whole(videos: Path, tmp_path: Path, small_shards: None) -> Path:
    """The data set made in one go, in one process."""
    make_dataset(_options(videos), tmp_path / "whole")
    return tmp_path / "whole"


def test_card_counts_what_is_there(whole: Path, videos: Path) -> None:
    """Fails when a count, a reject or the command is not the data set's (broken: each of them)."""
    card = json.loads((whole / "data_card.json").read_text("utf-8"))
    splits = {name: open_videos(whole, name) for name in ("train", "test")}
    for name, source in splits.items():
        facts = card["splits"][name]
        assert facts["videos"] == len(source) == facts["classes"]["kind"]
        assert facts["frames"] == FRAMES * len(source)
        assert facts["fingerprint"] == source.fingerprint
    assert len(splits["test"]) == round(0.1 * NUM_VIDEOS)
    assert [entry["video"] for entry in card["rejected"]] == ["kind/008"]
    assert card["sizes"] == {"40x24": NUM_VIDEOS - 1}
    assert card["lengths"]["histogram"] == {"4-7": NUM_VIDEOS - 1}
    assert card["command"].startswith(f"python -m glober_jax.prepare video_folder --input={videos}")
    people = (whole / "data_card.md").read_text("utf-8")
    assert card["command"] in people
    assert "`kind/008` | has 1 usable frames" in people


def test_processes_change_nothing(whole: Path, videos: Path, tmp_path: Path) -> None:
    """Fails when records depend on who made them or who was first (broken: shards as finished)."""
    make_dataset(_options(videos), tmp_path / "parallel", run=LocalRunner(2))
    assert _card(tmp_path / "parallel") == _card(whole)
    assert _content(tmp_path / "parallel") == _content(whole)
    assert len(_content(whole)) > 10


def test_interrupted_writing_goes_on(
    whole: Path, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails when finished shards are made again, or long videos, which wait on disk, are others."""
    monkeypatch.setattr(encode, "_MOST_IN_MEMORY", 100)
    output = tmp_path / "interrupted"
    describe, finished = shard_file.ShardFile.describe, []

    def interrupt(shard: shard_file.ShardFile, facts: shard_file.ShardFacts) -> None:
        if len(finished) == 3:
            raise KeyboardInterrupt
        describe(shard, facts)
        finished.append(shard.path)

    monkeypatch.setattr(shard_file.ShardFile, "describe", interrupt)
    with pytest.raises(KeyboardInterrupt):
        make_dataset(_options(videos), output)
    times = {path.name: path.stat().st_mtime_ns for path in finished}
    monkeypatch.setattr(shard_file.ShardFile, "describe", describe)
    make_dataset(_options(videos), output)
    assert (_card(output), _content(output)) == (_card(whole), _content(whole))
    found = {path.name: path.stat().st_mtime_ns for path in output.rglob("*array_record*")}
    assert times.items() <= found.items() and len(found) > 8


@pytest.mark.parametrize("victim", ["parent", "worker"])
def test_kill_dash_nine_leaves_no_process_and_loses_nothing(victim: str, tmp_path: Path) -> None:
    """Fails when workers outlive their parent, a dead worker is waited for or not named, or what
    they left spoils the next run.
    """
    rng = np.random.default_rng(0)
    for number in range(24):
        (tmp_path / "in" / f"{number:03d}").mkdir(parents=True)
        pixels = rng.integers(0, 256, (8, 300, 400, 3), np.uint8)
        for frame, image in enumerate(map(Image.fromarray, pixels)):
            image.save(tmp_path / "in" / f"{number:03d}" / f"{frame}.png", compress_level=1)
    command = [sys.executable, "-m", "glober_jax.prepare", "video_folder", "--workers=2"]
    command += ["--min_frames=4", f"--input={tmp_path / 'in'}", f"--output={tmp_path / 'out'}"]
    run = subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, text=True)
    while not (shards := _finished_shards(tmp_path)):
        assert run.poll() is None, "it was finished before it could be killed"
        time.sleep(0.01)
    os.kill(run.pid if victim == "parent" else _workers_of(run.pid)[0], signal.SIGKILL)
    _, said = run.communicate(timeout=60)
    if victim == "worker":
        assert run.returncode == 1
        *_, last = said.splitlines()
        assert re.match(r"error: a worker process died.* one of video_folder-t.*: run the", last)
    deadline = time.monotonic() + 20
    while _group_lives(run.pid):
        assert time.monotonic() < deadline, "worker processes are still running"
        time.sleep(0.05)
    shards = _finished_shards(tmp_path)
    assert len(shards) < 12
    options = VideoFolderOptions(input=str(tmp_path / "in"), min_frames=4)
    make_dataset(options, tmp_path / "out")
    found = {path.name: path.stat().st_mtime_ns for path in tmp_path.rglob("out/*/*/*-of-*")}
    assert shards.items() <= found.items()
    make_dataset(options, tmp_path / "whole")
    assert (_card(tmp_path / "out"), _content(tmp_path / "out")) == (
        _card(tmp_path / "whole"),
        _content(tmp_path / "whole"),
    )


def _finished_shards(folder: Path) -> dict[str, int]:
    """When the shards that are described were written."""
    names = [path.stem for path in folder.glob("out/.prepare-*/shards/*.json")]
    (staging,) = folder.glob("out/.prepare-*") if names else [folder]
    return {name: next(staging.rglob(name)).stat().st_mtime_ns for name in names}


def _workers_of(process: int) -> list[int]:
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [
        int(child)
        for child in children
        if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_changed_inputs_are_decoded_again(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_shards: None
) -> None:
    """Fails when an interrupted run keeps a shard of which a video was replaced in between, or
    makes the others again.
    """
    monkeypatch.setattr("glober_jax.data.building.build.write_metadata", _interrupt)
    copy = tmp_path / "videos"
    shutil.copytree(videos, copy)
    with pytest.raises(KeyboardInterrupt):
        make_dataset(_options(copy), tmp_path / "out")
    monkeypatch.undo()
    monkeypatch.setattr(splits, "LEAST_BYTES", 25_000)
    for path in (copy / "kind" / "003").iterdir():
        Image.new("RGB", (40, 24), (255, 0, 0)).save(path, compress_level=0)
    made, call = [], make_shard.MakeShard.__call__
    monkeypatch.setattr(
        make_shard.MakeShard, "__call__", lambda *args: (made.append(args[1]), call(*args))
    )
    make_dataset(_options(copy), tmp_path / "out")
    assert len(made) == 1
    assert "kind/003" in [item.video_id for item in made[0].items]
    sources = [open_videos(tmp_path / "out", split) for split in ("train", "test")]
    every = {v.video_id: v for s in sources for v in map(s.__getitem__, range(len(s)))}
    assert every["kind/003"].read([0])[0, 8, 8, 0] > 200
    assert every["kind/003"].read([0])[0, 8, 8, 2] < 50


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_damaged_videos_that_should_be_held_out(tmp_path: Path) -> None:
    """Fails when a split is empty because what was chosen for it is damaged."""
    for number in range(12):
        folder = tmp_path / "in" / f"{number:02d}"
        folder.mkdir(parents=True)
        for frame in range(4):
            Image.new("RGB", (8, 8), (20 * number, 0, 60 * frame)).save(folder / f"{frame}.png")
    options = VideoFolderOptions(input=str(tmp_path / "in"), size=8, min_frames=4)
    make_dataset(options, tmp_path / "first")
    chosen = open_videos(tmp_path / "first", "test")[0].video_id
    for path in (tmp_path / "in" / chosen).iterdir():
        path.write_bytes(b"damaged")
    card = make_dataset(options, tmp_path / "second")
    (other,) = open_videos(tmp_path / "second", "test")
    assert other.video_id != chosen
    assert len(open_videos(tmp_path / "second", "train")) == 10
    assert [entry["video"] for entry in card.rejected] == [chosen]
    assert card.split == "held out 1 of 11 videos for testing, whole"


@dataclass(frozen=True)
class _Task:
    name: str


def test_a_dead_worker_is_an_error_and_not_a_wait() -> None:
    """Fails by time-out when a killed worker leaves the parent waiting."""
    with pytest.raises(Unfinished, match="on one of a, b: run the same command again"):
        list(run_tasks(_die, [_Task("a"), _Task("b"), _Task("c")], print, workers=2))


def _die(task: _Task, on_count: object) -> None:
    os._exit(len(task.name))
