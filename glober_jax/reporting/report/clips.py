"""Clips that play in the page, as MP4 files inside it.

MP4 because it is the smallest by far at the same quality: a 16-frame clip of a sky of 64x64 pixels
takes 17 kB (41 dB), as GIF 69 kB (41 dB), as WebP of quality 90 14 kB (38 dB). H.264 in browsers
halves the resolution of colour, so small frames are enlarged before, each pixel to a square: at 32
pixels 42 dB instead of 34.

Dimension key: N clips, T frames, H, W frame size, C = 3 colours (RGB).
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from glober_jax import media

_ENLARGED_TO = 128


@dataclass(frozen=True)
class Clips:
    """Clips of one kind: uint8 [N, T, H, W, C], and a text for each or none at all."""

    videos_NTHWC: np.ndarray
    labels: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.labels and len(self.labels) != len(self.videos_NTHWC):
            raise ValueError(f"{len(self.labels)} labels for {len(self.videos_NTHWC)} clips")


def data_uri(clip_THWC: np.ndarray, fps: float) -> str:
    """An MP4 of a clip uint8 [T, H, W, C], as the `src` of a `<video>`."""
    scale = max(1, _ENLARGED_TO // min(clip_THWC.shape[1:3]))
    enlarged_THWC = clip_THWC.repeat(scale, axis=1).repeat(scale, axis=2)
    mp4 = media.encode_mp4(enlarged_THWC, fps)
    return f"data:video/mp4;base64,{base64.b64encode(mp4).decode()}"
