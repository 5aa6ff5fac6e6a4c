"""Captions of videos: from one table for all, or from a text file beside each.

Dimension key: N captions, L tokens, E width of a token's embedding.
"""

import csv
import hashlib
import json
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Protocol, TextIO

import numpy as np
from etils import epath

from glober_jax.data.files import local_file
from glober_jax.data.media.tree import Listing, MediaItem, Rejection
from glober_jax.errors import UserError

# WebVid's captions are called names.
_VIDEO_COLUMNS, _CAPTION_COLUMNS = ("path", "videoid"), ("caption", "text", "name")


class TextEncoder(Protocol):
    """Embeds captions; `digest` differs between encoders that give other embeddings."""

    length: int
    width: int
    digest: str

    def __call__(self, captions: Sequence[str]) -> np.ndarray:
        """float16 [N, L, E]."""


def add_captions(listing: Listing, file: epath.PathLike | None) -> Listing:
    """The videos with their captions, those without rejected, and notices of rows not used.

    `file` is a table: comma-separated under a header, tab-separated (`.tsv`), JSON lines, or a JSON
    list. Videos are in `path`, relative to their folder, or `videoid`, a file's name without
    suffix; captions in `caption`, `text` or `name`. None takes the text file beside each video.

    Raises UserError where it cannot be read, lacks a column, names a path twice, or no video.
    """
    if file is None:
        # A bucket answers slowly.
        with ThreadPoolExecutor(64) as readers:
            names = [item.video_id for item in listing.items]
            captions = dict(zip(names, readers.map(_caption_beside, listing.items), strict=True))
        missing, twins, notices = "has no caption: no text file of that name beside it", {}, []
    else:
        captions, twins, notices = _match_rows(listing.items, file)
        missing = "has no caption in --captions"
    items, rejections = [], [*listing.rejections]
    for item in listing.items:
        if caption := captions.get(item.video_id):
            items.append(replace(item, caption=caption))
        else:
            rejections.append(Rejection(item.video_id, twins.get(item.video_id, missing)))
    notices = (*listing.notices, *notices)
    return replace(listing, items=items, rejections=tuple(rejections), notices=notices)


def captions_digest(captions: Mapping[str, str]) -> str:
    """16 hex digits that change with any caption or its video."""
    content = json.dumps(sorted(captions.items()))
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _caption_beside(item: MediaItem) -> str:
    """The text beside a video, `clip.txt` for `clip.mp4` or for a folder `clip`; "" without."""
    file = epath.Path(item.files[0])
    place = file.parent if item.is_images else file.with_suffix("")
    try:
        with local_file(place.with_name(f"{place.name}.txt")) as text:
            return " ".join(text.read_text("utf-8-sig").split())
    except (OSError, UnicodeError):
        return ""


def _match_rows(
    items: Sequence[MediaItem], file: epath.PathLike
) -> tuple[dict[str, str], dict[str, str], list[str]]:
    """Captions by video id; reasons for videos of equal names; sentences on rows not used."""
    first: dict[str, str] = {}
    for item in items:
        first.setdefault(item.name, item.video_id)
    videos = {"path": {item.video_id: item.video_id for item in items}, "videoid": first}
    captions: dict[str, str] = {}
    unused = repeated = 0
    for line, column, video, caption in _read_rows(file):
        video_id = videos[column].get(video)
        if video_id is None:
            unused += 1
        elif video_id not in captions:
            captions[video_id] = " ".join(caption.split())
        elif column == "path":
            raise UserError(f"--captions={file}, line {line}, names {video} a second time")
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
    notices = [f"{unused:,} rows of --captions name no video in --input"] if unused else []
    if repeated:
        again = "name a video again; the first row counts"
        notices.append(f"{repeated:,} rows of --captions {again}")
    return captions, twins, notices


def _read_rows(file: epath.PathLike) -> Iterator[tuple[int, str, str, str]]:
    """Line, column that names the video, its value there, and caption, of each row of a table.

    The first character of the file says whether it is JSON.
    """
    try:
        with local_file(file) as local, local.open(encoding="utf-8-sig", newline="") as text:
            begin = text.read(1 << 10).lstrip()[:1]
            text.seek(0)
            read = {"[": _json_list, "{": _json_lines}.get(begin, _separated)
            for line, row in read(text):
                yield line, *_video_and_caption(line, row)
    except UnicodeError as error:
        raise UserError(f"--captions={file} cannot be read: it is not UTF-8 text") from error
    except ValueError as error:
        raise UserError(f"--captions={file}, {error}") from error
    except OSError as error:
        raise UserError(f"--captions={file} cannot be read: {error.strerror}") from error


def _video_and_caption(line: int, row: Any) -> tuple[str, str, str]:
    fields = {str(key).strip().lower(): row[key] for key in row} if isinstance(row, dict) else {}
    column = next((name for name in _VIDEO_COLUMNS if name in fields), None)
    text = next((name for name in _CAPTION_COLUMNS if name in fields), None)
    video, caption = fields.get(column), fields.get(text)
    if not isinstance(video, str | int) or not isinstance(caption, str):
        wanted = "path,caption or videoid,caption or videoid,name (or JSON with these keys)"
        raise _bad_row(line, f"expected the columns {wanted}")
    video = str(video).strip()
    return column, posixpath.normpath(video) if column == "path" else video, caption


def _separated(text: TextIO) -> Iterator[tuple[int, dict[str, str]]]:
    delimiter = "\t" if text.name.lower().endswith(".tsv") else ","
    reader = csv.DictReader(text, delimiter=delimiter, strict=True)
    line = 1
    try:
        header, line = reader.fieldnames, reader.line_num + 1
        for row in reader:
            if None in row or None in row.values():
                raise _bad_row(
                    reader.line_num,
                    f"it has not the {len(header)} fields of the header; a text that holds commas "
                    "or line breaks must stand in double quotes",
                )
            yield reader.line_num, row
            line = reader.line_num + 1
    except csv.Error as error:
        reason = f"a quote is not closed, or not doubled within quotes ({error})"
        raise _bad_row(line, reason) from error


def _json_lines(text: TextIO) -> Iterator[tuple[int, Any]]:
    for line, content in enumerate(text, start=1):
        if content.strip():
            try:
                yield line, json.loads(content)
            except json.JSONDecodeError as error:
                raise _bad_row(line, f"not JSON on one line ({error.msg})") from error


def _json_list(text: TextIO) -> Iterator[tuple[int, Any]]:
    try:
        rows = json.load(text)
    except json.JSONDecodeError as error:
        raise _bad_row(error.lineno, f"not a JSON list ({error.msg})") from error
    # The parser does not say on which line an entry begins.
    yield from ((1, row) for row in rows)


def _bad_row(line: int, reason: str) -> ValueError:
    return ValueError(f"line {line}, holds no path and caption: {reason}")
