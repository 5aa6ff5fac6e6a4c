"""UCF-101, in the layouts of docs/data.md, with the official lists of its three splits.

    classInd.txt        1 ApplyEyeMakeup
    trainlist01.txt     ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1
    testlist01.txt      ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi

A video's class and group, one of 25 of one scene and actor, are taken from its name.

Source: https://www.crcv.ucf.edu/data/UCF101.php.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from etils import epath

from glober_jax.data.datasets.media_folders import MediaOptions
from glober_jax.data.files import data_path
from glober_jax.data.media.tree import Listing, MediaItem, Rejection, find_videos, inside_splits
from glober_jax.errors import UserError

_VIDEO = re.compile(r"v_(?P<class_name>.+)_g(?P<group>\d+)_c\d+", re.IGNORECASE)
# Spelt in two ways in the official files; this one is classInd.txt's.
_CLASS_SPELLING = {"handstandpushups": "HandstandPushups"}
_CLASSES = "classInd.txt"


@dataclass(frozen=True, kw_only=True)
class Ucf101Options(MediaOptions):
    """See `MediaOptions`; without `lists` these are looked for in the input and beside it."""

    size: int = 256
    lists: str | None = None
    split: int = 1

    def __post_init__(self) -> None:
        MediaOptions.__post_init__(self)
        if self.split not in (1, 2, 3):
            raise UserError(f"--split must be 1, 2 or 3, not {self.split}")

    @property
    def list_files(self) -> tuple[str, str]:
        """Names of the lists of videos to train on and to test on."""
        return f"trainlist{self.split:02d}.txt", f"testlist{self.split:02d}.txt"


def list_ucf101(options: Ucf101Options) -> Listing:
    """The videos with class, split and group.

    Raises UserError where there are none, or the lists are missing, damaged or name none of them.
    """
    found = find_videos(options.input, "files or folders like v_Archery_g01_c01.avi")
    items, misnamed = _classified(found.items)
    if not items:
        wanted = f"v_Archery_g01_c01.avi, unlike {found.items[0].video_id}"
        raise UserError(
            f"--input={options.input} holds no videos of UCF-101, which are called like {wanted}"
        )
    folder = _find_lists(options)
    listing = _by_lists(items, folder, options) if folder else _by_folders(items, options)
    return replace(
        listing,
        rejections=(*found.rejections, *misnamed, *listing.rejections),
        notices=found.notices + listing.notices,
    )


def _classified(items: Sequence[MediaItem]) -> tuple[list[MediaItem], list[Rejection]]:
    """Class and group by each video's name; rejects other names, and a name's second video."""
    accepted: dict[str, MediaItem] = {}
    rejections = []
    for item in items:
        match, key = _VIDEO.fullmatch(item.name), item.name.lower()
        if match is None:
            rejections.append(Rejection(item.video_id, "is not named like v_Archery_g01_c01"))
        elif key in accepted:
            reason = f"has the name of {accepted[key].video_id}"
            rejections.append(Rejection(item.video_id, reason))
        else:
            class_name = _CLASS_SPELLING.get(match["class_name"].lower(), match["class_name"])
            group = f"{class_name}_g{match['group']}"
            accepted[key] = replace(item, class_name=class_name, group=group)
    return list(accepted.values()), rejections


def _find_lists(options: Ucf101Options) -> epath.Path | None:
    """The folder of the official lists; None where there is none and none was asked for."""
    root = data_path(options.input)
    places = [data_path(options.lists)] if options.lists else [root, root.parent]
    below = (".", "ucfTrainTestlist", "UCF101TrainTestSplits-RecognitionTask/ucfTrainTestlist")
    train, _ = options.list_files
    for folder in (place / name for place in places for name in below):
        if (folder / train).is_file():
            return folder
    if options.lists:
        advice = "give the folder with the official lists, ucfTrainTestlist"
        raise UserError(f"--lists={options.lists} holds no {train}: {advice}")
    return None


def _by_folders(items: Sequence[MediaItem], options: Ucf101Options) -> Listing:
    inside = inside_splits(Listing(items))
    by_folder = any(item.split == "test" for item in items)
    how = "the input's folders" if by_folder else "groups, of which some are held out"
    notice = (
        f"no {options.list_files[0]} in --input or beside it, and no --lists=DIR: train and test "
        f"are not the official split, but by {how}"
    )
    class_names = tuple(sorted({item.class_name for item in inside.items}))
    return replace(inside, class_names=class_names, notices=(notice,))


def _by_lists(items: Sequence[MediaItem], folder: epath.Path, options: Ucf101Options) -> Listing:
    """Split and class as the lists in `folder` say; rejects what they do not name."""
    classes = {int(number): name for number, name in _lines(folder / _CLASSES, r"\d+ \S+")}
    if sorted(classes) != list(range(1, len(classes) + 1)):
        raise UserError(f"{folder / _CLASSES} does not number its classes 1, 2, 3, ...")
    splits = {
        PurePosixPath(video).stem.lower(): split
        for split, name in zip(("train", "test"), options.list_files, strict=True)
        for video, *_ in _lines(folder / name, r"\S+( \d+)?")
    }
    class_names = tuple(classes[number] for number in sorted(classes))
    spelling = {name.lower(): name for name in class_names}
    train, test = options.list_files
    accepted, rejections = [], []
    for item in items:
        split = splits.get(item.name.lower())
        class_name = spelling.get(item.class_name.lower())
        if split is None:
            reason = f"is named neither in {train} nor in {test}"
            rejections.append(Rejection(item.video_id, reason))
        elif class_name is None:
            reason = f"its class {item.class_name} is not in {_CLASSES}"
            rejections.append(Rejection(item.video_id, reason))
        else:
            accepted.append(replace(item, split=split, class_name=class_name))
    if not accepted:
        raise UserError(
            f"{train} and {test} in {folder} name none of the videos in --input={options.input}: "
            f"{rejections[0].video_id} {rejections[0].reason}"
        )
    notices = [f"train and test as {train} and {test} in {folder} say"]
    if absent := len(splits) - len(accepted):
        notices.append(f"{absent:,} of the {len(splits):,} videos they name are not there")
    return Listing(accepted, tuple(rejections), class_names, tuple(notices))


def _lines(file: epath.Path, form: str) -> Iterator[list[str]]:
    """The words of each line that is not empty."""
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        lists = f"the lists of UCF-101 are {_CLASSES}, trainlist and testlist, all in one folder"
        raise UserError(f"{file} cannot be read: {reason}; {lists}") from error
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        if words and not re.fullmatch(form, " ".join(words)):
            raise UserError(f"{file}, line {number}, is no line of UCF-101's lists: {line.strip()}")
        if words:
            yield words
