"""What all datasets share: made in parallel, resumable, the same whatever happens on the way."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from glober_jax.data.building import make_shards
from glober_jax.data.datasets.make import make_dataset
from glober_jax.data.datasets.media_folders import VideoFolderOptions
from glober_jax.data.source import open_videos
from tests.data.videos import stored_videos, write_pictures

NUM_VIDEOS = 24
FRAMES = 4


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of frames, one of them too short."""
    root = tmp_path_factory.mktemp("videos")
    rng = np.random.default_rng(0)
    for number in range(NUM_VIDEOS):
        frames = rng.integers(0, 256, (1 if number == 8 else FRAMES, 24, 40, 3), np.uint8)
        write_pictures(root / "kind" / f"{number:03d}", frames)
    return root


def _options(videos: Path) -> VideoFolderOptions:
    return VideoFolderOptions(
        input=str(videos), size=16, min_frames=2, max_frames=4, class_folders=True
    )


def _content(folder: Path) -> dict[str, bytes]:
    """All that a run leaves, but for the card's line that names the folder."""
    content = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "data_card.md"
    }
    card = json.loads(content["data_card.json"])
    return content | {"data_card.json": json.dumps(card | {"command": ""}).encode()}


def _written(folder: Path) -> dict[str, int]:
    """When each shard was written."""
    return {path.name: path.stat().st_mtime_ns for path in folder.rglob("*-of-*[0-9]")}


@pytest.fixture
def whole(videos: Path, tmp_path: Path, small_shards: None) -> Path:
    """The dataset made in one go, in one process."""
    make_dataset(_options(videos), tmp_path / "whole")
    return tmp_path / "whole"


def test_card_counts_what_is_there(whole: Path, videos: Path) -> None:
    """Fails when a count, a reject or the command is not the dataset's."""
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


def test_processes_and_memory_change_nothing(
    whole: Path, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails when records depend on who made them or was first, or on waiting on disk."""
    make_dataset(_options(videos), tmp_path / "parallel", workers=2)
    monkeypatch.setattr(make_shards, "_MOST_IN_MEMORY", 100)
    make_dataset(_options(videos), tmp_path / "spooled")
    assert _content(tmp_path / "parallel") == _content(tmp_path / "spooled") == _content(whole)
    assert len(_written(whole)) > 8


def test_only_what_changed_is_made_again(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_shards: None
) -> None:
    """Fails when a shard is kept of which a video was replaced, or that a power failure left
    without its description, or when another is made again."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    copy, output = shutil.copytree(videos, tmp_path / "videos"), tmp_path / "out"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("glober_jax.data.datasets.make.write_metadata", interrupt)
        make_dataset(_options(copy), output)
    before = _written(output)
    for path in (copy / "kind" / "003").iterdir():
        Image.new("RGB", (40, 24), (255, 0, 0)).save(path, compress_level=0)
    max(output.glob(".prepare-*/shards/*.json")).write_bytes(b"")
    make_dataset(_options(copy), output)
    after = _written(output)
    assert before.keys() == after.keys()
    assert len(before.items() - after.items()) == 2
    red, _, blue = stored_videos(output)["kind/003"].read([0])[0, 8, 8]
    assert red > 200 and blue < 50


@pytest.mark.parametrize("victim", ["parent", "worker"])
def test_kill_dash_nine_leaves_no_process_and_loses_nothing(victim: str, tmp_path: Path) -> None:
    """Fails when workers outlive their parent, or a dead one is not named or harms the next run."""
    rng = np.random.default_rng(0)
    for number in range(24):
        pixels = rng.integers(0, 256, (8, 300, 400, 3), np.uint8)
        write_pictures(tmp_path / "in" / f"{number:03d}", pixels)
    command = [sys.executable, "-m", "glober_jax.prepare", "video_folder", "--workers=2"]
    command += ["--min_frames=4", f"--input={tmp_path / 'in'}", f"--output={tmp_path / 'out'}"]
    run = subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, text=True)
    while not list(tmp_path.glob("out/.prepare-*/shards/*-of-*.json")):
        assert run.poll() is None, "it was finished before it could be killed"
        time.sleep(0.01)
    os.kill(run.pid if victim == "parent" else _worker_of(run.pid), signal.SIGKILL)
    _, said = run.communicate(timeout=60)
    if victim == "worker":
        assert run.returncode == 1
        *_, last = said.splitlines()
        assert re.match(r"error: a worker process died.* one of video_folder-t.*: run the", last)
    deadline = time.monotonic() + 20
    while _group_lives(run.pid):
        assert time.monotonic() < deadline, "worker processes are still running"
        time.sleep(0.05)
    described = {path.stem for path in tmp_path.glob("out/.prepare-*/shards/*-of-*.json")}
    finished = {name: time for name, time in _written(tmp_path).items() if name in described}
    assert 0 < len(finished) < 12
    options = VideoFolderOptions(input=str(tmp_path / "in"), min_frames=4)
    make_dataset(options, tmp_path / "out")
    assert finished.items() <= _written(tmp_path / "out").items()
    make_dataset(options, tmp_path / "whole")
    assert _content(tmp_path / "out") == _content(tmp_path / "whole")


def _worker_of(process: int) -> int:
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return next(
        int(child)
        for child in children
        if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()
    )


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_damaged_videos_that_should_be_held_out(tmp_path: Path) -> None:
    """Fails when a split is empty because what was chosen for it is damaged."""
    for number in range(12):
        pixels = np.full((4, 8, 8, 3), 20 * number, np.uint8)
        write_pictures(tmp_path / "in" / f"{number:02d}", pixels)
    options = VideoFolderOptions(input=str(tmp_path / "in"), size=8, min_frames=4)
    make_dataset(options, tmp_path / "first")
    chosen = open_videos(tmp_path / "first", "test")[0].video_id
    for path in (tmp_path / "in" / chosen).iterdir():
        path.write_bytes(b"damaged")
    card = make_dataset(options, tmp_path / "second")
    (other,) = open_videos(tmp_path / "second", "test")
    assert other.video_id != chosen
    assert len(open_videos(tmp_path / "second", "train")) == 10
    assert [entry["video"] for entry in card["rejected"]] == [chosen]
    assert card["split"] == "held out 1 of 11 videos for testing, whole"
