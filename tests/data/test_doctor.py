"""What is wrong with a prepared data set is found and named, and the command says it."""

import dataclasses
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from glober_jax.data.building import splits
from glober_jax.data.datasets.make import make_dataset
from glober_jax.data.datasets.media_folders import VideoFolderOptions
from glober_jax.data.doctor import examine
from glober_jax.data.frames import encode_jpeg
from glober_jax.data.schema import deserialize, serialize
from glober_jax.errors import UserError
from tests.data.shards import rewrite
from tests.data.videos import write_pictures

VIDEOS = {"train": 10, "test": 4}
FRAMES = 12
LARGE = encode_jpeg(Image.new("RGB", (24, 24)))


def _make(videos: dict[str, np.ndarray], folder: Path) -> Path:
    for place, frames in videos.items():
        write_pictures(folder / "videos" / place, frames)
    options = VideoFolderOptions(input=str(folder / "videos"), size=16, min_frames=1)
    make_dataset(options, folder / "data")
    return folder / "data"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """10 training and 4 test videos of two records each, two videos to a shard."""
    rng = np.random.default_rng(0)
    videos = {
        f"{split}/{number:03d}": rng.integers(0, 256, (FRAMES, 16, 16, 3), np.uint8)
        for split, count in VIDEOS.items()
        for number in range(count)
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(splits, "LEAST_BYTES", 24_000)
        folder = _make(videos, tmp_path_factory.mktemp("doctor"))
    assert len(_shards(folder)) == 5
    return folder


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "copy")


def _shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("video_folder/*/*-train.array_record*"))


def _with_frames(path: Path, change: Callable[[Sequence[bytes]], Sequence[bytes]]) -> None:
    """Changes the frames of the second record, which holds four."""

    def edit(data: bytes) -> bytes:
        record = deserialize(data, None)
        return serialize(dataclasses.replace(record, frames=change(record.frames)))

    rewrite(path, lambda old: [old[0], edit(old[1]), *old[2:]])


def _inflated(jpeg: bytes) -> bytes:
    """Of 65500x65500 pixels, by its header: 12 GB."""
    size = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:size] + b"\xff\xdc\xff\xdc" + jpeg[size + 4 :]


def _flip(path: Path, start: int) -> None:
    data = bytearray(path.read_bytes())
    data[start] ^= 255
    path.write_bytes(data)


DAMAGE = {
    "missing": ("shard", None, lambda path: path.unlink()),
    "empty": ("shard", None, lambda path: path.write_bytes(b"")),
    "garbage": ("shard", None, lambda path: path.write_bytes(random.Random(0).randbytes(9000))),
    "cut": ("shard", None, lambda path: path.write_bytes(path.read_bytes()[:-1])),
    "byte of a record": ("record", 0, lambda path: _flip(path, 1000)),
    "byte that no reader reads": ("content", None, lambda path: _flip(path, 60_000)),
    "other record": (
        "record",
        1,
        lambda path: rewrite(path, lambda old: [old[0], old[0], *old[2:]]),
    ),
    "no record": ("record", 1, lambda path: rewrite(path, lambda old: [old[0], b"x", *old[2:]])),
    "replaced": ("content", None, lambda path: rewrite(path, lambda old: [*old[2:], *old[:2]])),
    "cut frame": (
        "frames",
        1,
        lambda path: _with_frames(path, lambda old: [old[0], old[1][:-40], *old[2:]]),
    ),
    "frame that claims to be huge": (
        "frames",
        1,
        lambda path: _with_frames(path, lambda old: [_inflated(old[0]), *old[1:]]),
    ),
    "large frame": (
        "frame_size",
        0,
        lambda path: _with_frames(path, lambda old: [*old[:3], LARGE]),
    ),
}


@pytest.mark.parametrize(("kind", "record", "damage"), DAMAGE.values(), ids=DAMAGE.keys())
def test_damage_is_found_and_named(
    copy: Path, kind: str, record: int | None, damage: Callable[[Path], object]
) -> None:
    """Fails when damage goes unseen, is not said where it is, or hides the other shards."""
    shard = _shards(copy)[1]
    damage(shard)
    diagnosis = examine(copy, min_frames=2)
    found = diagnosis.findings[-1]
    assert (found.kind, found.split, found.shard, found.record) == (
        kind, "train", shard.name, record,
    )  # fmt: skip
    assert {found.shard for found in diagnosis.findings} == {shard.name}
    assert diagnosis.videos >= 12
    # Processes change nothing.
    if kind == "frames":
        assert examine(copy, min_frames=2, workers=2) == diagnosis


@pytest.mark.parametrize("content", [None, b"", b"{}", b'{"splits": 3', b"\xff\xfe"])
@pytest.mark.parametrize("name", ["dataset_info.json", "features.json", "metadata.json"])
def test_broken_description_is_found(copy: Path, name: str, content: bytes | None) -> None:
    """Fails when a broken description ends the examination in a stack trace, or is no finding."""
    (path,) = copy.rglob(name)
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    try:
        assert [found.kind for found in examine(copy, min_frames=2).findings] == ["description"]
    except UserError as error:
        # By that file a dataset is known.
        assert (name, content) == ("dataset_info.json", None) or "has no" in str(error)


def test_short_clips_and_duplicates(tmp_path: Path) -> None:
    """Fails when a copy is missed, or black frames, still pictures or a short overlap are one."""
    rng = np.random.default_rng(1)

    def noise(count: int) -> np.ndarray:
        return rng.integers(0, 256, (count, 16, 16, 3), np.uint8)

    black, shared = np.zeros((8, 16, 16, 3), np.uint8), noise(8)
    videos = {
        "train/copied": shared,
        "train/faded": np.concatenate([black, noise(8)]),
        "train/still": np.repeat(noise(1), 8, axis=0),
        "train/short": noise(3),
        "test/excerpt": np.concatenate([shared[2:6], noise(4)]),
        "test/glimpse": np.concatenate([shared[:3], noise(5)]),
        "test/faded_too": np.concatenate([black, noise(3)]),
        "test/black": black,
    }
    findings = examine(_make(videos, tmp_path), min_frames=4).findings
    assert [(found.kind, found.video_id) for found in findings] == [
        ("short_clip", "train/short"),
        ("duplicate", "test/excerpt"),
    ]
    assert findings[1].what.startswith("shares 4 of its 8 frames with train/copied (record ")


def _run(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "glober_jax.prepare", "doctor", f"--input={folder}"]
    command += ["--min_frames=2", "--workers=1"]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_command_line(copy: Path) -> None:
    """Fails when a script could not tell by the status, or people by the text, what was found."""
    healthy = _run(copy)
    assert (healthy.returncode, healthy.stdout) == (0, "healthy: 14 videos, 168 frames read\n")
    assert json.loads((copy / "doctor.json").read_text())["healthy"]
    shard = _shards(copy)[0]
    shard.unlink()
    damaged = _run(copy)
    assert damaged.returncode == 1
    assert f"damaged shards: 1\n  {shard.name}: is missing; it held 2 videos\n" in damaged.stdout
    *_, last = damaged.stderr.splitlines()
    assert last.startswith(f"error: 1 finding in {copy}: copy it again, or run python -m")
    assert "--overwrite" in last and "max_damaged" in last
    (finding,) = json.loads((copy / "doctor.json").read_text())["findings"]
    assert (finding["kind"], finding["split"], finding["shard"]) == ("shard", "train", shard.name)
