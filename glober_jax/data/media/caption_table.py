"""Tables of captions: comma- or tab-separated values, JSON lines, or one JSON list."""

import csv
import json
import posixpath
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from glober_jax.errors import UserError

# WebVid's captions are called names.
_VIDEO_COLUMNS, _CAPTION_COLUMNS = ("path", "videoid"), ("caption", "text", "name")
_NEITHER = "holds no path and caption: "


class CaptionRow(NamedTuple):
    """One row; `video` is what `column` says, `line` where it begins in the file."""

    line: int
    column: str
    video: str
    caption: str


class _BadRow(ValueError):
    """A row that is no caption of a video: where it begins, and why."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(line, reason)
        self.line, self.reason = line, reason


def read_rows(file: Path) -> Iterator[CaptionRow]:
    """Reads a table with a column that names the video and one with its caption.

    Other columns are ignored. The first character says whether it is JSON; `.tsv` in the name that
    tabs separate. All but a JSON list is read row by row.

    Raises:
      UserError: it cannot be read, or a row is damaged or lacks these columns.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            begin = text.read(1 << 10).lstrip()[:1]
            text.seek(0)
            if begin == "[":
                rows = _listed(text)
            elif begin == "{":
                rows = _json_lines(text)
            else:
                rows = _separated(text, "\t" if file.suffix.lower() == ".tsv" else ",")
            for line, row in rows:
                yield _caption_row(line, row)
    except _BadRow as bad:
        raise UserError(f"--captions={file}, line {bad.line}, {bad.reason}") from bad
    except (OSError, UnicodeError) as error:
        undecodable = "it is not UTF-8 text" if isinstance(error, UnicodeError) else str(error)
        reason = getattr(error, "strerror", None) or undecodable
        raise UserError(f"--captions={file} cannot be read: {reason}") from error


def _caption_row(line: int, row: Any) -> CaptionRow:
    fields = {str(key).strip().lower(): row[key] for key in row} if isinstance(row, dict) else {}
    column = next((name for name in _VIDEO_COLUMNS if name in fields), "")
    text = next((name for name in _CAPTION_COLUMNS if name in fields), "")
    video, caption = fields.get(column), fields.get(text)
    if not isinstance(video, str | int) or not isinstance(caption, str):
        raise _BadRow(
            line,
            f"{_NEITHER}expected the columns path,caption or videoid,caption or videoid,name (or "
            "JSON with these keys)",
        )
    video = str(video).strip()
    return CaptionRow(
        line, column, posixpath.normpath(video) if column == "path" else video, caption
    )


def _separated(text: TextIO, delimiter: str) -> Iterator[tuple[int, dict[str, str]]]:
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    header: list[str] = []
    while True:
        line = reader.line_num + 1
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise _BadRow(
                line,
                f"{_NEITHER}a quote is not closed, or not doubled within quotes ({error})",
            ) from error
        if row is None:
            return
        if not row:
            continue
        if not header:
            header = row
        elif len(row) != len(header):
            raise _BadRow(
                line,
                f"{_NEITHER}fields: {len(row)}, in the header: {len(header)}; a text that holds "
                "commas or line breaks must stand in double quotes",
            )
        else:
            yield line, dict(zip(header, row, strict=True))


def _json_lines(text: TextIO) -> Iterator[tuple[int, Any]]:
    for line, content in enumerate(text, start=1):
        if content.strip():
            try:
                yield line, json.loads(content)
            except json.JSONDecodeError as error:
                raise _BadRow(line, f"{_NEITHER}not JSON on one line ({error.msg})") from error


def _listed(text: TextIO) -> Iterator[tuple[int, Any]]:
    try:
        rows = json.load(text)
    except json.JSONDecodeError as error:
        raise _BadRow(error.lineno, f"{_NEITHER}not a JSON list ({error.msg})") from error
    # The parser does not say on which line an entry begins.
    yield from ((1, row) for row in rows)
