"""Every way to store a set gives its pixels back, and every wrong one a sentence that helps."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from glober_jax import media
from glober_jax.errors import UserError
from glober_jax.evaluation.protocols import get_protocol
from glober_jax.evaluation.video_io import open_video_set
from glober_jax.evaluation.video_set import VideoSet, check_pair


def random_videos(count: int = 3, length: int = 5, height: int = 6, width: int = 8) -> np.ndarray:
    shape = (count, length, height, width, 3)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def write_frames(folder: Path, frames_THWC: np.ndarray, suffix: str = ".png") -> None:
    """Frames numbered without leading zeros, so that only natural order is right."""
    folder.mkdir(parents=True)
    for number, frame_HWC in enumerate(frames_THWC):
        Image.fromarray(frame_HWC).save(folder / f"frame {number + 8}{suffix}")


def write_ffv1(path: Path, frames_THWC: np.ndarray, pixel_format: str = "bgr0") -> None:
    path.parent.mkdir(exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=8)
        stream.height, stream.width = frames_THWC.shape[1:3]
        stream.pix_fmt = pixel_format
        for frame_HWC in frames_THWC:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame_HWC, format="rgb24")))
        container.mux(stream.encode())


Store = Callable[[Path, np.ndarray], Path]


def as_npy(path: Path, videos_NTHWC: np.ndarray) -> Path:
    np.save(path / "set.npy", videos_NTHWC)
    return path / "set.npy"


def as_npz(path: Path, videos_NTHWC: np.ndarray) -> Path:
    np.savez_compressed(path / "set.npz", videos_NTHWC)
    return path / "set.npz"


def as_samples(path: Path, videos_NTHWC: np.ndarray) -> Path:
    """As sampling leaves its folder: what must be read is not the compressed video beside it."""
    np.savez_compressed(path / "frames.npz", frames=videos_NTHWC, labels=np.arange(3))
    media.write_mp4(path / "video_0000.mp4", videos_NTHWC[0], 8)
    return path


def as_frame_folders(path: Path, videos_NTHWC: np.ndarray) -> Path:
    for number, frames_THWC in enumerate(videos_NTHWC):
        write_frames(path / f"wölkchen 雲 {number + 9}", frames_THWC)
    return path


def as_video_files(path: Path, videos_NTHWC: np.ndarray) -> Path:
    for number, frames_THWC in enumerate(videos_NTHWC):
        write_ffv1(path / f"é{number + 9}.mkv", frames_THWC)
    return path


@pytest.mark.parametrize("store", [as_npy, as_npz, as_samples, as_frame_folders, as_video_files])
def test_gives_back_the_pixels_it_was_given(tmp_path: Path, store: Store) -> None:
    """Fails when videos or frames come in another order, or a pixel changes."""
    videos_NTHWC = random_videos()
    videos = open_video_set(store(tmp_path, videos_NTHWC))
    assert (len(videos), videos.lengths, videos.size) == (3, (5, 5, 5), (6, 8))
    assert (videos.notes, videos.labels) == ((), None)
    for index, frames_THWC in enumerate(videos_NTHWC):
        read_FHWC = videos.read(index, [3, 0, 3])
        assert read_FHWC.dtype == np.uint8
        np.testing.assert_array_equal(read_FHWC, frames_THWC[[3, 0, 3]])


def test_fingerprint_is_of_the_content(tmp_path: Path) -> None:
    """Fails when a pixel or the order can change unseen, or when names or containers count."""
    whole, changed = random_videos(), random_videos()
    changed[2, 4, 5, 7, 2] ^= 1

    def fingerprint(name: str, store: Store, videos_NTHWC: np.ndarray) -> str:
        (tmp_path / name).mkdir()
        return open_video_set(store(tmp_path / name, videos_NTHWC)).fingerprint

    stored = fingerprint("a", as_npy, whole)
    assert len(stored) == 16 and stored == fingerprint("b", as_npz, whole)
    different = [
        fingerprint("c", as_npy, changed),
        fingerprint("d", as_npy, whole[::-1]),
        fingerprint("e", as_npy, whole.reshape(3, 5, 8, 6, 3)),
        *(fingerprint(f"f{i}", as_frame_folders, x) for i, x in enumerate((whole, changed))),
        *(fingerprint(f"g{i}", as_video_files, x) for i, x in enumerate((whole, changed))),
    ]
    assert len({stored, *different}) == len(different) + 1


def test_folders_of_classes_make_labels(tmp_path: Path) -> None:
    videos_NTHWC = random_videos()
    for name, frames_THWC in zip(("b/1", "a/2", "b/10"), videos_NTHWC, strict=True):
        write_frames(tmp_path / "train" / name, frames_THWC[: int(name[2:])])
    videos = open_video_set(tmp_path)
    assert videos.names == ("train/a/2", "train/b/1", "train/b/10")
    assert videos.lengths == (2, 1, 5)
    assert (videos.labels, videos.class_names) == ((0, 1, 1), ("a", "b"))
    write_frames(tmp_path / "test" / "a" / "1", videos_NTHWC[0])
    (tmp_path / "test" / "a" / "empty").mkdir()
    notes = " ".join(open_video_set(tmp_path).notes)
    assert "splits test and train; all videos" in notes and "test/a/empty is empty" in notes


def test_lost_quality_or_colour_is_noted(tmp_path: Path) -> None:
    videos_NTHWC = random_videos()
    write_frames(tmp_path / "jpeg" / "a", videos_NTHWC[0], ".jpg")
    write_ffv1(tmp_path / "yuv" / "a.mkv", videos_NTHWC[0], "yuv420p")
    write_frames(tmp_path / "grey" / "a", videos_NTHWC[0, ..., 0])
    for name, word in (("jpeg", "JPEG"), ("yuv", "yuv420p"), ("grey", "grey")):
        videos = open_video_set(tmp_path / name)
        assert len(videos.notes) == 1 and word in videos.notes[0]
        assert videos.read(0, range(5)).shape == (5, 6, 8, 3)
    grey = videos_NTHWC[..., :1]
    for stored in (grey, grey[..., 0]):
        videos = open_video_set(as_npz(tmp_path, stored))
        assert "grey" in videos.notes[0]
        np.testing.assert_array_equal(videos.read(1, [3])[0], grey[1, 3].repeat(3, axis=-1))


@pytest.mark.parametrize("name", ["clip.mp4", "clip.gif"])
def test_lossy_video_is_refused(tmp_path: Path, name: str) -> None:
    """Fails when a score could be had from what sampling writes for people."""
    write = media.write_mp4 if name.endswith("mp4") else media.write_gif
    write(tmp_path / name, random_videos()[0], 8)
    with pytest.raises(UserError, match=r"(h264|gif), which .*FVD.*--save_arrays.*FFV1") as caught:
        open_video_set(tmp_path)
    command = f"glober_jax.prepare video_folder --input={tmp_path} --output={tmp_path}_prepared "
    assert command in str(caught.value) and f"--real={tmp_path}_prepared" in str(caught.value)


@pytest.mark.parametrize(
    ("array", "advice"),
    [
        (np.full((2, 4, 6, 8, 3), np.nan), "float64 .*values that are NaN or infinite"),
        (np.zeros((2, 4, 6, 8, 4), np.uint8), r"x\[\.\.\., :3\]"),
        (np.zeros((4, 6, 8, 3), np.uint8), r"x\[None\]"),
        (np.zeros((4, 6), np.uint8), "stacked into one array"),
        (np.zeros((0, 4, 6, 8, 3), np.uint8), "no video at all"),
    ],
)
def test_wrong_arrays_come_with_advice(tmp_path: Path, array: np.ndarray, advice: str) -> None:
    with pytest.raises(UserError, match=advice):
        open_video_set(as_npy(tmp_path, array))


@pytest.mark.parametrize(
    ("low", "high", "dtype"),
    [(-0.5, 0.5, float), (-0.02, 0.9, float), (-128, 127, np.int8), (0, 4095, np.uint16)],
)
def test_ambiguous_values_are_not_guessed(
    tmp_path: Path, low: float, high: float, dtype: type
) -> None:
    array = np.linspace(low, high, 24).astype(dtype).reshape(1, 1, 2, 4, 3)
    sentence = r"nobody knows .*\(\(x - black\) / \(white - black\)"
    with pytest.raises(UserError, match=sentence):
        open_video_set(as_npy(tmp_path, array))


@pytest.mark.parametrize(
    "store",
    [
        lambda x: (x / 255).astype(np.float32),
        lambda x: x / 127.5 - 1,
        lambda x: x.astype(np.float32) + 0.2,
        lambda x: x.astype(np.uint16) * 257,
        lambda x: np.moveaxis(x, -1, 2),
    ],
)
def test_the_advised_conversions_work(tmp_path: Path, store: Callable) -> None:
    """Fails when somebody who does as told gets other pixels.

    The first video is dark: it is the range of all that counts.
    """
    videos_NTHWC = random_videos()
    videos_NTHWC[0] //= 100
    x = store(videos_NTHWC)
    with pytest.raises(UserError, match="save ") as caught:
        open_video_set(as_npy(tmp_path, x))
    advised = eval(str(caught.value).rpartition("save ")[2], {"x": x, "np": np})
    videos = open_video_set(as_npy(tmp_path, advised))
    read = np.stack([videos.read(i, range(5)) for i in range(3)])
    np.testing.assert_array_equal(read, videos_NTHWC)


@pytest.mark.parametrize("save", [as_npy, as_npz])
def test_damaged_and_dangerous_files_are_refused(tmp_path: Path, save: Store) -> None:
    """Fails when an array that was cut off is read, or a pickle in the place of one is run."""
    path = save(tmp_path, random_videos())
    whole = path.read_bytes()
    damages = [whole[:kept] for kept in (len(whole) // 2, len(whole) - 30, 60, 0)]
    if save == as_npz:
        damages.append(whole[:300] + b"\0" * 100 + whole[400:])
    for damage in damages:
        path.write_bytes(damage)
        with pytest.raises(UserError, match=rf"{path.name} cannot be read as one array"):
            open_video_set(path)
    with pytest.raises(UserError, match=r"[Oo]bject.*copy it again, or save one uint8 array"):
        open_video_set(save(tmp_path, np.array([None, {}], object)))
    np.savez(tmp_path / "two.npz", real=random_videos(), fake=random_videos())
    with pytest.raises(UserError, match=r"it holds real, fake: .*frames=videos"):
        open_video_set(tmp_path / "two.npz")


def test_damaged_frames_are_named_and_never_passed_over(tmp_path: Path) -> None:
    """Fails when a later frame is read in the place of one that is damaged."""
    as_frame_folders(tmp_path / "frames", random_videos())
    broken = sorted((tmp_path / "frames").rglob("*.png"))[2]
    broken.write_bytes(broken.read_bytes()[:60])
    videos = open_video_set(tmp_path / "frames")
    damaged = videos.names.index(broken.parent.name)
    with pytest.raises(UserError, match=f"{broken.parent.name} cannot be read: .*{broken.name}"):
        videos.read(damaged, range(5))
    cut = as_video_files(tmp_path / "videos", random_videos(1, 5, 64, 64)) / "é9.mkv"
    cut.write_bytes(cut.read_bytes()[:30_000])
    assert open_video_set(tmp_path / "videos").lengths[0] < 5
    cut.write_bytes(b"not a video")
    with pytest.raises(UserError, match=r"é9.mkv cannot be read: .*copy it again"):
        open_video_set(tmp_path / "videos")
    for height in (6, 7):
        write_frames(tmp_path / "mixed" / str(height), random_videos(1, height=height)[0])
    with pytest.raises(UserError, match=r"8x7 pixels and .*8x6 pixels: all videos of a set"):
        open_video_set(tmp_path / "mixed")
    Image.fromarray(random_videos()[0, 0, :4]).save(tmp_path / "mixed" / "6" / "frame 9.png")
    with pytest.raises(UserError, match=r"8x4 pixels and .*8x6 pixels"):
        open_video_set(tmp_path / "mixed" / "6").read(0, range(5))


def test_nothing_there_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("hello")
    for place, sentence in (
        (tmp_path / "nowhere", "nowhere does not exist: give the folder"),
        (tmp_path, "holds no videos: expected a folder of frames"),
        (tmp_path / "text.txt", r"text.txt is a single file: give the folder"),
        (tmp_path / ("n" * 300), "cannot be read: File name too long"),
    ):
        with pytest.raises(UserError, match=sentence):
            open_video_set(place)


def test_pairs_that_cannot_be_compared(tmp_path: Path) -> None:
    def opened(name: str, *videos: np.ndarray) -> VideoSet:
        for number, frames_THWC in enumerate(videos):
            write_frames(tmp_path / name / str(number), frames_THWC)
        return open_video_set(tmp_path / name)

    def check(real: VideoSet, generated: VideoSet, num_frames: int = 5) -> list[str]:
        protocol = dataclasses.replace(get_protocol("small"), num_frames=num_frames)
        return check_pair(real, generated, protocol)

    real = opened("real", *random_videos())
    mixed = opened("mixed", *random_videos(2), *random_videos(1, 2))
    assert check(real, opened("same", *random_videos() // 2)) == []
    notes = check(real, mixed, 4)
    assert notes == ["1 of 3 generated videos, shorter than 4 frames, left out."]
    (note,) = check(real, open_video_set(as_npy(tmp_path, random_videos()[..., 0])))
    assert note.startswith("generated videos: ") and "grey" in note
    assert check(real, real) == ["The real and the generated videos are the same."]
    with pytest.raises(UserError, match=r"real .*8x6 pixels and .*mixed.* 8x7 pixels"):
        check(real, opened("wide mixed", *random_videos(1, 5, 7)))
    with pytest.raises(UserError, match=r"generated videos in .*clips of 6 .*longest video has 5"):
        check(opened("long", *random_videos(2, 6)), mixed, 6)
