"""Videos of several records: what is wrong with one is found once, and said of that video."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from glober_jax.data.schema import deserialize, serialize
from tests.data.doctor.planting import (
    change_example,
    examined,
    flip,
    make,
    rewrite,
    shards_of,
    write_video,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Training videos of 20 and 9 frames, which are records 0 to 2 and 3 to 4 of one shard."""
    root, rng = tmp_path_factory.mktemp("long"), np.random.default_rng(0)
    for name, length in {"train/a/0": 20, "train/a/1": 9, "test/a/0": 8}.items():
        frames = rng.integers(0, 256, (length, 16, 16, 3), np.uint8)
        write_video(root / "videos" / name, frames)
    return make(root / "videos", root / "data")


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "copy")


def test_healthy_videos_of_several_records(made: Path) -> None:
    """Fails when records are taken for videos."""
    diagnosis = examined(made)
    assert (diagnosis.videos, diagnosis.frames, list(diagnosis.findings)) == (3, 37, [])


def _rate(record: bytes) -> bytes:
    def change(features: dict) -> None:
        features["fps"].float_list.value[:] = [-1]

    return change_example(record, change)


def _cut_frame(record: bytes) -> bytes:
    parsed = deserialize(record, None)
    frames = [*parsed.frames[:2], parsed.frames[2][:-40], *parsed.frames[3:]]
    return serialize(type(parsed)(**{**vars(parsed), "frames": frames}))


PLANTED: dict[str, tuple[Callable[[list[bytes]], list[bytes]], list[tuple]]] = {
    "middle record gone": (
        lambda old: [old[0], *old[2:]],
        [("shard", None, "holds 4 records, not 5"), ("record", 1, "begins with frame 16 of its")],
    ),
    "last record gone": (
        lambda old: old[:4],
        [("shard", None, "holds 4 records"), ("record", 3, "is of a video of 9 frames, of which")],
    ),
    "first record gone": (
        lambda old: old[1:],
        [("shard", None, "holds 4 records"), ("record", 0, "begins with frame 8 of its video, wh")],
    ),
    "garbage": (lambda old: [old[0], b"x", *old[2:]], [("record", 1, "")]),
    "a rate": (lambda old: [*old[:2], _rate(old[2]), *old[3:]], [("record", 2, "has -1.0 frames")]),
    "a frame": (
        lambda old: [*old[:2], _cut_frame(old[2]), *old[3:]],
        [("frames", 2, "frame 18 cannot be decoded")],
    ),
}


@pytest.mark.parametrize(("change", "expected"), PLANTED.values(), ids=PLANTED.keys())
def test_a_bad_record_is_one_finding(copy: Path, change: Callable, expected: list[tuple]) -> None:
    """Fails when a video's other records are reported too, or taken for another video.

    (broken: records of one video split at a gap; frames numbered within their record.)
    """
    rewrite(shards_of(copy)[0], change)
    found = examined(copy).findings
    assert [(finding.kind, finding.record) for finding in found] == [one[:2] for one in expected]
    for finding, (_, _, what) in zip(found, expected, strict=True):
        assert finding.what.startswith(what)


def test_changed_bytes_are_one_finding(copy: Path) -> None:
    """Fails when an unreadable record makes its video incomplete as well, or two of it."""
    shard = shards_of(copy)[0]
    flip(shard, 14_000)
    (finding,) = examined(copy).findings
    assert (finding.kind, finding.record) == ("record", 1)


def test_lengths_that_were_edited_are_found(copy: Path) -> None:
    """Fails when metadata may send readers to the records of another video."""
    (path,) = copy.rglob("metadata.json")
    content = json.loads(path.read_text())
    assert content["video_lengths"] == {"train": [20, 9], "test": [8]}
    content["video_lengths"]["train"] = [9, 20]
    path.write_text(json.dumps(content))
    (finding,) = examined(copy).findings
    assert (finding.kind, finding.split) == ("description", "train")
