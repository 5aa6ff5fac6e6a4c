"""Captions of videos: from one file for all, or from a text file beside each.

And what embeds them: any `TextEncoder`, of which `interop/clip_text.py` holds the one for CLIP.
Dimension key: N captions, L tokens, E width of a token's embedding.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np

from glober_jax.data.media.archive import read_file
from glober_jax.data.media.caption_table import CaptionRow, read_rows
from glober_jax.data.media.tree import Listing, MediaItem, Rejection
from glober_jax.errors import UserError


class TextEncoder(Protocol):
    """Embeds captions; `digest` tells encoders apart that give other embeddings."""

    @property
    def length(self) -> int: ...

    @property
    def width(self) -> int: ...

    @property
    def digest(self) -> str: ...

    def __call__(self, captions: Sequence[str]) -> np.ndarray:
        """float16 [N, L, E]."""


def add_captions(listing: Listing, file: Path | None) -> Listing:
    """Gives every video its caption.

    Args:
      listing: the videos.
      file: a table of comma-separated values under a header (tab-separated where its name ends in
        `.tsv`), of JSON lines, or one JSON list. Videos are named by `path`, relative to their
        folder and with forward slashes, or as WebVid does, by `videoid`, a file's name without
        suffix; captions are in `caption`, `text` or `name`. All but a JSON list is read row by row,
        so that it may be much longer than `items`. None takes the text file beside each video.

    Returns:
      The videos with a caption, the others rejected, and notices of rows that were not used.

    Raises:
      UserError: the table cannot be read, lacks a column, names a path twice or none of the
        videos.
    """
    items = listing.items
    if file is None:
        captions = {item.video_id: caption_beside(item) for item in items}
        missing, notices = "has no caption: no text file of that name beside it", []
        twins: dict[str, str] = {}
    else:
        captions, twins, notices = _match_rows(items, file)
        missing = "has no caption in --captions"
    captioned, rejections = [], []
    for item in items:
        if caption := captions.get(item.video_id):
            captioned.append(replace(item, caption=caption))
        else:
            rejections.append(Rejection(item.video_id, twins.get(item.video_id, missing)))
    return replace(
        listing,
        items=tuple(captioned),
        rejections=(*listing.rejections, *rejections),
        notices=(*listing.notices, *notices),
    )


def caption_beside(item: MediaItem) -> str:
    """The text beside a video, `clip.txt` for `clip.mp4` or for a folder `clip`; "" without."""
    place = item.files[0].parent if item.is_images else item.files[0].with_suffix("")
    file = place.with_name(f"{place.name}.txt")
    try:
        return _one_line(read_file(item.archive, file).decode("utf-8-sig"))
    except (OSError, UnicodeError):
        return ""


def captions_digest(captions: Mapping[str, str]) -> str:
    """16 hex digits that change with any caption or its video."""
    content = json.dumps(sorted(captions.items()))
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _match_rows(
    items: Sequence[MediaItem], file: Path
) -> tuple[dict[str, str], dict[str, str], list[str]]:
    """Captions by video id; why not, for videos of equal names; sentences on rows not used."""
    first: dict[str, str] = {}
    for item in items:
        first.setdefault(item.name, item.video_id)
    videos = {"path": {item.video_id: item.video_id for item in items}, "videoid": first}
    captions: dict[str, str] = {}
    unused = repeated = 0
    for row in read_rows(file):
        video_id = videos[row.column].get(row.video)
        if video_id is None:
            unused += 1
        elif video_id not in captions:
            captions[video_id] = _one_line(row.caption)
        elif row.column == "path":
            raise _named_twice(file, row)
        else:
            repeated += 1
    if items and not any(captions.values()):
        raise UserError(
            f"--captions={file} names none of the videos, which are called like "
            f"{items[0].video_id}: its column path must hold paths relative to --input, or its "
            "column videoid their names without folder and suffix"
        )
    twins = {
        item.video_id: f"has the name of {first[item.name]}, which has its caption"
        for item in items
        if item.video_id not in captions and first[item.name] in captions
    }
    notices = []
    if unused:
        notices.append(f"{unused:,} rows of --captions name no video in --input")
    if repeated:
        notices.append(f"{repeated:,} rows of --captions name a video again; the first row counts")
    return captions, twins, notices


def _named_twice(file: Path, row: CaptionRow) -> UserError:
    return UserError(f"--captions={file}, line {row.line}, names {row.video} a second time")


def _one_line(caption: str) -> str:
    return " ".join(caption.split())
