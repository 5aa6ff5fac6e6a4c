"""Clips that play in the page: MP4 files inside it, started, paused and looped together.

MP4 because it is the smallest by far at the same quality: a 16-frame clip of a sky of 64x64 pixels
takes 17 kB (41 dB), as GIF 69 kB (41 dB), as WebP of quality 90 14 kB (38 dB). H.264 in browsers
halves the resolution of colour, so small frames are enlarged before, each pixel to a square: at 32
pixels 42 dB instead of 34.

Dimension key: N clips, T frames, H, W frame size, C = 3 colours (RGB).
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from glober_jax import media
from glober_jax.reporting.report.elements import Element, tag

_ENLARGED_TO = 128


@dataclass(frozen=True)
class Clips:
    """Clips of one kind: uint8 [N, T, H, W, C], and a text for each or none at all."""

    videos_NTHWC: np.ndarray
    labels: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.labels and len(self.labels) != len(self.videos_NTHWC):
            raise ValueError(f"{len(self.labels)} labels for {len(self.videos_NTHWC)} clips")


def side_by_side(groups: Mapping[str, Clips], fps: float) -> Element:
    """Kinds of clips beside each other, each a grid under its name."""
    columns = [
        tag(
            "div",
            tag("h3", name),
            tag("div", *_figures(name, clips, fps), class_="grid"),
        )
        for name, clips in groups.items()
    ]
    return _player(tag("div", *columns, class_="beside"))


def aligned(rows: Mapping[str, np.ndarray], fps: float) -> Element:
    """The same clips in several versions: a column for each version, a row for each clip.

    Args:
      rows: name to uint8 [N, T, H, W, C], all of the same clips.
      fps: frames per second.
    """
    heads = [tag("b", name) for name in rows]
    videos = [
        _video(f"{name}, clip {number + 1}", clip_THWC, fps)
        for number, versions in enumerate(zip(*rows.values(), strict=True))
        for name, clip_THWC in zip(rows, versions, strict=True)
    ]
    style = f"--columns: {len(rows)}"
    return _player(tag("div", *heads, *videos, class_="aligned", style=style))


def _player(content: Element) -> Element:
    # Shown by the script: without it the clips play and loop by themselves.
    button = tag("button", "Pause", type="button", hidden=True)
    return tag("div", button, content, class_="player")


def _figures(name: str, clips: Clips, fps: float) -> list[Element]:
    labels = clips.labels or [""] * len(clips.videos_NTHWC)
    return [
        tag(
            "figure",
            _video(f"{name}: {label}" if label else name, clip_THWC, fps),
            tag("figcaption", label, title=label) if label else None,
        )
        for label, clip_THWC in zip(labels, clips.videos_NTHWC, strict=True)
    ]


def _video(description: str, clip_THWC: np.ndarray, fps: float) -> Element:
    scale = max(1, _ENLARGED_TO // min(clip_THWC.shape[1:3]))
    enlarged_THWC = clip_THWC.repeat(scale, axis=1).repeat(scale, axis=2)
    data = base64.b64encode(media.encode_mp4(enlarged_THWC, fps)).decode()
    return tag(
        "video",
        src=f"data:video/mp4;base64,{data}",
        width=enlarged_THWC.shape[2],
        height=enlarged_THWC.shape[1],
        aria_label=description,
        loop=True,
        muted=True,
        autoplay=True,
        playsinline=True,
    )
