"""Finds the videos in a folder tree: video files, and folders that directly hold frames.

Layout, every part but the media optional and any depth of folders allowed in between:

    <root>/[train | test]/[class]/.../video.mp4
    <root>/[train | test]/[class]/.../frames/0001.jpg, 0002.jpg, ...

`<root>` may also be a .zip archive of such a tree. Left out are files that are neither video nor
image, and what systems leave behind: names that start with a dot, and the folders in `LITTER`.
"""

import hashlib
import os
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path, PurePosixPath

from glober_jax.data.media.archive import file_size, list_members
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
LITTER = frozenset(("__MACOSX", "@eaDir", "Thumbs.db", "desktop.ini"))


@dataclass(frozen=True, slots=True)
class Record:
    """Where a video lies in a file of many.

    Attributes:
      position: its first byte in a TFRecord file, its number in an ArrayRecord file.
      num_bytes: its size.
    """

    position: int
    num_bytes: int


@dataclass(frozen=True, slots=True)
class MediaItem:
    """One video as it lies on disk.

    Attributes:
      video_id: path relative to the root, with forward slashes; always valid UTF-8.
      files: the video file alone, or the image files in frame order, or the file of `record`.
      is_images: whether `files` are images.
      split: "train" or "test" by its top folder, or None.
      class_name: the first folder below the split's, or None where the video lies in none.
      caption: what the video shows, "" where nobody said or asked.
      group: videos of one group, such as scenes of one film, must not be divided between train and
        test; "" for a video that stands alone.
      archive: the .zip file that `files` are members of; None for files of their own.
      record: where the video lies in `files[0]`, a file of records; None for files of media.
    """

    video_id: str
    files: tuple[Path, ...]
    is_images: bool
    split: str | None
    class_name: str | None
    caption: str = ""
    group: str = ""
    archive: Path | None = None
    record: Record | None = None

    @property
    def name(self) -> str:
        """What the video is called: the last part of its id, without a file's suffix."""
        path = PurePosixPath(self.video_id)
        return path.name if self.is_images else path.stem

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders between the root and the video, outermost first."""
        return PurePosixPath(self.video_id).parts[:-1]

    def num_bytes(self) -> int:
        """Size of the media; files that cannot be examined count as empty."""
        if self.record is not None:
            return self.record.num_bytes
        return sum(_size(self.archive, path) for path in self.files)

    def stamp(self) -> int:
        """When its files last changed, in nanoseconds; a file that is not there is no change."""
        files = self.files if self.archive is None else (self.archive,)
        return max((path.stat().st_mtime_ns for path in files if path.exists()), default=0)


@dataclass(frozen=True)
class Rejection:
    """An input that does not become part of the dataset, and why."""

    video_id: str
    reason: str


@dataclass(frozen=True)
class Listing:
    """What a dataset's folder holds, before anything is decoded.

    Attributes:
      items: what to decode, in the order of the records; no two of one id.
      rejections: what is left out by its place or name.
      class_names: the classes that labels index; None for those of the usable items, sorted.
      notices: sentences on how the folder was understood, for people.
    """

    items: tuple[MediaItem, ...]
    rejections: tuple[Rejection, ...] = ()
    class_names: tuple[str, ...] | None = ()
    notices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len({item.video_id for item in self.items}) < len(self.items):
            raise ValueError("two videos of one id")

    def stamp(self) -> str:
        """16 hex digits that change with the items, or with any of their files' size or time."""
        facts = [(item.video_id, item.num_bytes(), item.stamp()) for item in self.items]
        return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def find_media(
    root: Path, *, skip: Collection[str] = (), split_at_prefixes: bool = False
) -> tuple[list[MediaItem], list[Rejection]]:
    """Lists the media below `root` in natural order, and what is rejected.

    Args:
      root: a folder or a .zip file.
      skip: names of folders to leave out.
      split_at_prefixes: whether frames in one folder whose names differ before the last number are
        different videos.

    Returns:
      The media, no two of one id; and folders that are empty or could not be read.

    Raises:
      UserError: `root` is neither a folder nor a readable archive.
    """
    rejections: list[Rejection] = []
    left_out = LITTER | set(skip)
    if root.is_dir():
        places, archive = _folders(root, left_out, rejections), None
    elif root.is_file() and root.suffix.lower() == ".zip":
        places, archive = _archived_folders(root, left_out), root
    else:
        raise UserError(f"--input={root} is not a folder: give the folder that holds your videos")
    items = []
    for place, has_folders, names in places:
        if place and not has_folders and not names:
            rejections.append(Rejection(_storable(place), "is empty: holds no frames, no video"))
        items.extend(_media_in(root, archive, place, sorted(names), split_at_prefixes))
    items.sort(key=lambda item: natural_key(item.video_id))
    distinct = []
    for _, (first, *others) in groupby(items, key=lambda item: item.video_id):
        distinct.append(first)
        rejections.extend(Rejection(other.video_id, "has the name of another") for other in others)
    return distinct, rejections


def find_videos(
    root: Path, expected: str, *, skip: Collection[str] = (), split_at_prefixes: bool = False
) -> tuple[list[MediaItem], list[Rejection]]:
    """`find_media` for videos without classes, whose split folders may lie at any depth.

    Raises:
      UserError: there are none, where the `expected` layout has some.
    """
    items, rejections = find_media(root, skip=skip, split_at_prefixes=split_at_prefixes)
    if not items:
        raise UserError(f"--input={root} holds no videos: expected {expected}")
    return [replace(item, split=_split(item), class_name=None) for item in items], rejections


def inside_splits(items: Iterable[MediaItem]) -> tuple[list[MediaItem], list[Rejection]]:
    """All items where there is no test split, else those of a split, and the rejected rest."""
    items = list(items)
    if not any(item.split == "test" for item in items):
        return items, []
    reason = "lies outside the train and test folders"
    rejected = [Rejection(item.video_id, reason) for item in items if item.split is None]
    return [item for item in items if item.split is not None], rejected


def natural_key(name: str) -> tuple[list[tuple[bool, int, str]], str]:
    """Sort key that orders numbers inside names by value: clip2 before clip10."""
    parts = re.findall(r"\d+|\D+", name)
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts], name


def _split(item: MediaItem) -> str | None:
    """What the outermost folder named like a split says, at any depth; None without one."""
    names = (folder.lower() for folder in item.folders)
    return next((SPLIT_FOLDERS[name] for name in names if name in SPLIT_FOLDERS), item.split)


# A folder by its path from the root, "" for the root; whether it has folders; its files' names.
_Place = tuple[str, bool, Sequence[str]]


def _folders(
    root: Path, left_out: Collection[str], rejections: list[Rejection]
) -> Iterator[_Place]:
    def place(folder: str) -> str:
        return Path(folder).relative_to(root).as_posix().removeprefix(".")

    def unreadable(error: OSError) -> None:
        name = _storable(place(error.filename))
        rejections.append(Rejection(name, f"cannot be read: {error.strerror}"))

    visited = set()
    for folder, subfolders, names in os.walk(root, onerror=unreadable, followlinks=True):
        # Links to folders are followed, but a link to a parent must not be followed for ever.
        real = os.path.realpath(folder)
        if real in visited:
            subfolders.clear()
            continue
        visited.add(real)
        subfolders[:] = sorted(name for name in subfolders if not _is_litter(name, left_out))
        yield place(folder), bool(subfolders), [n for n in names if not _is_litter(n, left_out)]


def _archived_folders(path: Path, left_out: Collection[str]) -> Iterator[_Place]:
    try:
        members = list_members(path)
    except OSError as error:
        raise UserError(f"--input={path} is not a readable .zip file: {error}") from error
    names: dict[str, list[str]] = {}
    for member in members:
        folder, _, name = member.rpartition("/")
        if any(_is_litter(part, left_out) for part in member.split("/")):
            continue
        names.setdefault(folder, []).extend([name] if name else [])
    parents = {str(parent) for folder in names for parent in PurePosixPath(folder).parents}
    for folder, found in names.items():
        yield folder, folder in parents, found


def _is_litter(name: str, left_out: Collection[str]) -> bool:
    return name.startswith(".") or name in left_out


def _media_in(
    root: Path, archive: Path | None, place: str, names: Sequence[str], split_at_prefixes: bool
) -> Iterator[MediaItem]:
    """The videos that files of one folder make."""
    folder = Path(place) if archive else root / place

    def item(video_id: str, names: Iterable[str], is_images: bool) -> MediaItem:
        files = tuple(folder / name for name in names)
        return _item(_storable(video_id), files, is_images, archive)

    images: dict[str, list[str]] = {}
    for name in names:
        suffix = os.path.splitext(name)[1].lower()
        if suffix in VIDEO_SUFFIXES:
            yield item(f"{place}/{name}" if place else name, [name], is_images=False)
        elif suffix in IMAGE_SUFFIXES:
            prefix = _prefix(name) if split_at_prefixes else ""
            images.setdefault(prefix, []).append(name)
    for prefix, frames in images.items():
        frames.sort(key=_frame_key)
        alone = len(images) == 1 or not prefix
        parts = [part for part in (place, "" if alone else prefix) if part]
        yield item("/".join(parts) or ".", frames, is_images=True)


def _item(
    video_id: str, files: tuple[Path, ...], is_images: bool, archive: Path | None
) -> MediaItem:
    folders = video_id.split("/")[:-1]
    split = SPLIT_FOLDERS.get(folders[0].lower()) if folders else None
    # A folder of frames may itself be the split folder: train/0001.jpg.
    if is_images and not folders:
        split = SPLIT_FOLDERS.get(video_id.lower())
    below_split = folders[1:] if split else folders
    class_name = below_split[0] if below_split else None
    return MediaItem(video_id, files, is_images, split, class_name, archive=archive)


def _frame_key(name: str) -> tuple[int, str]:
    """Orders frames by the last number in their names, as cameras and ffmpeg number them."""
    numbers = re.findall(r"\d+", os.path.splitext(name)[0])
    return (int(numbers[-1]) if numbers else -1), name


def _prefix(name: str) -> str:
    """What stands before the number of a frame: `sky_1` of `sky_1_frames_00000012.jpg`."""
    stem = os.path.splitext(name)[0]
    before = re.sub(r"\d+\D*$", "", stem)
    return re.sub(r"[-_. ]*(frames?)?[-_. ]*$", "", before, flags=re.IGNORECASE)


def _storable(name: str) -> str:
    # The name may hold bytes that are not UTF-8, which no dataset could store.
    return os.fsencode(name).decode("utf-8", errors="backslashreplace")


def _size(archive: Path | None, path: Path) -> int:
    try:
        return file_size(archive, path)
    except OSError:
        return 0
