"""Warping error: the changes of a clip that its motion does not explain.

Frame t+1 is pulled back along the optical flow from frame t (DIS, Kroeger et al. 2016, arXiv
1603.03590) and compared with frame t wherever the flows forward and backward agree (Sundaram et
al. 2010), as Lai et al. 2018 (arXiv 1808.00449) do. Real clips leave little, clips whose content
flickers or melts leave more. A frozen clip leaves nothing at all: read the error beside the flow's
magnitude, never alone.

Needs OpenCV, from requirements-eval.txt. Dimension key: N clips, T frames, H, W frame size,
C colours.
"""

import itertools
import math
from types import ModuleType
from typing import Any

import numpy as np

from glober_jax.evaluation.optional_dependencies import require

MEASURES = ("warping_error", "flow_magnitude", "occluded")

# DIS matches patches of 8x8 pixels, at half the size at most: smaller frames are enlarged first.
_MIN_SIDE = 128


def measure_clip(clip_THWC: np.ndarray) -> dict[str, np.ndarray]:
    """Measures one uint8 clip of 2 frames or more; raises `UserError` without OpenCV.

    Float64 scalars, means over the T-1 pairs of neighbouring frames:
      `warping_error`: mean (x[t] - warped x[t+1])² over pixels where the flows agree, x in [0, 1];
        over all pixels of a pair whose flows agree nowhere.
      `flow_magnitude`: mean length of the flow, in pixels of the clip per frame.
      `occluded`: part of the pixels, in [0, 1], where the flows disagree or leave the picture.
    """
    require("cv2", "opencv-python-headless", "the warping error")
    import cv2

    # OpenCV does not promise that a flow is the same however many threads share it.
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
    x_HW, y_HW = np.meshgrid(
        np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)
    )
    x_HW, y_HW = x_HW + forward_HW2[..., 0], y_HW + forward_HW2[..., 1]

    def warp(image: np.ndarray) -> np.ndarray:
        return cv2.remap(image, x_HW, y_HW, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

    back_HW2 = warp(backward_HW2)
    gap_HW = np.square(forward_HW2 + back_HW2).sum(-1)
    length_HW = np.square(forward_HW2).sum(-1) + np.square(back_HW2).sum(-1)
    inside_HW = (x_HW >= 0) & (x_HW <= width - 1) & (y_HW >= 0) & (y_HW <= height - 1)
    # The tolerance of Sundaram et al., 0.5 being in squared pixels of the clip as it was given.
    visible_HW = inside_HW & (gap_HW < 0.01 * length_HW + 0.5 * scale**2)

    residual_HWC = (frame_HWC - warp(next_HWC.astype(np.float32))) / 255
    error_HW = np.square(residual_HWC).mean(-1)
    error = error_HW[visible_HW] if visible_HW.any() else error_HW
    magnitude = np.sqrt(np.square(forward_HW2).sum(-1)).mean() / scale
    return error.mean(), magnitude, 1 - visible_HW.mean()
