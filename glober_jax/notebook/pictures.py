"""Videos and feature maps as pictures in a notebook.

Dimension key: T frames, X, Y frame size, H, W size of a map, C its channels; pixels are uint8 RGB.
"""

import html
from collections.abc import Mapping

import numpy as np
from IPython.display import HTML, Image

from glober_jax import media

# Pixels that a video and a channel are enlarged to, about.
_VIDEO_SIZE, _CHANNEL_SIZE = 192, 32
# Colours saturate at this many standard deviations.
_DEVIATIONS = 2.5


def play(videos: Mapping[str, np.ndarray], fps: float) -> HTML:
    """Looping videos [T, X, Y, 3] side by side, with titles."""
    figures = []
    for title, video in videos.items():
        frames = media.enlarge(video, max(1, _VIDEO_SIZE // video.shape[1]))
        figures.append(
            '<figure style="margin:0;text-align:center"><video autoplay loop muted playsinline '
            f'controls width="{frames.shape[2]}" src="{media.mp4_data_uri(frames, fps)}"></video>'
            f"<figcaption>{html.escape(title)}</figcaption></figure>"
        )
    return HTML(f'<div style="display:flex;flex-wrap:wrap;gap:8px">{"".join(figures)}</div>')


def show(picture_XYC: np.ndarray) -> Image:
    """One picture [X, Y, 3], as PNG."""
    return Image(data=media.encode_png(picture_XYC))


def colours(maps: np.ndarray) -> np.ndarray:
    """Maps [..., C] as pixels [..., 3]: red, green and blue are the first principal components.

    They are those over all positions, so that equal colours mean equal features.
    """
    x = maps.reshape(-1, maps.shape[-1]).astype(np.float64)
    x -= x.mean(0)
    _, directions = np.linalg.eigh(x.T @ x)
    main = directions[:, ::-1][:, :3]
    # The sign of an eigenvector is arbitrary; this choice is reproducible.
    main = main * np.sign(main[np.abs(main).argmax(0), np.arange(main.shape[1])])
    found = np.zeros((len(x), 3))
    found[:, : main.shape[1]] = x @ main
    scale = _DEVIATIONS * found.std(0) + 1e-12
    return _pixels(0.5 + 0.5 * found / scale).reshape(*maps.shape[:-1], 3)


def channels(map_HWC: np.ndarray, columns: int = 16) -> np.ndarray:
    """A grid of all channels of a map: negative values blue, 0 white, positive values red."""
    x = np.moveaxis(map_HWC, -1, 0)[:, None] / (_DEVIATIONS * map_HWC.std() + 1e-12)
    strength = np.clip(np.abs(x), 0, 1)
    red, blue = 1 - strength * (x < 0), 1 - strength * (x > 0)
    pixels = _pixels(np.stack([red, 1 - strength, blue], axis=-1))
    return media.tile_videos(pixelated(pixels, _CHANNEL_SIZE), columns)[0]


def pixelated(maps: np.ndarray, size: int) -> np.ndarray:
    """Pixels [..., H, W, 3] as squares: [..., size, size, 3]."""
    rows, columns = (np.arange(size) * side // size for side in maps.shape[-3:-1])
    return maps[..., rows[:, None], columns, :]


def sheet(rows: Mapping[str, np.ndarray], size: int = 128) -> np.ndarray:
    """Labelled rows of n pictures [n, H, W, 3], enlarged to `size`."""
    same = np.stack([pixelated(row, size) for row in rows.values()])
    return media.contact_sheet(same, columns=same.shape[1], gap=2, row_labels=list(rows))


def _pixels(values: np.ndarray) -> np.ndarray:
    return np.round(255 * np.clip(values, 0, 1)).astype(np.uint8)
