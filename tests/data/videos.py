"""Real, tiny videos whose frames say their number, and what datasets make of them."""

from collections.abc import Callable, Sequence
from pathlib import Path

import av
import numpy as np
from PIL import Image

from glober_jax.data.source import StoredVideo, open_videos

STEP = 5  # grey levels from one frame to the next


def grey(frame: int, width: int = 48, height: int = 32) -> np.ndarray:
    """A frame that says its number in grey, with black bars that a centre crop removes."""
    picture = np.full((height, width, 3), 20 + STEP * frame, np.uint8)
    picture[:, : (width - height) // 2] = 0
    picture[:, (width + height) // 2 :] = 0
    return picture


def write_video(path: Path, num_frames: int, fps: int = 10, codec: str = "mpeg4") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="mpegts" if path.suffix == ".TS" else None) as container:
        stream = container.add_stream(codec, rate=fps)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        stream.bit_rate = 4_000_000
        for i in range(num_frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey(i), format="rgb24")))
        container.mux(stream.encode())


def write_frames(folder: Path, count: int, name: Callable[[int], str] = "{}.png".format) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        Image.fromarray(grey(i)).save(folder / name(i))


def write_pictures(folder: Path, frames: Sequence[np.ndarray]) -> None:
    """A folder of frames 00.png, 01.png, ..."""
    folder.mkdir(parents=True)
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{number:02d}.png", compress_level=1)


def stored_videos(folder: Path) -> dict[str, StoredVideo]:
    """All videos of both splits of a dataset by their ids."""
    splits = [open_videos(folder, split) for split in ("train", "test")]
    return {video.video_id: video for s in splits for video in map(s.__getitem__, range(len(s)))}


def written(folder: Path) -> dict[str, bytes]:
    """The shards and the metadata of a dataset."""
    return {path.name: path.read_bytes() for path in folder.glob("*/*/*")}


def write_ruins(folder: Path) -> dict[str, str]:
    """All ways to be useless: files and folders, each with a part of the reason."""
    write_video(folder / "cut.mp4", 40)
    (folder / "cut.mp4").write_bytes((folder / "cut.mp4").read_bytes()[:2000])
    (folder / "empty.mp4").touch()
    (folder / "garbage.mov").write_bytes(np.random.default_rng(0).bytes(5000))
    (folder / "gone.mp4").symlink_to(folder / "nowhere.mp4")
    write_video(folder / "short.webm", 15, codec="libvpx")
    write_frames(folder / "thumbnails", 3, "{}.jpg".format)
    return {
        "cut.mp4": "not a readable video",
        "empty.mp4": "the file is empty",
        "garbage.mov": "not a readable video",
        "gone.mp4": "No such file",
        "short.webm": "has 15 usable frames, fewer than --min_frames=16",
        "thumbnails": "has 3 usable frames",
    }


def touch(root: Path, *files: str) -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return root
