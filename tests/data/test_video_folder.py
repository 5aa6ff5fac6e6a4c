"""A folder of real, odd and broken files becomes exactly the dataset it should."""

import json
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from glober_jax.data.datasets.make import make_dataset
from glober_jax.data.datasets.video_folder import VideoFolderOptions, list_inputs
from glober_jax.data.media.decode import resample
from glober_jax.data.media.tree import find_media
from glober_jax.data.source import StoredVideo, open_videos
from glober_jax.errors import UserError

STEP = 5  # grey levels from one frame to the next


def _grey(frame: int, width: int = 48, height: int = 32) -> np.ndarray:
    """A frame that says its number in grey, with black bars that a centre crop removes."""
    picture = np.full((height, width, 3), 20 + STEP * frame, np.uint8)
    picture[:, : (width - height) // 2] = 0
    picture[:, (width + height) // 2 :] = 0
    return picture


def _write_video(path: Path, num_frames: int, fps: int = 10, codec: str = "mpeg4") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        stream.bit_rate = 4_000_000
        for i in range(num_frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(_grey(i), format="rgb24")))
        container.mux(stream.encode())


def _write_frames(folder: Path, numbers: range, name: Callable[[int], str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i in numbers:
        Image.fromarray(_grey(i)).save(folder / name(i))


def _write_gif(path: Path, num_frames: int) -> None:
    frames = [Image.fromarray(_grey(i)) for i in range(num_frames)]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=100)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of everything: five usable videos, one damaged, and all ways to be useless."""
    root = tmp_path_factory.mktemp("zoo")
    _write_video(root / "plain.mp4", 40)
    _write_video(root / "deep" / "er" / "LOUD.AVI", 20)
    _write_video(root / "nächte" / "雲.mkv", 20)
    _write_gif(root / "moving.gif", 20)
    _write_frames(root / "shots" / "one", range(20), lambda i: f"take2_{i}.PNG")
    _write_video(root / "damaged.avi", 40)
    whole = (root / "damaged.avi").read_bytes()
    first, last = whole.index(b"movi"), whole.index(b"idx1")
    (root / "damaged.avi").write_bytes(whole[: (first + 3 * last) // 4])
    (root / "empty.mp4").touch()
    (root / "garbage.mov").write_bytes(np.random.default_rng(0).bytes(5000))
    (root / "cut.mp4").write_bytes((root / "plain.mp4").read_bytes()[:2000])
    _write_video(root / "short.webm", 15, codec="libvpx")
    _write_frames(root / "thumbnails", range(3), lambda i: f"{i}.jpg")
    (root / "gone.mp4").symlink_to(root / "nowhere.mp4")
    (root / "notes.txt").write_text("not a video")
    (root / "._plain.mp4").write_bytes(b"resource fork")
    (root / "loop").symlink_to(root)
    return root


@pytest.fixture(scope="module")
def prepared_zoo(zoo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("prepared")
    options = VideoFolderOptions(input=str(zoo), size=32, max_frames=32, test_fraction=0.2)
    make_dataset(options, output)
    return output


def _videos(folder: Path) -> dict[str, StoredVideo]:
    """All videos of both splits by name."""
    splits = [open_videos(folder, split) for split in ("train", "test")]
    return {
        video.video_id: video
        for videos in splits
        for video in map(videos.__getitem__, range(len(videos)))
    }


def _frame_numbers(video: StoredVideo) -> np.ndarray:
    frames = video.read(range(video.num_frames)).astype(float)
    return np.rint((frames.mean(axis=(1, 2, 3)) - 20) / STEP).astype(int)


def test_rejects_are_exactly_the_useless_ones(prepared_zoo: Path) -> None:
    report = json.loads((prepared_zoo / "data_card.json").read_text(encoding="utf-8"))
    rejected = {entry["video"]: entry["reason"] for entry in report["rejected"]}
    assert rejected.keys() == {
        "empty.mp4", "garbage.mov", "cut.mp4", "short.webm", "thumbnails", "gone.mp4",
    }  # fmt: skip
    assert rejected["empty.mp4"] == "the file is empty"
    assert "has 15 usable frames, fewer than --min_frames=16" in rejected["short.webm"]
    assert "has 3 usable frames" in rejected["thumbnails"]
    assert "No such file" in rejected["gone.mp4"]
    assert report["accepted"] == 6
    assert [entry["video"] for entry in report["warnings"]] == ["damaged.avi"]


def test_frames_arrive_in_order_cropped_and_complete(prepared_zoo: Path) -> None:
    # Fails if images sort as text (2 after 10), colours swap, or black bars survive the crop.
    videos = _videos(prepared_zoo)
    for name in ("deep/er/LOUD.AVI", "nächte/雲.mkv", "moving.gif", "shots/one"):
        np.testing.assert_array_equal(_frame_numbers(videos[name]), np.arange(20))
        pixels = videos[name].read([3])
        assert pixels.shape == (1, 32, 32, 3)
        assert np.ptp(pixels.astype(int)) < 8
    assert videos["deep/er/LOUD.AVI"].fps == pytest.approx(10)
    assert videos["shots/one"].fps == 0.0


def test_long_video_is_cut_and_one_video_held_out(prepared_zoo: Path) -> None:
    videos = _videos(prepared_zoo)
    pieces = [videos["plain.mp4[0:20]"], videos["plain.mp4[20:40]"]]
    np.testing.assert_array_equal(np.concatenate(list(map(_frame_numbers, pieces))), np.arange(40))
    assert len(open_videos(prepared_zoo, "test")) == 1


def test_damaged_video_keeps_its_good_frames(prepared_zoo: Path) -> None:
    numbers = np.concatenate(
        [
            _frame_numbers(v)
            for name, v in sorted(_videos(prepared_zoo).items())
            if "damaged" in name
        ]
    )
    assert 16 <= len(numbers) < 40
    np.testing.assert_array_equal(numbers, np.arange(len(numbers)))


def test_frame_rate_comes_down_but_never_up(tmp_path: Path) -> None:
    source = tmp_path / "in"
    _write_video(source / "a.mp4", 40, fps=20)
    _write_video(source / "b.mp4", 40, fps=5)
    options = VideoFolderOptions(input=str(source), size=32, fps=10.0, min_frames=4)
    make_dataset(options, tmp_path / "out")
    videos = _videos(tmp_path / "out")
    np.testing.assert_array_equal(_frame_numbers(videos["a.mp4[0:16]"]), np.arange(0, 32, 2))
    assert videos["a.mp4[0:16]"].fps == 10
    assert videos["b.mp4[0:36]"].fps == 5


def test_resampling_takes_the_nearest_frame_and_bounds_pauses() -> None:
    frames = [Image.new("L", (1, 1), i) for i in range(4)]

    def values(times: list[float], fps: float) -> list[int]:
        timed = zip(times, frames, strict=False)
        return [frame.getpixel((0, 0)) for frame in resample(timed, fps)]

    assert values([5.0, 5.1, 5.2, 5.3], 5) == [0, 2]
    assert values([0.0, 0.3, 0.4, 0.5], 10) == [0, 0, 1, 1, 2, 3]
    # A broken timestamp a year ahead counts as a pause of one second.
    assert len(values([0.0, 0.1, 3e7, 3e7 + 0.1], 10)) == 13


def test_split_and_class_folders(tmp_path: Path) -> None:
    for split, name, label in (
        ("sky_train", "calm", "x"), ("sky_train", "storm", "y"), ("Test", "storm", "z"),
    ):  # fmt: skip
        _write_frames(tmp_path / "in" / split / name / label, range(4), lambda i: f"{i}.png")
    _write_video(tmp_path / "in" / "sky_train" / "homeless.mp4", 5)
    _write_video(tmp_path / "in" / "outside.mp4", 5)
    options = VideoFolderOptions(
        input=str(tmp_path / "in"), size=16, min_frames=4, class_folders=True
    )
    make_dataset(options, tmp_path / "out")
    train, test = (open_videos(tmp_path / "out", split) for split in ("train", "test"))
    assert train.class_names == ("calm", "storm")
    assert {(v.video_id, v.label) for v in map(train.__getitem__, range(len(train)))} == {
        ("sky_train/calm/x", 0), ("sky_train/storm/y", 1),
    }  # fmt: skip
    assert [test[0].video_id, test[0].label, len(test)] == ["Test/storm/z", 1, 1]
    report = json.loads((tmp_path / "out" / "data_card.json").read_text())
    assert {entry["video"]: entry["reason"] for entry in report["rejected"]} == {
        "outside.mp4": "lies outside the train and test folders",
        "sky_train/homeless.mp4": "lies in no class folder",
    }


def test_natural_order_of_videos(tmp_path: Path) -> None:
    for name in ("clip10.mp4", "clip2.mp4", "a/1.mov"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    items = find_media(tmp_path).items
    assert [item.video_id for item in items] == ["a/1.mov", "clip2.mp4", "clip10.mp4"]


def test_nothing_usable_lists_every_reason(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    with pytest.raises(UserError, match=r"(?s)none of the videos.*a\.mp4: the file is empty"):
        make_dataset(VideoFolderOptions(input=str(tmp_path)), tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_too_few_to_hold_some_out(tmp_path: Path) -> None:
    """Fails when one is left of two videos, and nobody says why the other is not used."""
    _write_video(tmp_path / "in" / "good.mp4", 20)
    (tmp_path / "in" / "bad.mp4").write_bytes(b"")
    with pytest.raises(
        UserError, match=r"(?s)nothing can be held out.*bad\.mp4: the file is empty"
    ):
        make_dataset(VideoFolderOptions(input=str(tmp_path / "in"), size=16), tmp_path / "out")


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


def test_images_beside_a_video_are_no_frames(tmp_path: Path) -> None:
    """Fails when thumbnails become a video, anywhere, or vanish without a word."""
    for number in range(18):
        _write_video(tmp_path / "in" / f"v{number:03d}.mp4", 4)
        Image.fromarray(_grey(0)).save(tmp_path / "in" / f"v{number:03d}.jpg")
    _write_frames(tmp_path / "in" / "frames", range(4), lambda i: f"{i}.png")
    listing = find_media(tmp_path / "in")
    assert len(listing.items) == 19 and listing.items[0].video_id == "frames"
    assert [rejection.video_id for rejection in listing.rejections] == [
        f"v{number:03d}.jpg" for number in range(18)
    ]
    assert "beside a video" in listing.rejections[0].reason


def test_every_container_is_read(tmp_path: Path) -> None:
    """Fails when videos are left out for their suffix."""
    codecs = {
        ".m4v": "mpeg4", ".3gp": "mpeg4", ".wmv": "wmv2", ".flv": "flv", ".f4v": "libx264",
        ".mpg": "mpeg2video", ".mpeg": "mpeg1video", ".mts": "mpeg2video", ".TS": "mpeg2video",
        ".m2ts": "mpeg2video", ".ogv": "libvpx", ".y4m": "wrapped_avframe",
    }  # fmt: skip
    for suffix, codec in codecs.items():
        _write_video(tmp_path / "in" / f"clip{suffix}", 20, 25, codec)
    options = VideoFolderOptions(input=str(tmp_path / "in"), size=16)
    card = make_dataset(options, tmp_path / "out")
    assert card.accepted == len(codecs), card.rejected


def test_media_that_is_not_read_is_listed(tmp_path: Path) -> None:
    """Fails when a file that looks like a picture or a video is left out without a word."""
    names = ("IMG_1.HEIC", "shot.dng", "anim.svg", "clip.swf", "raw.braw", "icon.ico")
    for name in (*names, "notes.txt", "data.json", ".hidden.heic"):
        (tmp_path / name).touch()
    assert sorted(rejection.video_id for rejection in find_media(tmp_path).rejections) == sorted(
        names
    )
    with pytest.raises(
        UserError, match=r"holds no videos.*; IMG_1.HEIC is of a format that is not"
    ):
        make_dataset(VideoFolderOptions(input=str(tmp_path)), tmp_path.parent / "out")


def _splits(folder: Path, *, class_folders: bool = False) -> tuple[dict, dict]:
    options = VideoFolderOptions(input=str(folder), class_folders=class_folders)
    listing = list_inputs(options)
    found = {item.video_id: (item.split, item.class_name) for item in listing.items}
    return found, {r.video_id: r.reason for r in listing.rejections}


@pytest.mark.parametrize("name", ["val", "valid", "Validation", "test"])
def test_folders_of_held_out_videos(tmp_path: Path, name: str) -> None:
    """Fails when a usual name of the test split is not known, or loose folders beside it are
    rejected without the way out.
    """
    for place in (f"{name}/a.mp4", "loose/b.mp4"):
        (tmp_path / place).parent.mkdir()
        (tmp_path / place).touch()
    found, reasons = _splits(tmp_path)
    assert found == {f"{name}/a.mp4": ("test", None)}
    assert f"{name} is taken for the test split: put" in reasons["loose/b.mp4"]
    assert "a folder train" in reasons["loose/b.mp4"]


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    """Fails when trains among other classes are taken for the training split, or with a test
    split, when they are not.
    """
    for place in ("train/a.mp4", "train/deep/b.mp4", "bus/c.mp4"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).touch()
    found, _ = _splits(tmp_path, class_folders=True)
    assert found == {
        "bus/c.mp4": (None, "bus"),
        "train/a.mp4": (None, "train"),
        "train/deep/b.mp4": (None, "train"),
    }
    (tmp_path / "test" / "bus").mkdir(parents=True)
    (tmp_path / "test" / "bus" / "d.mp4").touch()
    found, reasons = _splits(tmp_path, class_folders=True)
    assert found == {
        "test/bus/d.mp4": ("test", "bus"),
        "train/deep/b.mp4": ("train", "deep"),
    }
    assert reasons.keys() == {"bus/c.mp4", "train/a.mp4"}
