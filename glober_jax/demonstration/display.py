"""Where results appear on the page, and how frames become what it shows.

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
from glober_jax.demonstration.studio import Stage

# Small frames are enlarged to about these many pixels: the video, a frame of the sheet.
_VIDEO_SIZE, _SHEET_FRAME_SIZE = 320, 128
_SHEET_COLUMNS, _SHEET_FRAMES = 8, 16
_NOT_YET = 128


class Display(NamedTuple):
    """What `show` fills."""

    note: gr.HTML
    video: gr.Video
    sheet: gr.Image

    @classmethod
    def make(cls, label: str) -> "Display":
        return cls(
            gr.HTML(note_html("Nothing was made yet", done=True)),
            # Gradio's buttons to share would upload to another host.
            gr.Video(
                label=label,
                autoplay=True,
                loop=True,
                interactive=False,
                height=400,
                buttons=["download"],
            ),
            gr.Image(
                label="Its frames",
                show_label=False,
                interactive=False,
                format="png",
                buttons=["download", "fullscreen"],
            ),
        )


def show(
    stages: Iterator[Stage], fps: float, original_nHWC: np.ndarray | None = None
) -> Iterator[tuple[Any, Any, Any]]:
    """Values for a `Display` at each stage; `original_nHWC` is shown to the left of the frames.

    The video so far is played again whenever it became twice as long: at every chunk it would be
    restless, and cost more than decoding does.
    """
    played = 0
    with tempfile.TemporaryDirectory() as folder:
        for note, frames_nHWC, total in stages:
            ready = len(frames_nHWC)
            if not ready:
                yield note_html(note, done=False), None, None
                continue
            if original_nHWC is not None:
                frames_nHWC = np.concatenate([original_nHWC[:ready], frames_nHWC], axis=2)
            video = gr.skip()
            if ready >= 2 * played or ready == total:
                video, played = _write(Path(folder) / f"{ready}.mp4", frames_nHWC, fps), ready
            yield note_html(note, ready == total, ready / total), video, sheet(frames_nHWC, total)


def sheet(frames_nHWC: np.ndarray, total: int) -> np.ndarray:
    """One picture of `total` frames, or of some of them, in their order: uint8 [H', W', C].

    Those that are still to come, after the n given ones, are grey.
    """
    count = min(total, _SHEET_COLUMNS if total < _SHEET_FRAMES else _SHEET_FRAMES)
    chosen = np.linspace(0, total - 1, count).round().astype(int)
    ready = chosen[chosen < len(frames_nHWC)]
    cells = np.full((count, *frames_nHWC.shape[1:]), _NOT_YET, np.uint8)
    cells[: len(ready)] = frames_nHWC[ready]
    cells = media.enlarge(cells, max(1, _SHEET_FRAME_SIZE // frames_nHWC.shape[1]))
    columns = _SHEET_COLUMNS * frames_nHWC.shape[1] // frames_nHWC.shape[2]
    return media.tile_videos(cells[:, None], columns=columns)[0]


def _write(path: Path, frames_nHWC: np.ndarray, fps: float) -> str:
    scale = max(1, _VIDEO_SIZE // frames_nHWC.shape[1])
    media.write_mp4(path, media.enlarge(frames_nHWC, scale), fps)
    return str(path)


def note_html(note: str, done: bool, fraction: float = 0.0) -> str:
    """A sentence on how far the work is, beside a bar until it is done."""
    # Without a value the bar only says that something is going on.
    value = f" value='{fraction:.3f}'" if fraction else ""
    bar = "" if done else f"<progress{value}></progress>"
    return f"<div class='stage'>{bar}<span>{html.escape(note)}</span></div>"
