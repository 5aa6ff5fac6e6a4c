"""Branches and their weights; tests/parity holds guided steps to recorded arrays."""

import jax
import numpy as np
import pytest

from glober_jax.diffusion.guidance import (
    ConditionGuidance,
    DecoderGuidance,
    combine,
    guided_predictor,
)
from glober_jax.diffusion.predictor import Interval


def test_branches_without_weight_are_never_computed() -> None:
    """Fails when no guidance costs more than one branch, or drops one that counts."""
    assert DecoderGuidance().weights == {"full": 1.0}
    assert set(DecoderGuidance(2.0, 1.0).weights) == {"full", "video"}
    assert set(DecoderGuidance(0.0, 3.0).weights) == {"full", "domain"}
    assert ConditionGuidance(1.0).weights == {"with": 1.0}
    assert ConditionGuidance(0.0).weights == {"without": 1.0}
    # The published formulas, written out, for every combination.
    full, video, domain = np.random.default_rng(2).standard_normal((3, 5))
    for w_v in (0.0, 1.0, 2.5):
        for w_d in (0.0, 1.0, 3.0):
            branches = {"full": full, "video": video, "domain": domain}
            combined = combine(DecoderGuidance(w_v, w_d).weights, branches)
            expected = domain + w_v * (full - video) + w_d * (full - domain)
            np.testing.assert_allclose(combined, expected, atol=1e-12)
        combined = combine(ConditionGuidance(w_v).weights, {"with": full, "without": video})
        np.testing.assert_allclose(combined, video + w_v * (full - video), atol=1e-12)


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_all_branches_are_rows_of_one_call(scale: float) -> None:
    """Fails when a branch costs a call of its own, or rows and conditions fall out of step."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, 3))
    conditions = {name: (rng.standard_normal((4, 3)),) for name in ("with", "without")}
    calls: list[int] = []

    def network(x: jax.Array, t: jax.Array, condition: tuple[jax.Array]) -> jax.Array:
        calls.append(len(x))
        return x * condition[0] + t[:, None]

    guidance = ConditionGuidance(scale, Interval(0.2, 0.8))
    predictor = guided_predictor(guidance, network, conditions)
    of_branch = {name: x * condition + 7.0 for name, (condition,) in conditions.items()}
    expected = combine(guidance.weights, of_branch)
    np.testing.assert_allclose(predictor.guided(x, 7.0), expected, rtol=1e-5)
    np.testing.assert_allclose(predictor.plain(x, 7.0), of_branch["with"], rtol=1e-5)
    assert calls == ([4, 4] if scale == 1.0 else [8, 4])
    # Without guidance there is nothing to cut the steps for.
    assert (predictor.interval == guidance.interval) == (scale != 1.0)
