"""Moments that arrive in batches."""

import functools

import numpy as np
import pytest

from glober_jax.errors import UserError
from glober_jax.evaluation.distances.moments import Moments


@pytest.mark.parametrize("batches", [[100], [1] * 100, [37, 0, 62, 1], [64, 36]])
def test_are_those_of_all_at_once(batches: list[int]) -> None:
    """Fails when a batch's own mean is not carried over, or digits are lost to a large mean."""
    x = np.random.default_rng(0).standard_normal((100, 7)) + 1e6
    parts = np.split(x, np.cumsum(batches)[:-1])
    moments = functools.reduce(Moments.merge, map(Moments.of, parts))
    assert moments.count == 100
    np.testing.assert_allclose(moments.mean_D, x.mean(axis=0), rtol=1e-14)
    for ddof in (0, 1):
        # The mean takes up six of the sixteen digits of every sample, so nine remain.
        np.testing.assert_allclose(
            moments.covariance_DD(ddof), np.cov(x.T, ddof=ddof), rtol=1e-9, atol=1e-9
        )
    centred = functools.reduce(Moments.merge, (Moments.of(part - 1e6) for part in parts))
    np.testing.assert_allclose(
        centred.scatter_DD, Moments.of(x - 1e6).scatter_DD, rtol=1e-12, atol=1e-11
    )


def test_padded_rows_do_not_count() -> None:
    """Fails when padding is added, or its NaN spreads; NaN of a real row is refused."""
    x = np.random.default_rng(0).standard_normal((6, 3))
    x[4:] = np.nan
    mask = np.arange(6) < 4
    masked = Moments.of(x, mask)
    direct = Moments.of(x[:4])
    assert masked.count == 4
    np.testing.assert_array_equal(masked.scatter_DD, direct.scatter_DD)
    np.testing.assert_array_equal(masked.merge(Moments.of(x, mask & False)).mean_D, direct.mean_D)
    with pytest.raises(UserError, match="NaN or infinite; look for damaged"):
        Moments.of(x)
