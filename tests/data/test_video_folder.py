"""A folder of real, odd and broken files becomes exactly the dataset it should."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from glober_jax.data.datasets.make import make_dataset
from glober_jax.data.datasets.media_folders import VideoFolderOptions, list_video_folder
from glober_jax.data.media.tree import find_media
from glober_jax.data.source import StoredVideo, open_videos
from glober_jax.errors import UserError
from tests.data.videos import (
    STEP,
    grey,
    stored_videos,
    touch,
    write_frames,
    write_ruins,
    write_video,
)


@pytest.fixture(scope="module")
def ruins(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    root = tmp_path_factory.mktemp("zoo")
    return root, write_ruins(root)


@pytest.fixture(scope="module")
def zoo(ruins: tuple[Path, dict[str, str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset of five usable videos, one damaged, and the ruins."""
    root, _ = ruins
    write_video(root / "plain.mp4", 40)
    write_video(root / "deep" / "er" / "LOUD.AVI", 20)
    write_video(root / "nächte" / "雲.mkv", 20)
    first, *others = (Image.fromarray(grey(i)) for i in range(20))
    first.save(root / "moving.gif", save_all=True, append_images=others, duration=100)
    write_frames(root / "shots" / "one", 20, "take2_{}.PNG".format)
    write_video(root / "damaged.avi", 40)
    whole = (root / "damaged.avi").read_bytes()
    start, stop = whole.index(b"movi"), whole.index(b"idx1")
    (root / "damaged.avi").write_bytes(whole[: (start + 3 * stop) // 4])
    (root / "notes.txt").write_text("not a video")
    (root / "._plain.mp4").write_bytes(b"resource fork")
    (root / "loop").symlink_to(root)
    output = tmp_path_factory.mktemp("prepared")
    options = VideoFolderOptions(input=str(root), size=32, max_frames=32, test_fraction=0.2)
    make_dataset(options, output)
    return output


def _frame_numbers(video: StoredVideo) -> np.ndarray:
    frames = video.read(range(video.num_frames)).astype(float)
    return np.rint((frames.mean(axis=(1, 2, 3)) - 20) / STEP).astype(int)


def test_rejects_are_exactly_the_useless_ones(
    zoo: Path, ruins: tuple[Path, dict[str, str]]
) -> None:
    """Fails when a video is lost, a reject is not listed, or one is listed that is no video."""
    card = json.loads((zoo / "data_card.json").read_text(encoding="utf-8"))
    rejected = {entry["video"]: entry["reason"] for entry in card["rejected"]}
    assert rejected.keys() == ruins[1].keys()
    assert all(reason in rejected[name] for name, reason in ruins[1].items())
    assert card["accepted"] == 6
    assert [entry["video"] for entry in card["warnings"]] == ["damaged.avi"]


def test_frames_arrive_in_order_cropped_and_complete(zoo: Path) -> None:
    """Fails if frames are out of order, not cropped, missing, or lost before damage."""
    videos = stored_videos(zoo)
    for name in ("deep/er/LOUD.AVI", "nächte/雲.mkv", "moving.gif", "shots/one"):
        np.testing.assert_array_equal(_frame_numbers(videos[name]), np.arange(20))
        pixels = videos[name].read([3])
        assert pixels.shape == (1, 32, 32, 3)
        assert np.ptp(pixels.astype(int)) < 8
    assert videos["deep/er/LOUD.AVI"].fps == pytest.approx(10)
    assert videos["shots/one"].fps == 0.0
    pieces = [videos["plain.mp4[0:20]"], videos["plain.mp4[20:40]"]]
    np.testing.assert_array_equal(np.concatenate(list(map(_frame_numbers, pieces))), np.arange(40))
    damaged = [_frame_numbers(video) for name, video in sorted(videos.items()) if "damag" in name]
    assert 16 <= sum(map(len, damaged)) < 40
    np.testing.assert_array_equal(np.concatenate(damaged), np.arange(sum(map(len, damaged))))
    assert len(open_videos(zoo, "test")) == 1


def test_frame_rate_comes_down_but_never_up(tmp_path: Path) -> None:
    source = tmp_path / "in"
    write_video(source / "a.mp4", 40, fps=20)
    write_video(source / "b.mp4", 40, fps=5)
    options = VideoFolderOptions(input=str(source), size=32, fps=10.0, min_frames=4)
    make_dataset(options, tmp_path / "out")
    videos = stored_videos(tmp_path / "out")
    np.testing.assert_array_equal(_frame_numbers(videos["a.mp4[0:16]"]), np.arange(0, 32, 2))
    assert videos["a.mp4[0:16]"].fps == 10
    assert videos["b.mp4[0:36]"].fps == 5


def test_split_and_class_folders(tmp_path: Path) -> None:
    for split, name, label in (
        ("sky_train", "calm", "x"), ("sky_train", "storm", "y"), ("Test", "storm", "z"),
    ):  # fmt: skip
        write_frames(tmp_path / "in" / split / name / label, 4)
    write_video(tmp_path / "in" / "sky_train" / "homeless.mp4", 5)
    write_video(tmp_path / "in" / "outside.mp4", 5)
    options = VideoFolderOptions(
        input=str(tmp_path / "in"), size=16, min_frames=4, class_folders=True
    )
    card = make_dataset(options, tmp_path / "out")
    train, test = (open_videos(tmp_path / "out", split) for split in ("train", "test"))
    assert train.class_names == ("calm", "storm")
    assert {(v.video_id, v.label) for v in map(train.__getitem__, range(len(train)))} == {
        ("sky_train/calm/x", 0), ("sky_train/storm/y", 1),
    }  # fmt: skip
    assert [test[0].video_id, test[0].label, len(test)] == ["Test/storm/z", 1, 1]
    assert {entry["video"]: entry["reason"] for entry in card["rejected"]} == {
        "outside.mp4": "lies outside the train and test folders",
        "sky_train/homeless.mp4": "lies in no class folder",
    }


def test_nothing_usable_or_too_little_lists_every_reason(tmp_path: Path) -> None:
    """Fails when one is left of two videos, and nobody says why the other is not used."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "bad.mp4").touch()
    options = VideoFolderOptions(input=str(tmp_path / "in"), size=16)
    with pytest.raises(UserError, match=r"(?s)none of the videos.*bad\.mp4: the file is empty"):
        make_dataset(options, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
    write_video(tmp_path / "in" / "good.mp4", 20)
    with pytest.raises(UserError, match=r"(?s)nothing can be held out.*bad\.mp4: the file is empt"):
        make_dataset(options, tmp_path / "out")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_frames": 31}, "at least twice --min_frames=16"),
        ({"fps": 0.0}, "--fps must be positive"),
        ({"test_fraction": 0.9}, r"--test_fraction must be in \(0, 0.5\]"),
    ],
)
def test_impossible_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        VideoFolderOptions(input="videos", **options)


def test_media_that_is_not_used_is_listed(tmp_path: Path) -> None:
    """Fails when thumbnails become a video, or a picture or video is left out without a word."""
    unread = ("IMG_1.HEIC", "anim.svg", "clip.swf", "icon.ico", "raw.braw", "shot.dng")
    touch(tmp_path, *(f"a/{name}" for name in (*unread, "notes.txt", ".hidden.heic")))
    with pytest.raises(UserError, match=r"holds no videos.*; a/IMG_1.HEIC is of a format"):
        list_video_folder(VideoFolderOptions(input=str(tmp_path)))
    touch(tmp_path, "b/v2.mp4", "b/v10.jpg", "b/v2.jpg", "frames/0.png")
    listing = find_media(tmp_path)
    assert [item.video_id for item in listing.items] == ["b/v2.mp4", "frames"]
    names = [video_id for video_id, _ in listing.rejections]
    assert names[-2:] == ["b/v2.jpg", "b/v10.jpg"]
    assert sorted(names[:-2], key=str) == sorted(f"a/{name}" for name in unread)
    assert "beside a video" in listing.rejections[-1].reason


def _splits(folder: Path, *, class_folders: bool = False) -> tuple[dict, dict]:
    listing = list_video_folder(VideoFolderOptions(input=str(folder), class_folders=class_folders))
    found = {item.video_id: (item.split, item.class_name) for item in listing.items}
    return found, dict(listing.rejections)


@pytest.mark.parametrize("name", ["val", "valid", "Validation", "test"])
def test_folders_of_held_out_videos(tmp_path: Path, name: str) -> None:
    """Fails when a usual name of the test split is unknown, or rejects are not told the way out."""
    touch(tmp_path, f"{name}/a.mp4", "loose/b.mp4")
    found, reasons = _splits(tmp_path)
    assert found == {f"{name}/a.mp4": ("test", None)}
    assert f"{name} is taken for the test split: put" in reasons["loose/b.mp4"]
    assert "a folder train" in reasons["loose/b.mp4"]


def test_split_folders_that_lie_too_deep_are_named(tmp_path: Path) -> None:
    """Fails when videos for testing are trained on without a word."""
    touch(tmp_path, "archive/train/a.mp4", "archive/test/b.mp4")
    (notice,) = list_video_folder(VideoFolderOptions(input=str(tmp_path))).notices
    assert notice.startswith("archive/test/b.mp4 lies in a folder for testing, but not directly in")
    assert not list_video_folder(VideoFolderOptions(input=str(tmp_path / "archive"))).notices


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    """Fails when a class train is taken for the training split, or, with a test split, is not."""
    touch(tmp_path, "train/a.mp4", "train/deep/b.mp4", "bus/c.mp4")
    found, _ = _splits(tmp_path, class_folders=True)
    assert found == {
        "bus/c.mp4": (None, "bus"),
        "train/a.mp4": (None, "train"),
        "train/deep/b.mp4": (None, "train"),
    }
    touch(tmp_path, "test/bus/d.mp4")
    found, reasons = _splits(tmp_path, class_folders=True)
    assert found == {
        "test/bus/d.mp4": ("test", "bus"),
        "train/deep/b.mp4": ("train", "deep"),
    }
    assert reasons.keys() == {"bus/c.mp4", "train/a.mp4"}
