"""Controls: real clips with one thing broken, whose scores show how large a score is.

Dimension key: N clips, T frames, H, W frame size, C colours; all uint8.
"""

import numpy as np
from scipy.ndimage import gaussian_filter

from glober_jax.evaluation.measuring import ClipSet

# Standard deviation of the blur, of a frame's width: 2 pixels of 64.
_BLUR = 1 / 32


def frozen(clips_NTHWC: np.ndarray) -> np.ndarray:
    """Each clip's middle frame, repeated: no motion."""
    length = clips_NTHWC.shape[1]
    return np.repeat(clips_NTHWC[:, length // 2, None], length, axis=1)


def shuffled(clips_NTHWC: np.ndarray) -> np.ndarray:
    """The frames of each clip in one random order, the same for all: no continuity."""
    return clips_NTHWC[:, np.random.default_rng(0).permutation(clips_NTHWC.shape[1])]


def blurred(clips_NTHWC: np.ndarray) -> np.ndarray:
    """Every frame under a Gaussian blur of 1/32 of its width: no detail."""
    sigma = _BLUR * clips_NTHWC.shape[3]
    smooth = gaussian_filter(clips_NTHWC.astype(np.float32), (0, 0, sigma, sigma, 0))
    return np.round(smooth).astype(np.uint8)


CONTROLS = {"frozen": frozen, "shuffled": shuffled, "blurred": blurred}


def control(name: str, clips: ClipSet) -> ClipSet:
    """The same clips broken in one of the ways of `CONTROLS`."""

    def read(first: int, count: int) -> np.ndarray:
        return CONTROLS[name](clips.read(first, count))

    return ClipSet(name, {"control": name, "of": clips.identity}, clips.num_clips, read)
