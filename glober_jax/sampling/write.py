"""Files of sampled videos: one MP4 each, a GIF, a contact sheet, a JSON record.

Dimension key: N videos, T frames, H, W frame size, C colours.
"""

import json
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from etils import epath

from glober_jax import media

# Small frames are enlarged to about these many pixels: a frame of a sheet, the whole GIF.
_SHEET_FRAME_SIZE, _GRID_SIZE = 128, 400
_LONGEST_LABEL = 40


def write_samples(
    output: epath.Path,
    videos_NTHWC: np.ndarray,
    record: dict[str, Any],
    *,
    fps: float,
    row_labels: Sequence[str] | None = None,
) -> None:
    """Writes `video_0000.mp4` ..., `grid.gif`, `sheet.png`, `samples.json` into `output`.

    Raises `UserError` where `output` cannot be written.
    """
    for number, video in enumerate(videos_NTHWC):
        media.write_mp4(output / f"video_{number:04d}.mp4", video, fps)
    write_overview(output, videos_NTHWC, fps, row_labels)
    media.write_file(output / "samples.json", json.dumps(record, indent=2).encode())


def write_overview(
    output: epath.Path,
    videos_NTHWC: np.ndarray,
    fps: float,
    row_labels: Sequence[str] | None = None,
) -> None:
    """Writes `grid.gif`, all videos playing, and `sheet.png`, frame by frame."""
    grid_THWC = media.tile_videos(videos_NTHWC, gap=1)
    grid_THWC = media.enlarge(grid_THWC, max(1, _GRID_SIZE // grid_THWC.shape[1]))
    media.write_gif(output / "grid.gif", grid_THWC, fps)
    write_sheet(output / "sheet.png", videos_NTHWC, row_labels)


def write_sheet(
    path: epath.Path, videos_NTHWC: np.ndarray, row_labels: Sequence[str] | None = None
) -> None:
    """A contact sheet: a row per video, frames spread over time; long labels are cut."""
    if row_labels is not None:
        row_labels = [
            textwrap.shorten(label, _LONGEST_LABEL, placeholder="...") for label in row_labels
        ]
    scale = sheet_scale(videos_NTHWC)
    media.write_png(path, media.contact_sheet(videos_NTHWC, row_labels=row_labels, scale=scale))


def sheet_scale(videos_NTHWC: np.ndarray) -> int:
    """Factor by which small frames are enlarged."""
    return max(1, _SHEET_FRAME_SIZE // videos_NTHWC.shape[2])
