"""Precision, recall, density and coverage of generated clips, and how near they are to training.

Clips are points in a feature space that the caller chooses, such as pooled AlexNet features;
distances are Euclidean. Dimension key: N, M clips, D features, B clips of one block.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist

from glober_jax.errors import UserError

# By default a clip's ball reaches to its neighbour of this number.
NEIGHBOURS = 5
# Rows of a distance matrix that are held at once.
_BLOCK = 1024
# A generated clip counts as memorised if it is nearer than 95 % of the held-out clips.
_QUANTILE, _NUM_PAIRS = 0.95, 16


def prdc(real_ND: np.ndarray, generated_MD: np.ndarray, k: int = NEIGHBOURS) -> dict[str, float]:
    """How two sets of clips overlap; a clip's ball reaches to its k-th neighbour in its own set.

    Precision and recall are those of Kynkäänniemi et al. 2019 (arXiv 1904.06991), density and
    coverage those of Naeem et al. 2020 (arXiv 2002.09797).

    Returns:
      precision: part of the generated clips that lie in a real clip's ball.
      recall: part of the real clips that lie in a generated clip's ball.
      density: real balls that hold a generated clip, on average, over k; may exceed 1.
      coverage: part of the real clips whose ball holds a generated clip.

    Raises:
      UserError: a set has no more than `k` clips.
    """
    for name, features in (("real", real_ND), ("generated", generated_MD)):
        if len(features) <= k:
            raise UserError(
                f"{len(features)} {name} clips are too few for coverage, which looks at {k} "
                f"neighbours of each; evaluate at least {k + 1} clips"
            )
    real_radius_N, generated_radius_M = _radii(real_ND, k), _radii(generated_MD, k)
    num_balls = precise = first = 0
    recalled_N, covered_N = np.zeros((2, len(real_ND)), bool)
    for distance_BN in _distances(generated_MD, real_ND):
        in_real_BN = distance_BN <= real_radius_N
        num_balls += in_real_BN.sum()
        precise += in_real_BN.any(axis=1).sum()
        covered_N |= in_real_BN.any(axis=0)
        radius_B = generated_radius_M[first : first + len(distance_BN)]
        recalled_N |= (distance_BN <= radius_B[:, None]).any(axis=0)
        first += len(distance_BN)
    return {
        "precision": float(precise / len(generated_MD)),
        "recall": float(recalled_N.mean()),
        "density": float(num_balls / (k * len(generated_MD))),
        "coverage": float(covered_N.mean()),
    }


def memorisation(
    generated_ND: np.ndarray,
    held_out_ND: np.ndarray,
    training_MD: np.ndarray,
    training_names: Sequence[str],
) -> dict[str, Any]:
    """Compares the distances of generated and of held-out clips to the training clips.

    Returns:
      memorisation_ratio: median distance of generated clips to their nearest training clip over
        that of held-out clips; about 1 for new clips, 0 for copies.
      memorised: part of the generated clips that are nearer to a training clip than 95 % of the
        held-out ones; about 0.05 for new clips, 1 for copies.
      nearest_training_clips: {"generated", "training", "distance"} of the 16 nearest pairs.

    Raises:
      UserError: half of the held-out clips are themselves in the training set.
    """
    distance_N, position_N = nearest(generated_ND, training_MD)
    expected_N, _ = nearest(held_out_ND, training_MD)
    if np.median(expected_N) == 0:
        raise UserError(
            "at least half of the held-out clips are equal to training clips, so they cannot show "
            "how near a new clip comes; compare with clips of the test split"
        )
    return {
        "memorisation_ratio": float(np.median(distance_N) / np.median(expected_N)),
        "memorised": float((distance_N < np.quantile(expected_N, 1 - _QUANTILE)).mean()),
        "nearest_training_clips": [
            {
                "generated": f"generated {i}",
                "training": training_names[position_N[i]],
                "distance": float(distance_N[i]),
            }
            for i in np.argsort(distance_N, kind="stable")[:_NUM_PAIRS]
        ],
    }


def nearest(queries_ND: np.ndarray, points_MD: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance to, and position of, the nearest point of every query: float64 [N], int64 [N].

    The distance to a copy is exactly 0.
    """
    blocks = [
        (block.min(axis=1), block.argmin(axis=1)) for block in _distances(queries_ND, points_MD)
    ]
    distances, positions = zip(*blocks, strict=True)
    return np.concatenate(distances), np.concatenate(positions)


def _radii(points_ND: np.ndarray, k: int) -> np.ndarray:
    """Distance of every point to its k-th nearest other point, float64 [N]."""
    # The nearest of all is the point itself.
    blocks = [np.partition(block, k, axis=1)[:, k] for block in _distances(points_ND, points_ND)]
    return np.concatenate(blocks)


def _distances(a_ND: np.ndarray, b_MD: np.ndarray) -> Iterator[np.ndarray]:
    """Blocks [B, M] of the matrix of distances, in float64."""
    for start in range(0, len(a_ND), _BLOCK):
        yield cdist(a_ND[start : start + _BLOCK], b_MD)
