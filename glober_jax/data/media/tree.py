"""Finds the videos in a folder tree: video files, and folders that directly hold frames.

    <root>/[train | test]/[class]/.../video.mp4
    <root>/[train | test]/[class]/.../frames/0001.jpg, 0002.jpg, ...

Other files, names that start with a dot, and those in `_LITTER` are ignored.
"""

import contextlib
import mimetypes
import os
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Any, Literal, NamedTuple, Self

from etils import epath

from glober_jax.data.files import size_and_version, walk
from glober_jax.errors import UserError

SPLIT_FOLDERS = {
    **dict.fromkeys(("train", "sky_train"), "train"),
    **dict.fromkeys(("test", "sky_test", "val", "valid", "validation"), "test"),
}
# "1.2.10" is no decimal number, but three whole ones.
_DECIMAL = re.compile(r"((?<!\d\.)(?<!\d)\d+\.\d+(?!\.?\d)|\d+)")
_WHOLE = re.compile(r"(\d+)")
_LITTER = frozenset(("__MACOSX", "@eaDir", "Thumbs.db", "desktop.ini"))


def _suffixes(names: str) -> frozenset[str]:
    return frozenset(f".{name}" for name in names.split())


VIDEO_SUFFIXES = _suffixes(
    "3g2 3gp amv asf avi divx dv f4v flv gif h264 h265 hevc ivf m1v m2ts m2v m4v mjpeg mjpg mkv "
    "mov mp4 mpe mpeg mpg mts mxf nut ogm ogv qt rm rmvb ts vob webm wmv y4m"
)
_IMAGE_SUFFIXES = _suffixes(
    "avif bmp dib j2k jfif jp2 jpe jpeg jpg jpx pbm pgm png pnm ppm sgi tga tif tiff webp"
)
# Beside what Python knows as pictures: raw files of cameras and studios.
_UNREAD_SUFFIXES = _suffixes(
    "arw braw cr2 cr3 dng dpx exr hdr heic heif jxl nef orf psd r3d raf raw rw2 swf svg"
)


@dataclass(frozen=True, slots=True)
class MediaItem:
    """One video as it lies on disk.

    Attributes:
      video_id: path relative to the root, with forward slashes; always valid UTF-8.
      files: the video file alone, or the image files in frame order.
      is_images: whether `files` are images.
      split: "train" or "test" by its top folder, or None.
      class_name: the first folder below the split's, or None where the video lies in none.
      caption: text that describes the video, "" without.
      group: of videos that belong into one split, such as scenes of one film; "" for none.
    """

    video_id: str
    files: tuple[epath.PathLike, ...]
    is_images: bool
    split: str | None = None
    class_name: str | None = None
    caption: str = ""
    group: str = ""

    @property
    def place(self) -> str:
        """The id without a file's suffix."""
        return self.video_id if self.is_images else os.path.splitext(self.video_id)[0]

    @property
    def name(self) -> str:
        """The last part of the id, without a file's suffix."""
        return PurePosixPath(self.place).name

    @property
    def folders(self) -> tuple[str, ...]:
        """Names of the folders between the root and the video, outermost first."""
        return PurePosixPath(self.video_id).parts[:-1]

    def stat(self) -> tuple[int, object]:
        """Bytes of the files that are there, or a decoding cost like them, and their versions."""
        found = []
        for path in self.files:
            with contextlib.suppress(OSError):
                found.append(size_and_version(path))
        return sum(num_bytes for num_bytes, _ in found), tuple(version for _, version in found)


class Rejection(NamedTuple):
    """An input that does not become part of the dataset, and why."""

    video_id: str
    reason: str


@dataclass(frozen=True)
class Listing:
    """The inputs of a dataset, before anything is decoded.

    `items` are to be decoded, in the order of the records, `rejections` are left out by their place
    or name, and `notices` are sentences on how the folder was understood.
    """

    items: Sequence[MediaItem]
    rejections: tuple[Rejection, ...] = ()
    class_names: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()

    def keep(self, wanted: Callable[[MediaItem], bool], reason: str) -> Self:
        """The listing with the items that are not `wanted` rejected."""
        items = [item for item in self.items if wanted(item)]
        left_out = [Rejection(i.video_id, reason) for i in self.items if not wanted(i)]
        return replace(self, items=items, rejections=(*self.rejections, *left_out))


def kind_of(name: str) -> Literal["video", "image", "unread", "other"]:
    """The kind of a file by its name; "unread" is a picture or video in an unread format."""
    suffix = os.path.splitext(name)[1].lower()
    if suffix in VIDEO_SUFFIXES:
        return "video"
    if suffix in _IMAGE_SUFFIXES:
        return "image"
    is_media = mimetypes.types_map.get(suffix, "").startswith(("image/", "video/"))
    return "unread" if is_media or suffix in _UNREAD_SUFFIXES else "other"


def find_media(
    root: epath.PathLike, *, skip: Collection[str] = (), split_at_prefixes: bool = False
) -> Listing:
    """Lists the media below a folder in natural order; raises UserError where it is none.

    Rejected are empty and unreadable folders, images beside a video, and formats that are not read.
    Folders whose names are in `skip` are left out. With `split_at_prefixes`, frames in one folder
    whose names differ before the frame's number are different videos.
    """
    root = epath.Path(root)
    if not root.is_dir():
        advice = "give the folder that holds your videos (of an archive, unpack it first)"
        raise UserError(f"--input={root} is not a folder: {advice}")
    items: list[MediaItem] = []
    rejections: list[Rejection] = []
    doubts: list[str] = []

    def id_of(path: epath.Path) -> str:
        # No dataset could store bytes that are not UTF-8.
        name = os.fsencode(path.relative_to(root).as_posix())
        return name.decode("utf-8", errors="backslashreplace")

    def reject(reason: str, *paths: epath.Path) -> None:
        rejections.extend(Rejection(id_of(path), reason) for path in paths)

    for folder, has_folders, names in _folders(root, _LITTER | set(skip), reject):
        files: dict[str, list[epath.Path]] = {"video": [], "image": [], "unread": [], "other": []}
        for name in sorted(names, key=natural_key):
            files[kind_of(name)].append(folder / name)
        if not has_folders and not names and folder != root:
            reject("is empty: holds no frames, no video", folder)
        unread = "is of a format that is not read: convert it to MP4, or PNG for frames"
        reject(unread, *files["unread"])
        items += [_item(id_of(path), (path,), False) for path in files["video"]]
        if files["video"]:
            beside = "is an image beside a video: frames need a folder of their own"
            reject(beside, *files["image"])
            continue
        images = [path.name for path in files["image"]]
        for prefix, frames in _frame_sets(images, split_at_prefixes).items():
            ordered, doubt = order_frames(frames)
            paths = tuple(folder / name for name in ordered)
            items.append(_item(id_of(folder / prefix), paths, True))
            doubts += [f"as in {items[-1].video_id}, where {doubt}"] if doubt else []
    notices = [
        f"names of frames allow two orders (videos: {len(doubts):,}), {doubt}; all numbers of a "
        "name count, from left to right: rename the files where that is wrong"
        for doubt in doubts[:1]
    ]
    items.sort(key=lambda item: natural_key(item.place))
    return Listing(items, tuple(rejections), notices=tuple(notices))


def find_videos(root: epath.PathLike, expected: str, **options: Any) -> Listing:
    """`find_media`, with its options, for videos without classes, with split folders at any depth.

    Raises UserError, with the `expected` layout, where there are none.
    """
    found = find_media(root, **options)
    if not found.items:
        raise UserError(f"--input={root} holds no videos: expected {expected}")
    items = []
    for item in found.items:
        # The outermost split folder decides.
        splits = (SPLIT_FOLDERS.get(folder.lower()) for folder in item.folders)
        split = next(filter(None, splits), item.split)
        items.append(replace(item, split=split, class_name=None))
    return replace(found, items=items)


def inside_splits(listing: Listing) -> Listing:
    """The listing where there is no test split, else with what lies in no split rejected."""
    test = next((item for item in listing.items if item.split == "test"), None)
    if test is None:
        return listing
    reason = "lies outside the train and test folders"
    if all(item.split != "train" for item in listing.items):
        folders = PurePosixPath(test.video_id).parts
        held_out = next(name for name in folders if SPLIT_FOLDERS.get(name.lower()) == "test")
        reason += (
            f", as {held_out} is taken for the test split: put what is to be trained on into a "
            f"folder train beside it, or rename {held_out}"
        )
    return listing.keep(lambda item: item.split is not None, reason)


def _folders(
    root: epath.Path, left_out: Collection[str], reject: Callable[..., None]
) -> Iterator[tuple[epath.Path, bool, list[str]]]:
    """Every folder, whether it has subfolders, and the names of its files."""

    def unreadable(error: OSError) -> None:
        reject(f"cannot be read: {error.strerror}", epath.Path(error.filename or root))

    def kept(names: Sequence[str]) -> list[str]:
        return [name for name in names if not name.startswith(".") and name not in left_out]

    visited = set()
    for folder, subfolders, names in walk(root, unreadable):
        # A link to a parent must not be followed for ever.
        if (real := os.path.realpath(folder)) in visited:
            subfolders.clear()
            continue
        visited.add(real)
        subfolders[:] = sorted(kept(subfolders))
        yield folder, bool(subfolders), kept(names)


def _frame_sets(images: Sequence[str], split_at_prefixes: bool) -> dict[str, list[str]]:
    """The images of each video in a folder, by what precedes the frame's number in their names."""
    prefixes = video_prefixes(images) if split_at_prefixes else {}
    frames: dict[str, list[str]] = defaultdict(list)
    for name in images:
        frames[prefixes.get(name, "")].append(name)
    return frames if len(frames) != 1 else {"": list(images)}


def _item(video_id: str, files: tuple[epath.Path, ...], is_images: bool) -> MediaItem:
    folders = video_id.split("/")[:-1]
    split = SPLIT_FOLDERS.get(folders[0].lower()) if folders else None
    # A folder of frames may itself be the split folder: train/0001.jpg.
    if is_images and not folders:
        split = SPLIT_FOLDERS.get(video_id.lower())
    below_split = folders[1:] if split else folders
    return MediaItem(video_id, files, is_images, split, below_split[0] if below_split else None)


def natural_key(name: str) -> tuple:
    """Sort key: texts compare as texts, numbers and decimals by value."""
    return _parts(name, _DECIMAL), name


def order_frames(names: Iterable[str]) -> tuple[list[str], str]:
    """Sorts the files of one video's frames naturally, by all that their names hold but the suffix.

    A dot between digits is a decimal point unless that makes two names equal, as 0.1 and 0.10.
    Also returns what another order would change, "" where nothing suggests one.
    """
    stems = {name: os.path.splitext(name)[0].casefold() for name in names}
    decimal, whole = (
        {name: (_parts(stem, number), name) for name, stem in stems.items()}
        for number in (_DECIMAL, _WHOLE)
    )
    unequal = len({parts for parts, _ in decimal.values()}) == len(stems)
    chosen = sorted(stems, key=(decimal if unequal else whole).__getitem__)
    others = {"decimals": decimal, "whole numbers after a dot": whole, **_counters(stems)}
    if len({len(stem) for stem in stems.values()}) == 1:
        others["the alphabet"] = stems
    for reading, keys in others.items():
        for mine, its in zip(chosen, sorted(stems, key=keys.__getitem__), strict=True):
            if mine != its:
                return chosen, f"{reading} would put {its} before {mine}"
    return chosen, ""


def video_prefixes(names: Iterable[str]) -> dict[str, str]:
    """What each name says before its frame's number: `sky_1` of `sky_1_frames_00000012.jpg`.

    The frame's number is the last one that differs between names of the same texts.
    """
    alike: dict[tuple, dict[str, list[str]]] = defaultdict(dict)
    for name in names:
        parts = _DECIMAL.split(os.path.splitext(name)[0])
        alike[tuple(parts[::2])][name] = parts
    prefixes = {}
    for group in alike.values():
        columns = list(zip(*(parts[1::2] for parts in group.values()), strict=True))
        varying = [place for place, values in enumerate(columns) if len(set(values)) > 1]
        last = varying[-1] if varying else len(columns) - 1
        for name, parts in group.items():
            before = "".join(parts[: 2 * last + 1] if columns else parts)
            prefixes[name] = re.sub(r"[-_. ]*(frames?)?[-_. ]*$", "", before, flags=re.IGNORECASE)
    return prefixes


def _parts(name: str, number: re.Pattern) -> tuple[tuple[bool, str | int | Fraction], ...]:
    """Texts and numbers in turn; the first of each pair says which a part is."""
    # Fractions are exact: a time in nanoseconds has more digits than a float.
    return tuple(
        (True, Fraction(part) if "." in part else int(part)) if place % 2 else (False, part)
        for place, part in enumerate(number.split(name))
        if part
    )


def _counters(stems: Mapping[str, str]) -> dict[str, dict[str, int]]:
    """The numbers at one place of all names, where they count in equal steps."""
    rows = [[int(number) for number in _WHOLE.findall(stem)] for stem in stems.values()]
    if len({len(row) for row in rows}) != 1:
        return {}
    counters = {}
    for place, column in enumerate(zip(*rows, strict=True), start=1):
        steps = {after - before for before, after in pairwise(sorted(column))}
        if len(steps) == 1 and 0 not in steps:
            counters[f"number {place} alone"] = dict(zip(stems, column, strict=True))
    return counters
