"""The kernel distance: its definition written out, and that it is unbiased."""

import numpy as np
import pytest

from glober_jax.evaluation.metrics.kernel import kernel_distance
from tests.evaluation.metrics.gaussians import Gaussians


def defined(x: np.ndarray, y: np.ndarray) -> float:
    """The sum over pairs, one by one."""

    def k(a: np.ndarray, b: np.ndarray) -> float:
        return (float(np.dot(a, b)) / len(a) + 1.0) ** 3

    def within(s: np.ndarray) -> float:
        pairs = [k(a, b) for i, a in enumerate(s) for j, b in enumerate(s) if i != j]
        return sum(pairs) / len(pairs)

    between = [k(a, b) for a in x for b in y]
    return within(x) + within(y) - 2.0 * sum(between) / len(between)


@pytest.mark.parametrize("counts", [(9, 7), (2, 3)])
def test_equals_its_definition(counts: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    x, y = (3.0 * rng.standard_normal((count, 5)) + 1.0 for count in counts)
    assert kernel_distance(x, y) == pytest.approx(defined(x, y), rel=1e-12)


def test_is_unbiased() -> None:
    """Equal distributions score zero on average with few clips (broken: pairs with themselves)."""
    rng = np.random.default_rng(0)
    scores = [kernel_distance(*Gaussians(20).draw(rng, 8)) for _ in range(400)]
    assert abs(np.mean(scores)) < 3 * np.std(scores) / 20
    assert min(scores) < 0
    far = [kernel_distance(*Gaussians(20, shift=1.0).draw(rng, 8)) for _ in range(50)]
    assert np.mean(far) > 10 * np.std(scores) / np.sqrt(50)
