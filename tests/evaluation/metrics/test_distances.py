"""The distances of two sets: as they are defined, and sound where a formula is not."""

import warnings

import numpy as np
import pytest
import scipy.linalg

from glober_jax.errors import UserError
from glober_jax.evaluation.metrics.distances import frechet_distance, kernel_distance
from tests.evaluation.metrics.gaussians import Gaussians


def textbook(x: np.ndarray, y: np.ndarray, ddof: int) -> float:
    """|m1 - m2|² + tr(S1 + S2 - 2 (S1 S2)^½), by SciPy's matrix root."""
    s1, s2 = np.cov(x.T, ddof=ddof), np.cov(y.T, ddof=ddof)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", scipy.linalg.LinAlgWarning)
        root = scipy.linalg.sqrtm(s1 @ s2)
    return float(np.square(x.mean(0) - y.mean(0)).sum() + np.trace(s1 + s2 - 2 * np.real(root)))


def correlated(seed: int, count: int, dim: int = 24, offset: float = 0.0) -> np.ndarray:
    """Features with a mean far from 0 and mixed, uneven directions."""
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((dim, dim)) * np.arange(1, dim + 1) ** -0.5
    return rng.standard_normal((count, dim)) @ mixing + 30.0 + offset


@pytest.mark.parametrize("ddof", [0, 1])
@pytest.mark.parametrize("counts", [(200, 150), (25, 24), (10, 12), (2, 2)])
def test_equals_the_textbook_formula(counts: tuple[int, int], ddof: int) -> None:
    """Fails for another divisor, or when singular covariances (N <= D = 24) lose accuracy.

    The textbook's root is itself inexact for singular matrices: 1e-6 of the traces is its accuracy.
    """
    x, y = correlated(0, counts[0]), correlated(1, counts[1], offset=0.3)
    expected = textbook(x, y, ddof)
    scale = np.var(x, axis=0).sum() + np.var(y, axis=0).sum()
    ours = frechet_distance(x, y, ddof)
    assert ours == pytest.approx(expected, rel=1e-6, abs=1e-6 * scale)


def test_known_distances() -> None:
    """A shift alone costs its square; two pairs of points can be worked out by hand."""
    x = correlated(0, 50)
    assert frechet_distance(x, x + 2.0, ddof=1) == pytest.approx(4.0 * x.shape[1])
    # Variances along one axis are 1 and 4 for N - 0, so (1 - 2)² = 1; twice that for N - 1.
    a, b = np.array([[1.0, 5.0], [-1.0, 5.0]]), np.array([[2.0, 5.0], [-2.0, 5.0]])
    assert frechet_distance(a, b, ddof=0) == pytest.approx(1.0)
    assert frechet_distance(a, b, ddof=1) == pytest.approx(2.0)
    # Along different axes nothing is shared: the variances add up.
    assert frechet_distance(a - [0, 5], (b - [0, 5])[:, ::-1], ddof=0) == pytest.approx(5.0)
    # Equal sets are at zero, whatever rounding does to singular covariances.
    for count in (2, 10, 300):
        x = correlated(0, count).astype(np.float32)
        assert 0.0 <= frechet_distance(x, x[::-1], ddof=0) < 1e-12 * np.square(x).sum(1).mean()


def test_refuses_what_has_no_distance() -> None:
    """Each sentence says which set, what is wrong with it, and what to do."""
    x = correlated(0, 5)
    nan, infinite = x.copy(), x.copy()
    nan[3, 0], infinite[1:3, 2] = np.nan, np.inf
    cases = [
        ((x[:1], x), "the first set has 1 clips, but this needs at least 2; measure more"),
        ((x, x[:0]), "the second set has 0 clips"),
        ((nan, x), "1 of 5 clips in the first set .* the first is clip 3; look for damaged"),
        ((x, infinite), "2 of 5 clips in the second set have features that are NaN or infinite"),
    ]
    for sets, sentence in cases:
        with pytest.raises(UserError, match=sentence):
            frechet_distance(*sets, ddof=0)


def kernel_by_definition(x: np.ndarray, y: np.ndarray) -> float:
    """The sum over pairs, one by one."""

    def k(a: np.ndarray, b: np.ndarray) -> float:
        return (float(np.dot(a, b)) / len(a) + 1.0) ** 3

    def within(s: np.ndarray) -> float:
        pairs = [k(a, b) for i, a in enumerate(s) for j, b in enumerate(s) if i != j]
        return sum(pairs) / len(pairs)

    between = [k(a, b) for a in x for b in y]
    return within(x) + within(y) - 2.0 * sum(between) / len(between)


@pytest.mark.parametrize("counts", [(9, 7), (2, 3)])
def test_kernel_distance_equals_its_definition(counts: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    x, y = (3.0 * rng.standard_normal((count, 5)) + 1.0 for count in counts)
    assert kernel_distance(x, y) == pytest.approx(kernel_by_definition(x, y), rel=1e-12)


def test_kernel_distance_is_unbiased() -> None:
    """Equal distributions score zero on average with few clips (broken: pairs with themselves)."""
    rng = np.random.default_rng(0)
    scores = [kernel_distance(*Gaussians(20).draw(rng, 8)) for _ in range(400)]
    assert abs(np.mean(scores)) < 3 * np.std(scores) / 20
    assert min(scores) < 0
    far = [kernel_distance(*Gaussians(20, shift=1.0).draw(rng, 8)) for _ in range(50)]
    assert np.mean(far) > 10 * np.std(scores) / np.sqrt(50)
