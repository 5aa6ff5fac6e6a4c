"""Extrapolation to infinitely many clips comes close to the distributions' true distance."""

import functools

import numpy as np
import pytest

from glober_jax.errors import UserError
from glober_jax.evaluation.distances.extrapolation import extrapolate
from glober_jax.evaluation.distances.frechet import frechet_distance
from tests.evaluation.distances.gaussians import Gaussians

fvd = functools.partial(frechet_distance, ddof=0)


@pytest.mark.parametrize("gaussians", [Gaussians(24), Gaussians(24, shift=0.3, scale=1.4)])
def test_is_much_closer_to_the_truth_than_the_plain_score(gaussians: Gaussians) -> None:
    """Fails when the line is read anywhere but at 0, or the error claimed is not the error made."""
    rng = np.random.default_rng(0)
    sets = [gaussians.draw(rng, 96) for _ in range(30)]
    results = [extrapolate(fvd, *pair, seed=i) for i, pair in enumerate(sets)]
    errors = np.array([result.value - gaussians.frechet for result in results])
    plain = np.mean([fvd(*pair) for pair in sets]) - gaussians.frechet
    claimed = np.array([result.standard_error for result in results])
    assert abs(errors.mean()) < 0.15 * plain
    assert np.mean(np.abs(errors) < 1.96 * claimed) >= 0.85
    assert claimed.mean() < 2.5 * errors.std()
    assert results[0].scores[0] == fvd(*sets[0])
    assert results[0].sizes == (96, 77, 64, 55, 48)
    assert list(results[0].scores) == sorted(results[0].scores)
    assert results[0] == extrapolate(fvd, *sets[0], seed=0)


def test_an_unbiased_score_stays() -> None:
    x, y = Gaussians(4, shift=1.0).draw(np.random.default_rng(0), 400)
    result = extrapolate(lambda a, b: float((a.mean(0) - b.mean(0)).sum()), x, y)
    assert result.value == pytest.approx(result.scores[0], abs=result.standard_error)


def test_refuses_unequal_and_tiny_sets() -> None:
    x, y = Gaussians(4).draw(np.random.default_rng(0), 20)
    with pytest.raises(UserError, match="not 20 and 15 clips; take 15 of both"):
        extrapolate(fvd, x, y[:15])
    with pytest.raises(UserError, match="has 7 clips, but this needs at least 8"):
        extrapolate(fvd, x[:7], y[:7])
