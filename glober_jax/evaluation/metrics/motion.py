"""Motion of clips from pixels alone, and the distance of generated motion to real motion.

With pixels x[t] in [0, 1], and means over all pixels, colours and frames of one clip:

    difference  mean |x[t+1] - x[t]|                                      amount of change
    roughness   mean |x[t+1] - 2 x[t] + x[t-1]| / mean |x[t+1] - x[t]|    jerkiness of change
    flicker     mean |m[t+1] - 2 m[t] + m[t-1]|, m[t] the mean of x[t]    unsteadiness of brightness
    frozen      share of neighbouring frames that are equal

Frames are equal where at most one value in a hundred differs by more than one grey level. Smaller
is not better: a frozen clip has difference, roughness and flicker 0. What counts is the distance to
real clips (`compare`). Dimension key: N clips, T frames, H, W frame size, C colours.
"""

import numpy as np
from scipy.stats import wasserstein_distance

from glober_jax.errors import UserError

MEASURES = ("difference", "roughness", "flicker", "frozen")

_MIN_FRAMES = 3
_EQUAL_PART = 0.99
_EQUAL_LEVELS = 1


def measure_clip(clip_THWC: np.ndarray) -> dict[str, np.ndarray]:
    """`MEASURES` of one uint8 clip, T >= 3, as float64 scalars; `difference_by_index` [T-1].

    The roughness of a clip without any change is 0.
    """
    if len(clip_THWC) < _MIN_FRAMES:
        raise UserError(
            f"a clip of {len(clip_THWC)} frames is too short to measure motion; "
            f"evaluate clips of at least {_MIN_FRAMES} frames"
        )
    # Integer sums are exact, and so equal on all machines.
    step_THWC = np.diff(clip_THWC.astype(np.int16), axis=0)
    size_THWC = np.abs(step_THWC)
    by_index_T = size_THWC.mean(axis=(1, 2, 3)) / 255
    difference = by_index_T.mean()
    acceleration = np.abs(np.diff(step_THWC, axis=0)).mean() / 255
    brightness_T = clip_THWC.mean(axis=(1, 2, 3)) / 255
    equal_part_T = (size_THWC <= _EQUAL_LEVELS).mean(axis=(1, 2, 3))
    return {
        "difference": difference,
        "roughness": acceleration / difference if difference else np.float64(0.0),
        "flicker": np.abs(np.diff(brightness_T, n=2)).mean(),
        "frozen": (equal_part_T >= _EQUAL_PART).mean(),
        "difference_by_index": by_index_T,
    }


def compare(real_N: np.ndarray, generated_N: np.ndarray) -> dict[str, float | None]:
    """Means of a measure over two sets, `share` = generated / real, and their `distance`.

    The distance is Wasserstein's, in the unit of the measure: 0 only for equal distributions. Two
    samples of real clips have a small one too. `share` is None for a real mean of 0.
    """
    real, generated = float(real_N.mean()), float(generated_N.mean())
    return {
        "real": real,
        "generated": generated,
        "distance": float(wasserstein_distance(real_N, generated_N)),
        "share": generated / real if real else None,
    }
