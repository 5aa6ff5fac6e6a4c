"""Intervals hold the mean score as often as they say, and extrapolation comes near the truth."""

import functools

import numpy as np
import pytest

from glober_jax.errors import UserError
from glober_jax.evaluation.metrics.distances import frechet_distance, kernel_distance
from glober_jax.evaluation.metrics.intervals import Score, extrapolate, jackknife_interval
from glober_jax.evaluation.scoring import scores
from tests.evaluation.metrics.gaussians import Gaussians

fvd = functools.partial(frechet_distance, ddof=0)


@pytest.mark.parametrize(
    ("score", "gaussians", "count", "widest"),
    [
        (fvd, Gaussians(64, shift=0.5, scale=1.3), 32, 1.5),
        (fvd, Gaussians(16), 48, 2.0),
        (kernel_distance, Gaussians(16, shift=0.5), 48, 1.4),
    ],
)
def test_cover_the_mean_at_this_number_of_clips(
    score: Score, gaussians: Gaussians, count: int, widest: float
) -> None:
    """Fails when intervals are too narrow, off centre, or useless for their width.

    N < D is among the cases, and equal distributions, where intervals are known to be wide.
    """
    rng = np.random.default_rng(0)
    scores = [score(*gaussians.draw(rng, count)) for _ in range(300)]
    mean, deviation = np.mean(scores), np.std(scores)
    intervals = [
        jackknife_interval(score, *gaussians.draw(rng, count), num_resamples=30, seed=i)
        for i in range(80)
    ]
    held = np.mean([interval.low <= mean <= interval.high for interval in intervals])
    width = np.mean([interval.standard_error for interval in intervals]) / deviation
    assert held >= 0.9
    assert 0.85 < width < widest


def test_are_repeatable_and_of_95_percent() -> None:
    x, y = Gaussians(8, shift=0.5).draw(np.random.default_rng(0), 40)
    found = jackknife_interval(fvd, x, y[:31])
    assert found == jackknife_interval(fvd, x, y[:31])
    assert found.value == fvd(x, y[:31])
    for width in (found.value - found.low, found.high - found.value):
        assert width == pytest.approx(1.96 * found.standard_error, rel=1e-3)
    with pytest.raises(UserError, match="the first set has 3 clips, but this needs at least 4"):
        jackknife_interval(fvd, x[:3], y)


def test_an_interval_of_what_is_never_negative_ends_at_zero() -> None:
    """Fails when a Frechet distance is said to lie perhaps below 0, or KVD's interval is cut too.

    The two sets are alike and few, so that the standard error is as large as the score.
    """
    rng = np.random.default_rng(0)
    logits = Gaussians(2).draw(rng, 4)
    frames = rng.standard_normal((2, 4, 1, 896))
    pair = tuple(
        {"logits": a, "frames": b.astype(np.float32)} for a, b in zip(logits, frames, strict=True)
    )
    pairs = [pair, tuple({k: 2 * v for k, v in measures.items()} for measures in pair)]
    found = scores([pair, pair], ddof=0)
    repeats = [scores([one], ddof=0)["fvd"] for one in pairs]
    both = scores(pairs, ddof=0)["fvd"]
    assert both["repeats"] == [one["value"] for one in repeats] and both["num_real"] == 4
    for bound in ("value", "low", "high"):
        assert both[bound] == pytest.approx(np.mean([one[bound] for one in repeats]))
    plain = jackknife_interval(fvd, *logits)
    assert plain.low < 0 < plain.value
    assert found["fvd"]["low"] == 0.0 and found["fvd"]["high"] == plain.high
    assert found["fd_alex"]["low"] >= 0
    kvd = found["kvd"]
    assert kvd["low"] < 0 and kvd["value"] - kvd["low"] == pytest.approx(kvd["high"] - kvd["value"])


def test_extrapolation_is_much_closer_to_the_truth_than_the_score() -> None:
    """Fails when the line is read anywhere but at 0, or the error claimed is not the error made."""
    gaussians = Gaussians(24, shift=0.3, scale=1.4)
    rng = np.random.default_rng(0)
    sets = [gaussians.draw(rng, 96) for _ in range(30)]
    results = [extrapolate(fvd, *pair, seed=i) for i, pair in enumerate(sets)]
    errors = np.array([result["value"] - gaussians.frechet for result in results])
    plain = np.mean([fvd(*pair) for pair in sets]) - gaussians.frechet
    claimed = np.array([result["standard_error"] for result in results])
    assert abs(errors.mean()) < 0.15 * plain
    assert np.mean(np.abs(errors) < 1.96 * claimed) >= 0.85
    assert claimed.mean() < 2.5 * errors.std()
    assert results[0] == extrapolate(fvd, *sets[0], seed=0)
