"""From what was measured of two sets of clips to scores: sections of a result, see `results`.

    fvd       Frechet distance of I3D logits, by the protocol's covariance
    kvd       kernel distance of the same
    fd_alex   Frechet distance of AlexNet's features of single frames: sees no motion, and is no FID

Dimension key: N, M clips, K key frames, D features, V features of all frames.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from glober_jax.evaluation.measuring import Measures
from glober_jax.evaluation.metrics import frame_quality, motion, optical_flow
from glober_jax.evaluation.metrics.frechet import frechet_distance
from glober_jax.evaluation.metrics.intervals import Score, extrapolate, jackknife_interval
from glober_jax.evaluation.metrics.kernel import kernel_distance
from glober_jax.models import lpips

# Real and other clips of each repeat.
Repeats = Sequence[tuple[Measures, Measures]]

# What parts of a model make of real clips: every frame through the frame codec and back; the key
# frames' latents, interpolated linearly in time, through the codec; and the clip through the
# encoder, its global feature and the decoder.
PARTS = ("codec", "interpolated", "reconstruction")

_LEAST_TO_EXTRAPOLATE = 64


def scores(repeats: Repeats, ddof: int) -> dict[str, Any]:
    """Records of `fvd`, also extrapolated, `kvd` and `fd_alex`; raises as `jackknife_interval`."""
    # Clip by clip, so that an interval leaves out whole clips: their frames are alike.
    looks = [
        tuple(measures["looks"].reshape(len(measures["looks"]), -1) for measures in pair)
        for pair in repeats
    ]

    def distance(x_NV: np.ndarray, y_MV: np.ndarray) -> float:
        frames = (values.reshape(-1, lpips.POOLED_WIDTH) for values in (x_NV, y_MV))
        return frechet_distance(*frames, ddof=ddof)

    return video_scores(repeats, ddof) | {"fd_alex": _record(distance, looks, least=0.0)}


def video_scores(repeats: Repeats, ddof: int) -> dict[str, Any]:
    """`fvd` and `kvd` of `scores` alone, which need nothing but logits."""
    logits = [tuple(measures["logits"] for measures in pair) for pair in repeats]
    frechet = functools.partial(frechet_distance, ddof=ddof)
    fvd = _record(frechet, logits, least=0.0)
    if fvd["num_real"] == fvd["num_generated"] >= _LEAST_TO_EXTRAPOLATE:
        fvd["extrapolated"] = extrapolate(frechet, *logits[0])
    # Without bias, and so below 0 about as often as above it where the sets are alike.
    return {"fvd": fvd, "kvd": _record(kernel_distance, logits, least=-np.inf)}


def quality(measures: Measures) -> dict[str, Any]:
    """Value, standard error and means by index of what was measured of PSNR, SSIM and LPIPS.

    Of PSNR also `of_clips`, the mean of `frame_quality.pooled_psnr`.
    """
    names = {"psnr": "psnr_db", "ssim": "ssim", "lpips": "lpips"}
    found = {
        name: frame_quality.summarise(measures[metric])
        for metric, name in names.items()
        if metric in measures
    }
    found["psnr_db"]["of_clips"] = float(frame_quality.pooled_psnr(measures["psnr"]).mean())
    return found


def motion_scores(real: Measures, generated: Measures) -> dict[str, Any]:
    """{measure: {"real", "generated", "distance", "share"}} of every measure of motion."""
    return {
        name: motion.compare(real[name], generated[name])
        for name in (*motion.MEASURES, *optical_flow.MEASURES)
    }


def part_scores(
    real: Measures, made: Mapping[str, Measures], key_positions_K: np.ndarray, ddof: int
) -> dict[str, Any]:
    """Quality of each of `PARTS`, scores against `real` where it has `logits`, and its motion.

    `made` is of every part what `measuring.pairs` measures; `key_positions_K` are the places that
    the encoder sees.
    """
    kinds = {}
    for kind, measures in made.items():
        kinds[kind] = quality(measures)
        for entry in kinds[kind].values():
            elsewhere = np.delete(entry["by_index"], key_positions_K)
            entry["at_keys"] = float(np.take(entry["by_index"], key_positions_K).mean())
            entry["elsewhere"] = float(elsewhere.mean()) if elsewhere.size else None
        if "logits" in measures:
            kinds[kind]["scores"] = video_scores([(real, measures)], ddof)
        kinds[kind]["motion"] = motion_scores(real, measures)
    return {"num_clips": len(real["difference"]), "kinds": kinds}


def _record(
    score: Score, repeats: Sequence[tuple[np.ndarray, np.ndarray]], least: float
) -> dict[str, Any]:
    """The means over repeats of a score and its bounds, at least `least`.

    Repeats share real videos, so the interval of their mean is not taken to be narrower than theirs
    are on average.
    """
    intervals = [jackknife_interval(score, *pair, least=least) for pair in repeats]
    real_ND, other_MD = repeats[0]
    return {
        **{
            name: float(np.mean([getattr(interval, name) for interval in intervals]))
            for name in ("value", "low", "high")
        },
        "confidence": intervals[0].confidence,
        "repeats": [interval.value for interval in intervals],
        "num_real": len(real_ND),
        "num_generated": len(other_MD),
    }
