"""Precision, recall, density and coverage of generated clips, and their distance to training clips.

Clips are points in any feature space, with Euclidean distances. Dimension key: N, M clips, D
features.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist

from glober_jax.errors import UserError

# k of the nearest-neighbour balls.
NEIGHBOURS = 5
_QUANTILE, _NUM_PAIRS = 0.95, 16


def prdc(real_ND: np.ndarray, generated_MD: np.ndarray, k: int = NEIGHBOURS) -> dict[str, float]:
    """Overlap of two sets of more than `k` clips each.

    Precision and recall as in Kynkäänniemi et al. 2019 (arXiv 1904.06991), density and coverage as
    in Naeem et al. 2020 (arXiv 2002.09797). A clip's ball reaches to its k-th neighbour in its set.

    Returns:
      precision: share of generated clips inside a real clip's ball.
      recall: share of real clips inside a generated clip's ball.
      density: mean number of real balls around a generated clip, over k; may exceed 1.
      coverage: share of real clips whose ball holds a generated clip.
    """
    distance_MN = cdist(generated_MD, real_ND)
    in_real_MN = distance_MN <= _radii(real_ND, k)
    in_generated_MN = distance_MN <= _radii(generated_MD, k)[:, None]
    return {
        "precision": float(in_real_MN.any(axis=1).mean()),
        "recall": float(in_generated_MN.any(axis=0).mean()),
        "density": float(in_real_MN.sum() / (k * len(generated_MD))),
        "coverage": float(in_real_MN.any(axis=0).mean()),
    }


def memorisation(
    generated_ND: np.ndarray,
    held_out_ND: np.ndarray,
    training_MD: np.ndarray,
    training_names: Sequence[str],
) -> dict[str, Any]:
    """Distances of generated clips to training clips, relative to those of held-out clips.

    Returns:
      memorisation_ratio: median distance of generated clips to the nearest training clip over that
        of held-out clips; about 1 for new clips, 0 for copies.
      memorised: share of generated clips nearer to a training clip than 95 % of held-out ones;
        about 0.05 for new clips, 1 for copies.
      nearest_training_clips: {"generated", "training", "distance"} of the 16 nearest pairs.

    Raises `UserError` where half of the held-out clips are training clips themselves.
    """
    distance_NM = cdist(generated_ND, training_MD)
    distance_N = distance_NM.min(axis=1)
    expected_N = cdist(held_out_ND, training_MD).min(axis=1)
    if np.median(expected_N) == 0:
        raise UserError(
            "at least half of the held-out clips are equal to training clips, so distances to "
            "training clips mean nothing; compare with clips of the test split"
        )
    return {
        "memorisation_ratio": float(np.median(distance_N) / np.median(expected_N)),
        "memorised": float((distance_N < np.quantile(expected_N, 1 - _QUANTILE)).mean()),
        "nearest_training_clips": [
            {
                "generated": f"generated {i}",
                "training": training_names[distance_NM[i].argmin()],
                "distance": float(distance_N[i]),
            }
            for i in np.argsort(distance_N, kind="stable")[:_NUM_PAIRS]
        ],
    }


def _radii(points_ND: np.ndarray, k: int) -> np.ndarray:
    """Distance of every point to its k-th nearest other point."""
    return np.partition(cdist(points_ND, points_ND), k, axis=1)[:, k]
