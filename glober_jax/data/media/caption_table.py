"""Tables of captions, read row by row: comma-separated values or JSON lines."""

import csv
import json
import posixpath
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from glober_jax.errors import UserError

# The column that names a video, and the one that holds its caption.
_COLUMNS = (("path", "caption"), ("videoid", "caption"), ("videoid", "name"))


class CaptionRow(NamedTuple):
    """One row; `video` is what `column` says, `line` where it ends in the file."""

    line: int
    column: str
    video: str
    caption: str


# Column, video and caption; None where a row lacks one.
_Found = tuple[str, str, str] | None


def read_rows(file: Path) -> Iterator[CaptionRow]:
    """Reads a table with the columns path,caption or videoid,caption or videoid,name.

    Others are ignored.

    Raises:
      UserError: it cannot be read, or a row lacks these columns.
    """
    read = _json_rows if file.suffix == ".jsonl" else _csv_rows
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            for line, found in read(text):
                if found is None:
                    columns = " or ".join(",".join(pair) for pair in _COLUMNS)
                    raise UserError(
                        f"--captions={file}, line {line}, holds no path and caption: expected the "
                        f"columns {columns} (or JSON lines with these keys, in a file named .jsonl)"
                    )
                column, video, caption = found
                video = posixpath.normpath(video.strip()) if column == "path" else video.strip()
                yield CaptionRow(line, column, video, caption)
    except (OSError, UnicodeError, csv.Error) as error:
        undecodable = "it is not UTF-8 text" if isinstance(error, UnicodeError) else str(error)
        reason = getattr(error, "strerror", None) or undecodable
        raise UserError(f"--captions={file} cannot be read: {reason}") from error


def _csv_rows(text: TextIO) -> Iterator[tuple[int, _Found]]:
    reader = csv.reader(text)
    header = next(reader, [])
    pair = next((pair for pair in _COLUMNS if {*pair} <= {*header}), None)
    places = [header.index(name) for name in pair or ()]
    for row in reader:
        if pair and len(row) > max(places):
            yield reader.line_num, (pair[0], row[places[0]], row[places[1]])
        elif row:
            yield reader.line_num, None


def _json_rows(text: TextIO) -> Iterator[tuple[int, _Found]]:
    for line, content in enumerate(text, start=1):
        if content.strip():
            try:
                row = json.loads(content)
            except json.JSONDecodeError:
                row = None
            yield line, _from_json(row)


def _from_json(row: Any) -> _Found:
    for column, text in _COLUMNS:
        video, caption = (row.get(k) if isinstance(row, dict) else None for k in (column, text))
        if isinstance(video, str | int) and isinstance(caption, str):
            return column, str(video), caption
    return None
