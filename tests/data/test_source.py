"""Reading a prepared dataset, whole and damaged."""

import json
import pickle
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from etils import epath
from PIL import Image
from tensorflow_datasets.core.data_sources.base import BaseDataSource

from glober_jax.data.damage import DamagedVideo
from glober_jax.data.datasets.sky_render import render_video
from glober_jax.data.frames import encode_jpeg
from glober_jax.data.schema import VideoRecord
from glober_jax.data.source import StoredVideo, open_videos
from glober_jax.data.stored_records import StoredRecords
from glober_jax.errors import UserError
from tests.data.shards import reshard


@pytest.fixture
def broken_folder(sky_folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(sky_folder, tmp_path / "broken")


def test_videos_come_back_as_they_were_drawn(sky_folder: Path) -> None:
    # Fails if frames are reordered, channels swapped or labels shifted on the way.
    videos = open_videos(sky_folder, "train")
    assert len(videos) == 8
    assert videos.class_names == ("clear", "broken", "overcast", "sunset")
    by_index = {int(video.video_id[-7:]): video for video in videos}
    assert sorted(by_index) == list(range(8))
    for index, video in by_index.items():
        drawn = render_video(0, index, size=32, num_frames=20)
        assert (video.label, video.num_frames, video.fps) == (index % 4, 20, 25.0)
        difference = np.abs(video.read([7, 0]).astype(int) - drawn[[7, 0]])
        assert difference.mean() < 3


def test_only_records_with_requested_frames_are_read(
    sky_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails when a clip costs more the longer its video is, or a record is read twice."""
    asked, read = [], StoredRecords.read

    def note(records: StoredRecords, video: int, numbers: Sequence[int]) -> Sequence[bytes]:
        asked.append((video, list(numbers)))
        return read(records, video, numbers)

    monkeypatch.setattr(StoredRecords, "read", note)
    video = open_videos(sky_folder, "train")[3]
    assert (video.num_frames, asked) == (20, [])
    frames_FHWC = video.read([17, 8, 15, 9])
    video.read([10])
    assert (video.label, video.fps) == (3, 25.0)
    assert asked == [(3, [2, 1])]
    assert video.caption == ""
    assert asked[1:] == [(3, [0])]
    np.testing.assert_array_equal(frames_FHWC, video.read(range(20))[[17, 8, 15, 9]])
    with pytest.raises(IndexError):
        video.read([20])


def test_from_a_bucket_records_are_read_together(
    sky_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails when every record of a clip waits for the one before, or they change places."""
    here = open_videos(sky_folder, "train")[3].read(range(20))
    monkeypatch.setattr(
        BaseDataSource, "__getitem__", lambda self, index: pytest.fail("one by one")
    )
    videos = open_videos(sky_folder, "train")
    monkeypatch.setattr(videos.records, "_is_remote", True)
    there = videos[3].read(range(20))
    np.testing.assert_array_equal(here, there)


def test_a_record_of_another_video_is_not_taken_for_its_own(
    sky_folder: Path, tmp_path: Path
) -> None:
    """Fails when a video may show frames of another."""
    records: dict[int, bytes] = {}
    reshard(sky_folder, tmp_path / "seen", "train", 1, lambda i, data: records.setdefault(i, data))
    reshard(
        sky_folder, tmp_path / "data", "train", 1,
        lambda index, data: records[2] if index == 4 else data,
    )  # fmt: skip
    video = open_videos(tmp_path / "data", "train")[1]
    assert video.read([0, 19]).shape == (2, 32, 32, 3)
    with pytest.raises(DamagedVideo, match="a record of another video is in its place"):
        video.read([0, 8, 19])


def test_what_an_earlier_version_prepared_is_refused(broken_folder: Path, tmp_path: Path) -> None:
    """Fails when it is read as something else, or nobody is told what to do."""
    (metadata,) = broken_folder.glob("*/*/metadata.json")
    without = json.loads(metadata.read_text())
    del without["video_lengths"]
    metadata.write_text(json.dumps(without))
    with pytest.raises(UserError, match="has no video_lengths of train"):
        open_videos(broken_folder, "train")
    (features,) = broken_folder.glob("*/*/features.json")
    features.write_text(features.read_text().replace('"start"', '"begin"'))
    with pytest.raises(UserError, match=r"has no start: .* earlier version .* --overwrite"):
        open_videos(broken_folder, "train")


def test_pickled_source_reads_the_same(sky_folder: Path) -> None:
    # Fails if an open file travels along: worker processes get the source pickled.
    videos = open_videos(sky_folder, "train")
    unopened = pickle.dumps(videos)
    first = videos[0].read([0])
    assert pickle.dumps(videos) == unopened
    np.testing.assert_array_equal(pickle.loads(unopened)[0].read([0]), first)


def test_what_is_not_there_is_named(broken_folder: Path, tmp_path: Path) -> None:
    """Fails when a missing dataset or split, or a second dataset, ends in another message."""
    with pytest.raises(UserError) as caught:
        open_videos(tmp_path / "none", "train")
    for command in ("synthetic_sky", "video_folder --input=DIR"):
        assert f"python -m glober_jax.prepare {command} --output={tmp_path / 'none'}" in str(
            caught.value
        )
    with pytest.raises(UserError, match="no split 'validation', only train, test"):
        open_videos(broken_folder, "validation")
    shutil.copytree(broken_folder / "synthetic_sky", broken_folder / "other")
    with pytest.raises(UserError, match="several datasets"):
        open_videos(broken_folder, "train")


def test_shards_are_found_by_one_listing(sky_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails when every shard is looked at: on a bucket, thousands would take minutes."""
    asked = []
    for name in ("exists", "is_file", "stat"):
        monkeypatch.setattr(
            type(epath.Path("/")), name, lambda path, *_, **__: asked.append(path) or True
        )
    open_videos(sky_folder, "train")
    assert not [path for path in asked if "array_record" in path.name]


@pytest.mark.parametrize(
    ("directory", "says"),
    [
        ("gs://bucket/data", "Please install gcsfs"),
        ("s3://bucket/data", "use a local folder, or gs://"),
    ],
)
def test_remote_folders_that_cannot_be_read(
    directory: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails when a missing package ends in a stack trace, or the path is taken for a local one."""
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(UserError, match=f"{directory}.*{says}"):
        open_videos(directory, "train")


def _smaller(jpeg: bytes) -> bytes:
    return encode_jpeg(Image.new("RGB", (16, 16)))


def _larger(jpeg: bytes) -> bytes:
    return encode_jpeg(Image.new("RGB", (64, 64)))


def _with_frame_4(video: StoredVideo, jpeg: bytes) -> StoredVideo:
    """The video with another JPEG for a frame of its first record."""

    def parse(data: bytes) -> VideoRecord:
        record = video.parse(data)
        return replace(record, frames=[*record.frames[:4], jpeg, *record.frames[5:]])

    return StoredVideo(video.stored, video.index, parse)


@pytest.mark.parametrize("damage", [lambda jpeg: b"", lambda jpeg: jpeg[:200], _smaller, _larger])
def test_damaged_frame_is_named(sky_folder: Path, damage) -> None:
    stored = open_videos(sky_folder, "test")[0]
    video = _with_frame_4(stored, damage(stored.stored_frames([4])[0]))
    assert video.read([3, 5]).shape == (2, 32, 32, 3)
    with pytest.raises(
        DamagedVideo, match=f"{stored.video_id} .* its frame 4 is damaged"
    ) as caught:
        video.read([3, 4, 5])
    # Worker processes send it on: fails if it cannot be made again from its arguments.
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
