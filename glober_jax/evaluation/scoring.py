"""Scores of measured clips: sections of a result, see `results`.

    fvd       Fréchet distance of I3D logits, with the protocol's covariance
    kvd       kernel distance of I3D logits
    fd_alex   Fréchet distance of AlexNet's features of single frames: blind to motion, not an FID

Dimension key: N, M clips, K key frames, V features of all frames of a clip.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from glober_jax.evaluation.measuring import Measures
from glober_jax.evaluation.metrics import frame_quality, motion
from glober_jax.evaluation.metrics.distances import frechet_distance, kernel_distance
from glober_jax.evaluation.metrics.intervals import (
    CONFIDENCE,
    Score,
    extrapolate,
    jackknife_interval,
)
from glober_jax.models import lpips

# (real, other) clips of each repeat.
Repeats = Sequence[tuple[Measures, Measures]]

# Reconstructions of real clips: every frame through the frame codec; the key frames' latents,
# interpolated linearly in time, through the codec; the clip through encoder and decoder.
PARTS = ("codec", "interpolated", "reconstruction")

_LEAST_TO_EXTRAPOLATE = 64


def scores(repeats: Repeats, ddof: int) -> dict[str, Any]:
    """`video_scores` and `fd_alex`; raises as `jackknife_interval`."""
    # Frames of one clip are alike, so the jackknife has to leave out whole clips: one row each.
    rows = [
        tuple(measures["frames"].reshape(len(measures["frames"]), -1) for measures in pair)
        for pair in repeats
    ]

    def distance(x_NV: np.ndarray, y_MV: np.ndarray) -> float:
        frames = (values.reshape(-1, lpips.POOLED_WIDTH) for values in (x_NV, y_MV))
        return frechet_distance(*frames, ddof=ddof)

    return video_scores(repeats, ddof) | {"fd_alex": _record(distance, rows, least=0.0)}


def video_scores(repeats: Repeats, ddof: int) -> dict[str, Any]:
    """`fvd`, extrapolated too where there are enough clips, and `kvd`; both need logits only."""
    logits = [tuple(measures["logits"] for measures in pair) for pair in repeats]
    frechet = functools.partial(frechet_distance, ddof=ddof)
    fvd = _record(frechet, logits, least=0.0)
    if fvd["num_real"] == fvd["num_generated"] >= _LEAST_TO_EXTRAPOLATE:
        fvd["extrapolated"] = extrapolate(frechet, *logits[0])
    return {"fvd": fvd, "kvd": _record(kernel_distance, logits, least=-np.inf)}


def quality(measures: Measures) -> dict[str, Any]:
    """`frame_quality.summarise` of PSNR, SSIM and LPIPS; of PSNR also the pooled `of_clips`."""
    names = {"psnr": "psnr_db", "ssim": "ssim", "lpips": "lpips"}
    found = {
        name: frame_quality.summarise(measures[metric])
        for metric, name in names.items()
        if metric in measures
    }
    found["psnr_db"]["of_clips"] = float(frame_quality.pooled_psnr(measures["psnr"]).mean())
    return found


def motion_scores(real: Measures, generated: Measures) -> dict[str, Any]:
    """`motion.compare` of every measure of motion, by name."""
    return {
        name: motion.compare(real[name], generated[name])
        for name in (*motion.OF_PIXELS, *motion.OF_FLOW)
    }


def part_scores(
    real: Measures, made: Mapping[str, Measures], key_positions_K: np.ndarray, ddof: int
) -> dict[str, Any]:
    """Quality and motion of each of `PARTS`, and video scores of those with `logits`.

    `made` are measures of `measuring.paired_quality`; the encoder sees frames `key_positions_K`.
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
    """Means over repeats of a score and its bounds; shared real videos keep the interval wide."""
    intervals = [jackknife_interval(score, *pair, least=least) for pair in repeats]
    real_NV, other_MV = repeats[0]
    return {
        "value": float(np.mean([interval.value for interval in intervals])),
        "low": float(np.mean([interval.low for interval in intervals])),
        "high": float(np.mean([interval.high for interval in intervals])),
        "confidence": CONFIDENCE,
        "repeats": [interval.value for interval in intervals],
        "num_real": len(real_NV),
        "num_generated": len(other_MV),
    }
