"""Components of the page for results, and the videos, sheets and notes in them.

Dimension key: n frames so far, H, W frame size, C = 3 colours.
"""

import html
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
import numpy as np

from glober_jax import media
from glober_jax.demonstration.session import NOT_YET, Stage

# Small frames are enlarged to about this many pixels: height and maximum width of a video, and
# height of a frame in the sheet.
_VIDEO_SIZE, _VIDEO_WIDTH, _SHEET_FRAME_SIZE = 320, 960, 128
_SHEET_COLUMNS, _SHEET_FRAMES = 8, 16
NOTHING_YET = "<div class='stage'></div>"


class Shown(NamedTuple):
    """Values of the components of `display`."""

    note: str = NOTHING_YET
    video: Any = None
    sheet: Any = None


def display(label: str, shown: Shown | None = None, height: int = 340) -> list[Any]:
    """Components for a note, a video and its frames, filled with `shown`."""
    note, video, sheet = shown or Shown()
    return [gr.HTML(note), player(label, video, height), sheet_below(sheet)]


def player(label: str, video: str | None = None, height: int = 340) -> gr.Video:
    """A looping video. Without Gradio's button to share, which uploads to another host."""
    return gr.Video(
        video,
        label=label,
        autoplay=True,
        loop=True,
        interactive=False,
        height=height,
        min_width=280,
        buttons=["download"],
    )


def sheet_below(sheet: np.ndarray | None = None) -> gr.Image:
    """The frames of a video as one picture."""
    return gr.Image(
        sheet,
        label="Its frames",
        show_label=False,
        interactive=False,
        format="png",
        buttons=["download", "fullscreen"],
    )


def show(
    stages: Iterator[Stage], fps: float, original_nHWC: np.ndarray | None = None
) -> Iterator[Shown]:
    """Values of `display` at each stage; `original_nHWC` is shown to the left of the frames.

    The video is updated whenever twice as much of it is done: encoding it at every chunk would
    take longer than decoding.
    """
    played = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for note, frames_nHWC, total, fraction in stages:
            ready = len(frames_nHWC)
            if not ready:
                yield Shown(note_html(note, done=False))
                continue
            if original_nHWC is not None:
                frames_nHWC = np.concatenate([original_nHWC[:ready], frames_nHWC], axis=2)
            video = gr.skip()
            if fraction >= 2 * played or fraction == 1:
                path = Path(folder) / f"{fraction:.4f}.mp4"
                video, played = write_video(path, frames_nHWC, fps), fraction
            done = fraction == 1
            yield Shown(note_html(note, done, fraction), video, sheet(frames_nHWC, total))


def sheet(frames_nHWC: np.ndarray, total: int) -> np.ndarray:
    """One picture of at most 16 of `total` frames, grey after the first n: uint8 [H', W', C]."""
    height, width = frames_nHWC.shape[1:3]
    columns, most = (max(1, number * height // width) for number in (_SHEET_COLUMNS, _SHEET_FRAMES))
    count = min(total, columns if total < most else most)
    chosen = np.linspace(0, total - 1, count).round().astype(int)
    ready = chosen[chosen < len(frames_nHWC)]
    cells = np.full((count, *frames_nHWC.shape[1:]), NOT_YET, np.uint8)
    cells[: len(ready)] = frames_nHWC[ready]
    cells = media.enlarge(cells, max(1, _SHEET_FRAME_SIZE // height))
    return media.tile_videos(cells[:, None], columns=columns)[0]


def write_video(path: Path, frames_nHWC: np.ndarray, fps: float) -> str:
    """Writes frames, enlarged where they are small, and returns the path."""
    height, width = frames_nHWC.shape[1:3]
    scale = max(1, min(_VIDEO_SIZE // height, _VIDEO_WIDTH // width))
    media.write_mp4(path, media.enlarge(frames_nHWC, scale), fps)
    return str(path)


def note_html(note: str, done: bool, fraction: float = 0.0) -> str:
    """A sentence on the progress, with a bar until it is done; indeterminate at fraction 0."""
    value = f" value='{fraction:.3f}'" if fraction else ""
    bar = "" if done else f"<progress{value}></progress>"
    return f"<div class='stage'>{bar}<span>{html.escape(note)}</span></div>"
