"""Warping error: the change of a clip that its motion does not explain.

Frame t+1 is warped back along the optical flow from frame t (DIS, Kroeger et al. 2016, arXiv
1603.03590) and compared with frame t where the forward and backward flows agree (Sundaram et al.
2010), as in Lai et al. 2018 (arXiv 1808.00449). Flickering or melting content raises it. A frozen
clip has none, so read it beside the flow's magnitude. Needs OpenCV, from requirements-eval.txt.
Dimension key: N clips, T frames, H, W frame size, C colours.
"""

import itertools
import math
from types import ModuleType
from typing import Any

import numpy as np

from glober_jax.optional_dependencies import require

MEASURES = ("warping_error", "flow_magnitude", "occluded")

# DIS matches patches of 8x8 pixels at no more than half the size: smaller frames are enlarged.
_MIN_SIDE = 128


def measure_clip(clip_THWC: np.ndarray) -> dict[str, np.ndarray]:
    """`MEASURES` of one uint8 clip, T >= 2, as float64 means over its pairs of neighbouring frames.

    `warping_error`: mean (x[t] - warped x[t+1])² over pixels where the flows agree (all pixels if
      they agree nowhere), x in [0, 1]; `flow_magnitude`: mean length of the flow, in pixels per
      frame; `occluded`: share of pixels where the flows disagree or leave the frame.
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
    return dict(zip(MEASURES, np.mean(pairs, axis=0, dtype=np.float64), strict=True))


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
