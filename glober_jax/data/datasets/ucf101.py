"""UCF-101: AVI files or folders of frames, with the official lists of its three splits.

    UCF-101/<Class>/v_<Class>_g01_c01.avi       or all in one folder, at any depth
    train/v_<Class>_g01_c01/*.jpg               folders train and test count without lists
    ucfTrainTestlist/{classInd,trainlist01,testlist01}.txt      in the input or beside it

A video's class and group are taken from its name. Groups are videos of one scene and actor, 25 for
each class. A dataset that TFDS has prepared from its catalogue's `ucf101` is read as well.

Source: https://www.crcv.ucf.edu/data/UCF101.php.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from glober_jax.data.datasets.ucf101_lists import OfficialLists, find_lists
from glober_jax.data.media.catalogue import find_prepared, list_prepared
from glober_jax.data.media.options import MediaOptions
from glober_jax.data.media.tree import Listing, MediaItem, Rejection, find_videos, inside_splits
from glober_jax.errors import UserError

_VIDEO = re.compile(r"v_(?P<class_name>.+)_g(?P<group>\d+)_c\d+", re.IGNORECASE)
# Spelt in two ways in the official files; this one is classInd.txt's.
_CLASS_SPELLING = {"handstandpushups": "HandstandPushups"}


@dataclass(frozen=True, kw_only=True)
class Ucf101Options(MediaOptions):
    """Each field is the flag of the same name.

    Attributes:
      lists: folder of the official lists; None looks in the input and beside it.
      split: which of the three official splits.
    """

    size: int = 256
    lists: str | None = None
    split: int = 1

    def __post_init__(self) -> None:
        MediaOptions.__post_init__(self)
        if self.split not in (1, 2, 3):
            raise UserError(f"--split must be 1, 2 or 3, not {self.split}")


def list_inputs(options: Ucf101Options) -> Listing:
    """The videos with class, split and group.

    Raises:
      UserError: the input is missing or holds no videos of UCF-101; the lists are missing, damaged
        or name none of them; a prepared dataset is of another split.
    """
    root = Path(options.input)
    if prepared := find_prepared(root, "ucf101"):
        return _list_prepared(prepared, options)
    found = find_videos(root, "files or folders like v_Archery_g01_c01.avi")
    items, misnamed = _classified(found.items)
    if not items:
        raise UserError(
            f"--input={root} holds no videos of UCF-101, which are called like "
            f"v_Archery_g01_c01.avi, unlike {found.items[0].video_id}"
        )
    listing = _listing(items, _find_lists(root, options), options)
    return replace(
        listing,
        rejections=(*found.rejections, *misnamed, *listing.rejections),
        notices=found.notices + listing.notices,
    )


def _listing(
    items: Sequence[MediaItem], lists: OfficialLists | None, options: Ucf101Options
) -> Listing:
    if lists is None:
        inside = inside_splits(Listing(tuple(items)))
        by_folder = any(item.split == "test" for item in items)
        how = "the input's folders" if by_folder else "groups, of which some are held out"
        notice = (
            f"no trainlist{options.split:02d}.txt in --input or beside it, and no --lists=DIR: "
            f"train and test are not the official split, but by {how}"
        )
        class_names = sorted({item.class_name for item in inside.items})
        return replace(inside, class_names=tuple(class_names), notices=(notice,))
    items, unlisted = _as_listed(items, lists)
    if not items:
        raise UserError(
            f"{lists.train} and {lists.test} in {lists.folder} name none of the videos in "
            f"--input={options.input}: {unlisted[0].video_id} {unlisted[0].reason}"
        )
    notices = [f"train and test as {lists.train} and {lists.test} in {lists.folder} say"]
    if absent := len(lists.splits) - len(items):
        notices.append(f"{absent:,} of the {len(lists.splits):,} videos they name are not there")
    return Listing(tuple(items), tuple(unlisted), lists.class_names, tuple(notices))


def _find_lists(root: Path, options: Ucf101Options) -> OfficialLists | None:
    if options.lists is None:
        return find_lists((root, root.absolute().parent), options.split)
    lists = find_lists((Path(options.lists),), options.split)
    if lists is None:
        raise UserError(
            f"--lists={options.lists} holds no trainlist{options.split:02d}.txt: give the folder "
            "with the official lists, ucfTrainTestlist"
        )
    return lists


def _list_prepared(folders: Sequence[Path], options: Ucf101Options) -> Listing:
    """What TFDS has prepared; the configs of its `ucf101` are named by their split."""
    if len(folders) > 1:
        names = ", ".join(str(folder) for folder in folders)
        raise UserError(
            f"--input={options.input} holds several prepared datasets ({names}): name one"
        )
    (folder,) = folders
    if options.lists is not None:
        raise UserError(
            f"--lists does not apply to --input={folder}, which TFDS has prepared with its splits"
        )
    config = re.fullmatch(r"ucf101_(?P<split>\d)(?P<stretched>_256)?", folder.parent.name)
    if config and int(config["split"]) != options.split:
        raise UserError(
            f"--input={folder} holds split {config['split']}, not {options.split}: pass "
            f"--split={config['split']}, or the folder of the config ucf101_{options.split}"
        )
    notices = [f"read what TFDS has prepared in {folder}, with its splits"]
    if config and config["stretched"]:
        notices.append(
            "the frames of this config are stretched to 256x256 from 320x240; those of "
            f"ucf101_{options.split} are not"
        )
    return replace(list_prepared(folder), notices=tuple(notices))


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
            spelt = match["class_name"]
            class_name = _CLASS_SPELLING.get(spelt.lower(), spelt)
            group = f"{class_name}_g{match['group']}"
            accepted[key] = replace(item, class_name=class_name, group=group)
    return list(accepted.values()), rejections


def _as_listed(
    items: Sequence[MediaItem], lists: OfficialLists
) -> tuple[list[MediaItem], list[Rejection]]:
    """Split and class as the lists say; rejects what they do not name."""
    spelling = {name.lower(): name for name in lists.class_names}
    accepted, rejections = [], []
    for item in items:
        split = lists.splits.get(item.name.lower())
        class_name = spelling.get(item.class_name.lower())
        if split is None:
            reason = f"is named neither in {lists.train} nor in {lists.test}"
            rejections.append(Rejection(item.video_id, reason))
        elif class_name is None:
            reason = f"its class {item.class_name} is not in classInd.txt"
            rejections.append(Rejection(item.video_id, reason))
        else:
            accepted.append(replace(item, split=split, class_name=class_name))
    return accepted, rejections
