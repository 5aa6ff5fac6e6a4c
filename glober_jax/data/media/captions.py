"""Captions of videos: from one file for all, or from a text file beside each.

And what embeds them: any `TextEncoder`, of which `interop/clip_text.py` holds the one for CLIP.
Dimension key: N captions, L tokens, E width of a token's embedding.
"""

import csv
import hashlib
import io
import json
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from glober_jax.data.media.tree import MediaItem
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


def read_captions(file: Path) -> dict[str, str]:
    """Captions by path relative to the videos' folder, with forward slashes.

    `file` is a table with the columns `path` and `caption`, others are ignored: JSON lines where
    its name ends in `.jsonl`, else comma-separated values under a header.

    Raises:
      UserError: it cannot be read, lacks a column, or names a path twice.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise UserError(f"--captions={file} cannot be read: {reason}") from error
    captions: dict[str, str] = {}
    for line, row in _json_rows(text) if file.suffix == ".jsonl" else _csv_rows(text):
        path, caption = (row.get(name) if isinstance(row, dict) else None for name in _COLUMNS)
        if not isinstance(path, str) or not isinstance(caption, str):
            raise UserError(
                f"--captions={file}, line {line}, holds no path and caption: expected the columns "
                "path,caption (or JSON lines with these keys, in a file named .jsonl)"
            )
        path = posixpath.normpath(path.strip())
        if path in captions:
            raise UserError(f"--captions={file}, line {line}, names {path} a second time")
        captions[path] = _one_line(caption)
    return captions


def caption_beside(item: MediaItem) -> str:
    """The text beside a video, `clip.txt` for `clip.mp4` or for a folder `clip`; "" without."""
    place = item.files[0].parent if item.is_images else item.files[0].with_suffix("")
    try:
        return _one_line(place.with_name(f"{place.name}.txt").read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeError):
        return ""


def captions_digest(captions: Mapping[str, str]) -> str:
    """16 hex digits that change with any caption or its video."""
    content = json.dumps(sorted(captions.items()))
    return hashlib.sha256(content.encode()).hexdigest()[:16]


_COLUMNS = ("path", "caption")


def _csv_rows(text: str) -> Iterator[tuple[int, Any]]:
    reader = csv.DictReader(io.StringIO(text, newline=""))
    for row in reader:
        yield reader.line_num, row


def _json_rows(text: str) -> Iterator[tuple[int, Any]]:
    for line, content in enumerate(text.split("\n"), start=1):
        if content.strip():
            try:
                yield line, json.loads(content)
            except json.JSONDecodeError:
                yield line, None


def _one_line(caption: str) -> str:
    return " ".join(caption.split())
