"""From what was measured of two sets of clips to scores.

    fvd       Frechet distance of I3D logits, by the protocol's covariance
    kvd       kernel distance of the same
    fd_alex   Frechet distance of AlexNet's features of single frames: sees no motion, and is no FID

Dimension key: N, M clips, F frames looked at, D features.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from glober_jax.evaluation import (
    frame_quality,
    lpips,
    motion,
    optical_flow,
    reconstruction,
    results,
)
from glober_jax.evaluation.distances.extrapolation import extrapolate
from glober_jax.evaluation.distances.frechet import frechet_distance
from glober_jax.evaluation.distances.intervals import jackknife_interval
from glober_jax.evaluation.distances.kernel import kernel_distance
from glober_jax.evaluation.measuring import Measures

# Real and other clips of each repeat.
Repeats = Sequence[tuple[Measures, Measures]]

_LEAST_TO_EXTRAPOLATE = 64


def scores(repeats: Repeats, ddof: int) -> dict[str, Any]:
    """`fvd`, `kvd` and `fd_alex` as `results.score_record` gives them; `fvd` also extrapolated.

    Raises:
      UserError: there are too few clips for an interval, or a feature is not finite.
    """
    looks = [tuple(_flat(measures["looks"]) for measures in pair) for pair in repeats]
    distance = functools.partial(_frechet_of_looks, ddof=ddof)
    return video_scores(repeats, ddof) | {"fd_alex": _record(looks, distance, least=0.0)}


def video_scores(repeats: Repeats, ddof: int) -> dict[str, Any]:
    """`fvd` and `kvd` of `scores` alone, which need nothing but logits."""
    logits = [tuple(measures["logits"] for measures in pair) for pair in repeats]
    frechet = functools.partial(frechet_distance, ddof=ddof)
    records = {
        "fvd": _record(logits, frechet, least=0.0),
        # Without bias, and so below 0 about as often as above it where the sets are alike.
        "kvd": _record(logits, kernel_distance, least=-np.inf),
    }
    real_ND, other_MD = logits[0]
    if len(real_ND) == len(other_MD) >= _LEAST_TO_EXTRAPOLATE:
        line = extrapolate(frechet, real_ND, other_MD)
        limit = {"value": line.value, "standard_error": line.standard_error}
        records["fvd"]["extrapolated"] = limit
    return records


def quality(measures: Measures) -> dict[str, Any]:
    """Value, standard error and means by index of what was measured of PSNR, SSIM and LPIPS.

    Of PSNR also `of_clips`, the mean of `reconstruction.pooled_psnr`.
    """
    names = {"psnr": "psnr_db", "ssim": "ssim", "lpips": "lpips"}
    found = {
        name: dataclasses.asdict(frame_quality.summarise(measures[metric]))
        for metric, name in names.items()
        if metric in measures
    }
    found["psnr_db"]["of_clips"] = float(reconstruction.pooled_psnr(measures["psnr"]).mean())
    return found


def motion_scores(real: Measures, generated: Measures) -> dict[str, Any]:
    """{measure: {"real", "generated", "distance", "share"}} of every measure of motion."""
    return {
        name: dataclasses.asdict(motion.compare(real[name], generated[name]))
        for name in (*motion.MEASURES, *optical_flow.MEASURES)
    }


def _record(
    repeats: Sequence[tuple[np.ndarray, np.ndarray]],
    score: Callable[[np.ndarray, np.ndarray], float],
    least: float,
) -> dict[str, Any]:
    intervals = [jackknife_interval(score, *pair, least=least) for pair in repeats]
    real_ND, other_MD = repeats[0]
    return results.score_record(intervals, len(real_ND), len(other_MD))


def _flat(looks_NFD: np.ndarray) -> np.ndarray:
    """Clip by clip, so that an interval leaves out whole clips: their frames are alike."""
    return looks_NFD.reshape(len(looks_NFD), -1)


def _frechet_of_looks(x_NV: np.ndarray, y_MV: np.ndarray, ddof: int) -> float:
    frames = (values.reshape(-1, lpips.POOLED_WIDTH) for values in (x_NV, y_MV))
    return frechet_distance(*frames, ddof=ddof)
