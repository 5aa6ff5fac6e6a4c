"""Real clips, and what can be wrong with generated ones beside `controls`, for tests.

All functions take and give uint8 clips [N, T, H, W, C]; none depends on chance but by a fixed seed.
"""

from collections.abc import Callable, Iterable

import numpy as np
from scipy.ndimage import gaussian_filter

from glober_jax.data.datasets.sky_render import render_video


def sky_clips(
    scenes: Iterable[int], *, size: int = 32, num_frames: int = 16, stride: int = 1
) -> np.ndarray:
    """The first frames of synthetic skies, every `stride`-th one; every fourth scene is a class.

    Clips at half the speed of others are the same scenes at half the stride.
    """
    drawn = [render_video(0, i, size=size, num_frames=num_frames * stride) for i in scenes]
    return np.stack(drawn)[:, ::stride]


def measure(
    of_clip: Callable[[np.ndarray], dict[str, np.ndarray]], clips: np.ndarray
) -> dict[str, np.ndarray]:
    """The measures of every clip: arrays [N, ...] by name."""
    rows = [of_clip(clip) for clip in clips]
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def noise(clips: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian noise of `sigma` grey levels, anew in every frame."""
    drawn = np.random.default_rng(0).standard_normal(clips.shape, np.float32)
    return np.clip(np.round(clips + sigma * drawn), 0, 255).astype(np.uint8)


def blur(clips: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur of `sigma` pixels."""
    blurred = gaussian_filter(clips.astype(np.float32), (0, 0, sigma, sigma, 0))
    return np.round(blurred).astype(np.uint8)


def flicker(clips: np.ndarray, sigma: float) -> np.ndarray:
    """Every frame's light multiplied by 1 + `sigma` times a normal number."""
    drawn = np.random.default_rng(0).standard_normal((*clips.shape[:2], 1, 1, 1), np.float32)
    return np.clip(np.round(clips * (1 + sigma * drawn)), 0, 255).astype(np.uint8)


def replaced(clips: np.ndarray) -> np.ndarray:
    """The second half of each clip is another clip's: of skies in a row, of another class."""
    half = clips.shape[1] // 2
    return np.concatenate([clips[:, :half], np.roll(clips, 1, axis=0)[:, half:]], axis=1)


def unrelated(clips: np.ndarray) -> np.ndarray:
    """Every frame is of another clip: frame by frame the same pictures, without any motion."""
    rng = np.random.default_rng(0)
    columns = [clips[rng.permutation(len(clips)), t] for t in range(clips.shape[1])]
    return np.stack(columns, axis=1)
