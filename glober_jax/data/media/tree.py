"""Finds the videos in a folder tree: video files, and folders that directly hold frames.

Layout, every part but the media optional and any depth of folders allowed in between:

    <root>/[train | test]/[class]/.../video.mp4
    <root>/[train | test]/[class]/.../frames/0001.jpg, 0002.jpg, ...

Names that start with a dot are left out, as are files that are neither video nor image.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from glober_jax.errors import UserError

VIDEO_SUFFIXES = frozenset((".mp4", ".avi", ".mov", ".mkv", ".webm", ".gif"))
IMAGE_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".webp", ".bmp"))
SPLIT_FOLDERS = {
    "train": "train",
    "sky_train": "train",
    "test": "test",
    "sky_test": "test",
    "val": "test",
}


@dataclass(frozen=True)
class MediaItem:
    """One video as it lies on disk.

    Attributes:
      video_id: path relative to the root, with forward slashes; always valid UTF-8.
      files: the video file alone, or the image files in frame order.
      is_images: whether `files` are images.
      split: "train" or "test" by its top folder, or None.
      class_name: the first folder below the split's, or None where the video lies in none.
      caption: what the video shows, "" where nobody said or asked.
      group: videos of one group are never divided between train and test; "" stands alone.
    """

    video_id: str
    files: tuple[Path, ...]
    is_images: bool
    split: str | None
    class_name: str | None
    caption: str = ""
    group: str = ""

    def num_bytes(self) -> int:
        """Size on disk; files that cannot be examined count as empty."""
        return sum(_file_size(path) for path in self.files)

    def stamp(self) -> int:
        """When its files last changed, in nanoseconds; a file that is not there is no change."""
        return max((path.stat().st_mtime_ns for path in self.files if path.exists()), default=0)


@dataclass(frozen=True)
class Rejection:
    """An input that does not become part of the dataset, and why."""

    video_id: str
    reason: str


@dataclass(frozen=True)
class Listing:
    """What a dataset's folder holds, before anything is decoded.

    Attributes:
      items: what to decode, in the order of the records.
      rejections: what is left out by its place or name.
      class_names: the classes that labels index; None for those of the usable items, sorted.
    """

    items: tuple[MediaItem, ...]
    rejections: tuple[Rejection, ...] = ()
    class_names: tuple[str, ...] | None = ()

    def stamp(self) -> str:
        """16 hex digits that change with the items, or with any of their files' size or time."""
        facts = [(item.video_id, item.num_bytes(), item.stamp()) for item in self.items]
        return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def find_media(root: Path) -> tuple[list[MediaItem], list[Rejection]]:
    """Lists the media below `root` in natural order, and the folders that could not be read.

    Raises:
      UserError: `root` is not a readable folder.
    """
    if not root.is_dir():
        raise UserError(f"--input={root} is not a folder: give the folder that holds your videos")
    rejections: list[Rejection] = []
    items = sorted(_walk(root, rejections), key=lambda item: natural_key(item.video_id))
    return items, rejections


def natural_key(name: str) -> tuple[list[tuple[bool, int, str]], str]:
    """Sort key that orders numbers inside names by value: clip2 before clip10."""
    parts = re.findall(r"\d+|\D+", name)
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts], name


def _frame_key(path: Path) -> tuple[int, str]:
    """Orders frames by the last number in their names, as cameras and ffmpeg number them."""
    numbers = re.findall(r"\d+", path.stem)
    return (int(numbers[-1]) if numbers else -1), path.name


def _walk(root: Path, rejections: list[Rejection]) -> Iterator[MediaItem]:
    def unreadable(error: OSError) -> None:
        rejections.append(
            Rejection(_relative(Path(error.filename), root), f"cannot be read: {error.strerror}")
        )

    visited = set()
    for folder, subfolders, names in os.walk(root, onerror=unreadable, followlinks=True):
        # Links to folders are followed, but a link to a parent must not be followed for ever.
        real = os.path.realpath(folder)
        if real in visited:
            subfolders.clear()
            continue
        visited.add(real)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        paths = [Path(folder, name) for name in sorted(names) if not name.startswith(".")]
        for path in paths:
            if path.suffix.lower() in VIDEO_SUFFIXES:
                yield _item(path, (path,), root, is_images=False)
        images = [path for path in paths if path.suffix.lower() in IMAGE_SUFFIXES]
        if images:
            yield _item(Path(folder), tuple(sorted(images, key=_frame_key)), root, is_images=True)


def _item(place: Path, files: tuple[Path, ...], root: Path, *, is_images: bool) -> MediaItem:
    video_id = _relative(place, root)
    folders = video_id.split("/")[:-1]
    split = SPLIT_FOLDERS.get(folders[0].lower()) if folders else None
    # A folder of frames may itself be the split folder: train/0001.jpg.
    if is_images and not folders:
        split = SPLIT_FOLDERS.get(video_id.lower())
    below_split = folders[1:] if split else folders
    return MediaItem(video_id, files, is_images, split, below_split[0] if below_split else None)


def _relative(path: Path, root: Path) -> str:
    # The name may hold bytes that are not UTF-8, which no dataset could store.
    name = os.fsencode(path.relative_to(root).as_posix())
    return name.decode("utf-8", errors="backslashreplace")


def _file_size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
