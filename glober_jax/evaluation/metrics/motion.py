"""Motion of clips, from pixels and from optical flow, and the distance of generated to real motion.

With pixels x[t] in [0, 1], and means over all pixels, colours and frames of one clip:

    difference      mean |x[t+1] - x[t]|                                    amount of change
    roughness       mean |x[t+1] - 2 x[t] + x[t-1]| / mean |x[t+1] - x[t]|  jerkiness of change
    flicker         mean |m[t+1] - 2 m[t] + m[t-1]|, m[t] the mean of x[t]  unsteady brightness
    frozen          share of neighbouring frames that are equal: at most one value in a hundred
                    differs by more than one grey level
    warping_error   mean (x[t] - warped x[t+1])² over pixels where the forward and backward flows
                    agree (Sundaram et al. 2010), as in Lai et al. 2018 (arXiv 1808.00449); over
                    all pixels where they agree nowhere
    flow_magnitude  mean length of the flow, in pixels per frame
    occluded        share of pixels where the flows disagree or leave the frame

The flow is DIS (Kroeger et al. 2016, arXiv 1603.03590), from OpenCV. Smaller is not better: a
frozen clip has no difference and no warping error. What counts is the distance to real clips.
Dimension key: N clips, T frames, H, W frame size, C colours.
"""

import itertools
import math
from types import ModuleType
from typing import Any

import numpy as np
from scipy.stats import wasserstein_distance

from glober_jax.errors import UserError
from glober_jax.optional_dependencies import require

OF_PIXELS = ("difference", "roughness", "flicker", "frozen")
OF_FLOW = ("warping_error", "flow_magnitude", "occluded")

_MIN_FRAMES = 3
_EQUAL_PART = 0.99
_EQUAL_LEVELS = 1
# DIS matches patches of 8x8 pixels at no more than half the size: smaller frames are enlarged.
_MIN_SIDE = 128


def measure_pixels(clip_THWC: np.ndarray) -> dict[str, np.ndarray]:
    """`OF_PIXELS` of one uint8 clip, T >= 3, as float64 scalars; `difference_by_index` [T-1].

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


def measure_flow(clip_THWC: np.ndarray) -> dict[str, np.ndarray]:
    """`OF_FLOW` of one uint8 clip, T >= 2, as float64 means over its pairs of neighbouring frames.

    Raises `UserError` without OpenCV.
    """
    require("cv2", "opencv-python-headless", "the warping error", "requirements-eval.txt")
    import cv2

    # OpenCV does not guarantee the same flow for any number of threads.
    cv2.setNumThreads(1)
    scale = max(math.ceil(_MIN_SIDE / min(clip_THWC.shape[1:3])), 1)
    frames = [
        cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
        for frame in clip_THWC
    ]
    estimator = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    pairs = [
        _measure_pair(cv2, estimator, frame, following, scale)
        for frame, following in itertools.pairwise(frames)
    ]
    return dict(zip(OF_FLOW, np.mean(pairs, axis=0, dtype=np.float64), strict=True))


def compare(real_N: np.ndarray, generated_N: np.ndarray) -> dict[str, float | None]:
    """Means of a measure over two sets, and the Wasserstein `distance` in the measure's unit.

    `share` is generated / real, None for a real mean of 0.
    """
    real, generated = float(real_N.mean()), float(generated_N.mean())
    return {
        "real": real,
        "generated": generated,
        "distance": float(wasserstein_distance(real_N, generated_N)),
        "share": generated / real if real else None,
    }


def _measure_pair(
    cv2: ModuleType, estimator: Any, frame_HWC: np.ndarray, next_HWC: np.ndarray, scale: int
) -> tuple[float, float, float]:
    """(warping error, flow magnitude, occluded part) of frames enlarged `scale` times."""
    grey_HW, next_grey_HW = (cv2.cvtColor(x, cv2.COLOR_RGB2GRAY) for x in (frame_HWC, next_HWC))
    forward_HW2 = estimator.calc(grey_HW, next_grey_HW, None)
    backward_HW2 = estimator.calc(next_grey_HW, grey_HW, None)

    height, width = grey_HW.shape
    x_HW, y_HW = np.meshgrid(*(np.arange(size, dtype=np.float32) for size in (width, height)))
    x_HW, y_HW = x_HW + forward_HW2[..., 0], y_HW + forward_HW2[..., 1]

    def warp(image: np.ndarray) -> np.ndarray:
        return cv2.remap(image, x_HW, y_HW, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

    back_HW2 = warp(backward_HW2)
    gap_HW = np.square(forward_HW2 + back_HW2).sum(-1)
    length_HW = np.square(forward_HW2).sum(-1) + np.square(back_HW2).sum(-1)
    inside_HW = (x_HW >= 0) & (x_HW <= width - 1) & (y_HW >= 0) & (y_HW <= height - 1)
    # The tolerance of Sundaram et al.; 0.5 is in squared pixels of the original clip.
    visible_HW = inside_HW & (gap_HW < 0.01 * length_HW + 0.5 * scale**2)

    residual_HWC = (frame_HWC - warp(next_HWC.astype(np.float32))) / 255
    error_HW = np.square(residual_HWC).mean(-1)
    error = error_HW[visible_HW] if visible_HW.any() else error_HW
    magnitude = np.sqrt(np.square(forward_HW2).sum(-1)).mean() / scale
    return error.mean(), magnitude, 1 - visible_HW.mean()
