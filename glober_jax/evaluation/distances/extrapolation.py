"""What a score would be with infinitely many clips.

A Frechet distance of N clips is too large by about a constant over N. Here it is measured on
random parts of both sets, and the line through it against 1/N is read at 0 (Chong & Forsyth 2020,
arXiv 1911.07023, who do so for images). The line is straight once N is well above the number of
directions the features vary in; below, a part of the bias stays: with as many clips as directions a
quarter to a third of it. Dimension key: N, M clips, D features, K sizes.
"""

import dataclasses

import numpy as np

from glober_jax.errors import UserError
from glober_jax.evaluation.distances.features import check_features
from glober_jax.evaluation.distances.intervals import Score, subsample

_NUM_SIZES = 5
_LEAST = 8


@dataclasses.dataclass(frozen=True)
class Extrapolation:
    """The line's value at 1/N = 0, and the mean scores it went through.

    Attributes:
      standard_error: of `value`, from other clips and from the finite number of parts.
      sizes, scores: clips of each set, and the mean score of parts of that size.
    """

    value: float
    standard_error: float
    sizes: tuple[int, ...]
    scores: tuple[float, ...]


def extrapolate(
    score: Score, x_ND: np.ndarray, y_MD: np.ndarray, *, num_parts: int = 16, seed: int = 0
) -> Extrapolation:
    """Scores parts from half of the clips up to all, `num_parts` of each size, and fits the line.

    Raises:
      UserError: the sets differ in size, or have fewer than eight clips; see `check_features`.
    """
    x_ND, y_MD = check_features(x_ND, y_MD, at_least=_LEAST)
    if len(x_ND) != len(y_MD):
        raise UserError(
            f"extrapolation needs sets of the same size, not {len(x_ND)} and {len(y_MD)} clips; "
            f"take {min(len(x_ND), len(y_MD))} of both"
        )
    rng = np.random.default_rng(seed)
    total = len(x_ND)
    sizes_K = np.round(total / np.linspace(1.0, 2.0, _NUM_SIZES)).astype(int)
    scores_K, deviations_K = np.zeros(_NUM_SIZES), np.zeros(_NUM_SIZES)
    scores_K[0] = score(x_ND, y_MD)
    for k, size in enumerate(sizes_K[1:], start=1):
        parts = [score(*subsample(rng, x_ND, y_MD, size, size)) for _ in range(num_parts)]
        scores_K[k], deviations_K[k] = np.mean(parts), np.std(parts, ddof=1)
    # Least squares: the intercept is this combination of the scores, of sum 1.
    weights_K = np.linalg.pinv(np.stack([np.ones(_NUM_SIZES), 1.0 / sizes_K], axis=1))[0]
    # Other clips move all scores together, as far as the jackknife of halves says.
    smallest = sizes_K[-1]
    clips_error = deviations_K[-1] * np.sqrt(smallest / (total - smallest))
    parts_error = np.linalg.norm(weights_K * deviations_K) / np.sqrt(num_parts)
    return Extrapolation(
        value=float(weights_K @ scores_K),
        standard_error=float(np.hypot(clips_error, parts_error)),
        sizes=tuple(sizes_K.tolist()),
        scores=tuple(scores_K.tolist()),
    )
