"""Where generated clips lie among real ones: whether they are copies, and what they leave out.

Clips are points in a feature space that the caller chooses, such as pooled AlexNet features or
logits; distances are Euclidean, in float64. Dimension key: N, M clips, D features, B clips of one
block.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from glober_jax.errors import UserError

# Whose distance is the radius of a ball, by default.
NEIGHBOURS = 5
# Rows of a distance matrix, or training clips, that are held at once.
_BLOCK = 1024


@dataclasses.dataclass(frozen=True)
class Pair:
    """A generated clip, the training clip nearest to it, and their distance."""

    generated: str
    training: str
    distance: float


@dataclasses.dataclass(frozen=True)
class Memorisation:
    """How much nearer to the training clips the generated ones are than held-out real ones.

    Attributes:
      ratio: median distance of generated clips to their nearest training clip over that of held-out
        clips; about 1 for new clips, 0 for copies.
      nearer: part of the generated clips that are nearer to a training clip than `quantile` of the
        held-out ones; about 1 - `quantile` for new clips, 1 for copies.
      quantile: see `nearer`.
      nearest: the generated clips nearest to a training clip, the nearest first.
    """

    ratio: float
    nearer: float
    quantile: float
    nearest: tuple[Pair, ...]


@dataclasses.dataclass(frozen=True)
class Coverage:
    """How two sets of clips overlap; a clip's ball reaches to its k-th neighbour in its own set.

    Precision and recall are those of Kynkäänniemi et al. 2019 (arXiv 1904.06991), density and
    coverage those of Naeem et al. 2020 (arXiv 2002.09797).

    Attributes:
      precision: part of the generated clips that lie in a real clip's ball.
      recall: part of the real clips that lie in a generated clip's ball.
      density: real balls that hold a generated clip, on average, over k; may exceed 1.
      coverage: part of the real clips whose ball holds a generated clip.
    """

    precision: float
    recall: float
    density: float
    coverage: float


def nearest(queries_ND: np.ndarray, points_MD: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance to, and position of, the nearest point of every query: float64 [N], int64 [N].

    `points_MD` is read in blocks and may be a memory map larger than the memory. The distance to a
    copy is exactly 0.
    """
    queries_ND = np.asarray(queries_ND, np.float64)
    best_N = np.full(len(queries_ND), np.inf)
    position_N = np.zeros(len(queries_ND), np.int64)
    for start, block_BD in _blocks(points_MD):
        distance_NB = _distances(queries_ND, block_BD)
        column_N = distance_NB.argmin(axis=1)
        distance_N = distance_NB.min(axis=1)
        position_N = np.where(distance_N < best_N, start + column_N, position_N)
        best_N = np.minimum(best_N, distance_N)
    # `_distances` rounds where points nearly meet, which is where it matters here.
    difference_ND = queries_ND - np.asarray(points_MD[position_N], np.float64)
    return np.linalg.norm(difference_ND, axis=1), position_N


def memorisation(
    generated_ND: np.ndarray,
    held_out_ND: np.ndarray,
    training_MD: np.ndarray,
    *,
    generated_ids: Sequence[str],
    training_ids: Sequence[str],
    quantile: float = 0.95,
    num_pairs: int = 16,
) -> Memorisation:
    """Compares the distances of generated and of held-out clips to the training clips.

    Args:
      generated_ND: features of generated clips.
      held_out_ND: features of real clips that were not trained on, cut like the training clips.
      training_MD: features of every training clip; read in blocks.
      generated_ids: names of the generated clips, for the report.
      training_ids: names of the training clips.
      quantile: see `Memorisation.nearer`.
      num_pairs: how many of the nearest pairs to report.

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
    order = np.argsort(distance_N, kind="stable")[:num_pairs]
    return Memorisation(
        ratio=float(np.median(distance_N) / np.median(expected_N)),
        nearer=float((distance_N < np.quantile(expected_N, 1 - quantile)).mean()),
        quantile=quantile,
        nearest=tuple(
            Pair(generated_ids[i], training_ids[position_N[i]], float(distance_N[i])) for i in order
        ),
    )


def coverage(real_ND: np.ndarray, generated_MD: np.ndarray, *, k: int = NEIGHBOURS) -> Coverage:
    """Precision, recall, density and coverage of generated clips; balls of `k` neighbours.

    Raises:
      UserError: a set has no more than `k` clips.
    """
    for name, features in (("real", real_ND), ("generated", generated_MD)):
        if len(features) <= k:
            raise UserError(
                f"{len(features)} {name} clips are too few for coverage, which looks at {k} "
                f"neighbours of each; evaluate at least {k + 1} clips"
            )
    real_ND = np.asarray(real_ND, np.float64)
    real_radius_N = _radii(real_ND, k)
    generated_radius_M = _radii(generated_MD, k)
    num_balls = precise = 0
    recalled_N = np.zeros(len(real_ND), bool)
    covered_N = np.zeros(len(real_ND), bool)
    for start, block_BD in _blocks(generated_MD):
        distance_BN = _distances(block_BD, real_ND)
        in_real_BN = distance_BN <= real_radius_N
        num_balls += in_real_BN.sum()
        precise += in_real_BN.any(axis=1).sum()
        covered_N |= in_real_BN.any(axis=0)
        radius_B = generated_radius_M[start : start + len(block_BD)]
        recalled_N |= (distance_BN <= radius_B[:, None]).any(axis=0)
    return Coverage(
        precision=float(precise / len(generated_MD)),
        recall=float(recalled_N.mean()),
        density=float(num_balls / (k * len(generated_MD))),
        coverage=float(covered_N.mean()),
    )


def _radii(points_ND: np.ndarray, k: int) -> np.ndarray:
    """Distance of every point to its k-th nearest other point, float64 [N]."""
    points_ND = np.asarray(points_ND, np.float64)
    # The nearest of all is the point itself.
    blocks = [
        np.partition(_distances(block_BD, points_ND), k, axis=1)[:, k]
        for _, block_BD in _blocks(points_ND)
    ]
    return np.concatenate(blocks)


def _blocks(points_MD: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Successive rows as (first position, float64 [B, D])."""
    for start in range(0, len(points_MD), _BLOCK):
        yield start, np.asarray(points_MD[start : start + _BLOCK], np.float64)


def _distances(a_ND: np.ndarray, b_MD: np.ndarray) -> np.ndarray:
    """Euclidean distances by |a|² + |b|² - 2ab, float64 [N, M]: one product of matrices."""
    square_N, square_M = np.square(a_ND).sum(axis=1), np.square(b_MD).sum(axis=1)
    square_NM = square_N[:, None] + square_M - 2 * (a_ND @ b_MD.T)
    return np.sqrt(np.maximum(square_NM, 0))
