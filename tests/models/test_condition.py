"""Context tokens of every kind of condition, and what is left of one that is dropped."""

from typing import Any

import jax
import numpy as np
import pytest

from glober_jax.experiment.config import parse
from glober_jax.experiment.options import Experiment
from glober_jax.models.networks import Params
from glober_jax.training.generator import GeneratorTraining, draw_noise, generator_loss
from tests.tiny import drawn_params, single_level_config

LENGTH, WIDTH = 3, 16
CONDITIONS: dict[str, tuple[np.ndarray, np.ndarray]] = {
    "class": (np.array([0, 1]), np.array([2, 1])),
    "text": tuple(
        np.random.default_rng(seed).standard_normal((2, LENGTH, WIDTH)).astype(np.float16)
        for seed in range(2)
    ),
    "unconditional": (np.array([0, 1]), np.array([2, 1])),
}


@pytest.fixture(scope="module", params=CONDITIONS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def experiment(kind: str) -> Experiment:
    config = single_level_config()
    num_classes = 4 if kind == "class" else 0
    config.model.condition = {"kind": kind, "num_classes": num_classes, "length": LENGTH}
    config.sampling.condition_scale = 1.0
    return parse(config)


@pytest.fixture(scope="module")
def params(experiment: Experiment) -> Params:
    return drawn_params(experiment.networks, ("condition", "generator"))


@pytest.fixture(scope="module")
def predict(experiment: Experiment, params: Params) -> Any:
    """(condition, with_condition) -> (tokens, the generator's prediction) of two clips."""
    networks = experiment.networks
    feature = np.random.default_rng(2).standard_normal((2, *networks.global_shape))

    @jax.jit
    def run(condition: jax.Array, with_condition: jax.Array) -> tuple[jax.Array, jax.Array]:
        tokens = networks.apply(params, "condition", condition, with_condition)
        steps = np.full((2, 2), 100)
        return tokens, networks.apply(params, "generator", np.float32(feature), steps, tokens)

    return lambda condition, present: jax.device_get(run(condition, np.float32(present)))


def test_condition_reaches_the_prediction_and_a_dropped_one_does_not(
    kind: str, predict: Any
) -> None:
    """Fails when conditions are confused, ignored, or leave a trace where they are dropped."""
    condition, other = CONDITIONS[kind]
    (tokens, full), (_, changed) = predict(condition, [1, 1]), predict(other, [1, 1])
    assert tokens.shape == (2, LENGTH, WIDTH)
    if kind == "text":
        np.testing.assert_allclose(tokens, condition, rtol=1e-3)
    moved = np.abs(full - changed).max(axis=(1, 2, 3)) > 1e-3 * full.std()
    # The second clip's label is the same in both: only what a clip is conditioned on counts.
    assert moved.tolist() == {
        "class": [True, False], "text": [True, True], "unconditional": [False, False],
    }[kind]  # fmt: skip
    (no_tokens, dropped), (_, also_dropped) = predict(condition, [0, 1]), predict(other, [0, 1])
    assert not no_tokens[0].any()
    np.testing.assert_array_equal(dropped[0], also_dropped[0])
    assert np.abs(dropped[0] - full[0]).max() > 0.01 * full.std()
    np.testing.assert_allclose(dropped[1], full[1], rtol=1e-5, atol=1e-5)


def test_training_drops_that_part_of_the_conditions(
    kind: str, experiment: Experiment, params: Params
) -> None:
    """Fails when nothing is dropped, or what is dropped still trains.

    With every condition dropped the loss must not depend on any, and learned tokens get no
    gradient; with none dropped both must. An unconditional generator's tokens are never dropped (as
    before they were).
    """
    networks = experiment.networks
    features = np.random.default_rng(3).standard_normal((2, *networks.global_shape))

    def gradients(dropout: float) -> Any:
        options = GeneratorTraining(steps=1, batch_size=2, condition_dropout=dropout)

        @jax.jit
        @jax.value_and_grad
        def loss(params: Params, condition: jax.Array) -> jax.Array:
            process = experiment.generator_diffusion
            noise = draw_noise(networks, process, options, len(features), jax.random.key(0))
            return generator_loss(networks, process, params, np.float32(features), condition, noise)

        return [jax.device_get(loss(params, condition)) for condition in CONDITIONS[kind]]

    (kept, kept_gradient), (kept_other, _) = gradients(0.0)
    (dropped, dropped_gradient), (dropped_other, _) = gradients(1.0)
    assert dropped == dropped_other
    assert (kept != kept_other) == (kind != "unconditional")
    assert (kept != dropped) == (kind != "unconditional")
    for leaf in jax.tree.leaves(dropped_gradient["condition"]):
        assert leaf.any() == (kind == "unconditional")
    assert all(leaf.any() for leaf in jax.tree.leaves(kept_gradient["condition"]))
    assert bool(jax.tree.leaves(kept_gradient["condition"])) == (kind != "text")
