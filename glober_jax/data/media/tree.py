"""Finds the videos in a folder tree: video files, and folders that directly hold frames.

Layout, every part but the media optional and any depth of folders allowed in between:

    <root>/[train | test]/[class]/.../video.mp4
    <root>/[train | test]/[class]/.../frames/0001.jpg, 0002.jpg, ...

`<root>` may also be a .zip archive of such a tree. Images beside a video are no frames. Left out
are files that are neither video nor image, and what systems leave behind: names that start with a
dot, and the folders in `LITTER`.
"""

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path, PurePosixPath

from glober_jax.data.media.archive import file_size, list_members
from glober_jax.data.media.kinds import kind_of
from glober_jax.data.media.order import natural_key, order_frames, video_prefixes
from glober_jax.errors import UserError

SPLIT_FOLDERS = {
    "train": "train",
    "sky_train": "train",
    "test": "test",
    "sky_test": "test",
    "val": "test",
    "valid": "test",
    "validation": "test",
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
    def place(self) -> str:
        """The id without a file's suffix."""
        return self.video_id if self.is_images else os.path.splitext(self.video_id)[0]

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


def find_media(
    root: Path, *, skip: Collection[str] = (), split_at_prefixes: bool = False
) -> Listing:
    """Lists the media below `root` in natural order.

    Args:
      root: a folder or a .zip file.
      skip: names of folders to leave out.
      split_at_prefixes: whether frames in one folder whose names differ before the frame's number
        are different videos.

    Returns:
      The media without classes; rejected are empty and unreadable folders, images beside a video,
      and media of formats that are not read.

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
    items, doubts = [], []
    for place, has_folders, names in places:
        if place and not has_folders and not names:
            rejections.append(Rejection(_storable(place), "is empty: holds no frames, no video"))
        for video_id, files, is_images in _videos(place, names, split_at_prefixes, rejections):
            if is_images:
                files, doubt = order_frames(files)
                doubts += [f"as in {video_id}, where {doubt}"] if doubt else []
            folder = Path(place) if archive else root / place
            paths = tuple(folder / name for name in files)
            items.append(_item(_storable(video_id), paths, is_images, archive))
    items.sort(key=lambda item: natural_key(item.place))
    distinct = []
    for _, (first, *others) in groupby(items, key=lambda item: item.video_id):
        distinct.append(first)
        rejections.extend(Rejection(other.video_id, "has the name of another") for other in others)
    notices = ()
    if doubts:
        notices = (
            f"names of frames allow two orders (videos: {len(doubts):,}), {doubts[0]}; all numbers "
            "of a name count, from left to right: rename the files where that is wrong",
        )
    return Listing(tuple(distinct), tuple(rejections), notices=notices)


def find_videos(
    root: Path, expected: str, *, skip: Collection[str] = (), split_at_prefixes: bool = False
) -> Listing:
    """`find_media` for videos without classes, whose split folders may lie at any depth.

    Raises:
      UserError: there are none, where the `expected` layout has some.
    """
    found = find_media(root, skip=skip, split_at_prefixes=split_at_prefixes)
    if not found.items:
        raise UserError(f"--input={root} holds no videos: expected {expected}")
    items = [replace(item, split=_split(item), class_name=None) for item in found.items]
    return replace(found, items=tuple(items))


def inside_splits(listing: Listing) -> Listing:
    """The listing where there is no test split, else with what lies in no split rejected."""
    test = next((item for item in listing.items if item.split == "test"), None)
    inside = tuple(item for item in listing.items if item.split is not None)
    if test is None or len(inside) == len(listing.items):
        return listing
    reason = "lies outside the train and test folders"
    if all(item.split == "test" for item in inside):
        folders = PurePosixPath(test.video_id).parts
        held_out = next(name for name in folders if SPLIT_FOLDERS.get(name.lower()) == "test")
        reason += (
            f", as {held_out} is taken for the test split: put what is to be trained on into a "
            f"folder train beside it, or rename {held_out}"
        )
    outside = tuple(Rejection(i.video_id, reason) for i in listing.items if i.split is None)
    return replace(listing, items=inside, rejections=listing.rejections + outside)


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


def _videos(
    place: str, names: Iterable[str], split_at_prefixes: bool, rejections: list[Rejection]
) -> Iterator[tuple[str, Sequence[str], bool]]:
    """Id, files, and whether those are images, of the videos that files of one folder make."""
    kinds: dict[str, list[str]] = {"video": [], "image": [], "unread": [], "other": []}
    for name in names:
        kinds[kind_of(name)].append(name)

    def id_of(name: str) -> str:
        return "/".join(part for part in (place, name) if part)

    def reject(names: Iterable[str], reason: str) -> None:
        rejections.extend(
            Rejection(_storable(id_of(name)), reason) for name in sorted(names, key=natural_key)
        )

    reject(kinds["unread"], "is of a format that is not read: convert it to MP4, or PNG for frames")
    for name in kinds["video"]:
        yield id_of(name), [name], False
    if kinds["video"]:
        reject(kinds["image"], "is an image beside a video: frames need a folder of their own")
        return
    prefixes = video_prefixes(kinds["image"]) if split_at_prefixes else {}
    frames: dict[str, list[str]] = {}
    for name in kinds["image"]:
        frames.setdefault(prefixes.get(name, ""), []).append(name)
    for prefix, files in frames.items():
        yield id_of("" if len(frames) == 1 else prefix) or ".", files, True


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


def _storable(name: str) -> str:
    # The name may hold bytes that are not UTF-8, which no dataset could store.
    return os.fsencode(name).decode("utf-8", errors="backslashreplace")


def _size(archive: Path | None, path: Path) -> int:
    try:
        return file_size(archive, path)
    except OSError:
        return 0
