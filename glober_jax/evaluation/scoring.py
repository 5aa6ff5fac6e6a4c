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

from glober_jax.evaluation import frame_quality, lpips, motion, optical_flow, results
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
    logits = [tuple(measures["logits"] for measures in pair) for pair in repeats]
    looks = [tuple(_flat(measures["looks"]) for measures in pair) for pair in repeats]
    frechet = functools.partial(frechet_distance, ddof=ddof)
    records = {
        "fvd": _record(logits, frechet),
        "kvd": _record(logits, kernel_distance),
        "fd_alex": _record(looks, functools.partial(_frechet_of_looks, ddof=ddof)),
    }
    real_ND, other_MD = logits[0]
    if len(real_ND) == len(other_MD) >= _LEAST_TO_EXTRAPOLATE:
        line = extrapolate(frechet, real_ND, other_MD)
        limit = {"value": line.value, "standard_error": line.standard_error}
        records["fvd"]["extrapolated"] = limit
    return records


def frechet_record(x_ND: np.ndarray, y_MD: np.ndarray, ddof: int) -> dict[str, Any]:
    """The Frechet distance of two sets of features alone, as `results.score_record` gives it."""
    return _record([(x_ND, y_MD)], functools.partial(frechet_distance, ddof=ddof))


def quality(measures: Measures) -> dict[str, Any]:
    """Value, standard error and means by index of what was measured of PSNR, SSIM and LPIPS."""
    names = {"psnr": "psnr_db", "ssim": "ssim", "lpips": "lpips"}
    return {
        name: dataclasses.asdict(frame_quality.summarise(measures[metric]))
        for metric, name in names.items()
        if metric in measures
    }


def motion_scores(real: Measures, generated: Measures) -> dict[str, Any]:
    """{measure: {"real", "generated", "distance"}} of every measure of motion."""
    return {
        name: dataclasses.asdict(motion.compare(real[name], generated[name]))
        for name in (*motion.MEASURES, *optical_flow.MEASURES)
    }


def _record(
    repeats: Sequence[tuple[np.ndarray, np.ndarray]],
    score: Callable[[np.ndarray, np.ndarray], float],
) -> dict[str, Any]:
    intervals = [jackknife_interval(score, real_ND, other_MD) for real_ND, other_MD in repeats]
    real_ND, other_MD = repeats[0]
    return results.score_record(intervals, len(real_ND), len(other_MD))


def _flat(looks_NFD: np.ndarray) -> np.ndarray:
    """Clip by clip, so that an interval leaves out whole clips: their frames are alike."""
    return looks_NFD.reshape(len(looks_NFD), -1)


def _frechet_of_looks(x_NV: np.ndarray, y_MV: np.ndarray, ddof: int) -> float:
    frames = (values.reshape(-1, lpips.POOLED_WIDTH) for values in (x_NV, y_MV))
    return frechet_distance(*frames, ddof=ddof)
