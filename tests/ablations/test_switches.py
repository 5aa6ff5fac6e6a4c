"""The rows' switches cut what they say, and nothing else."""

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest

from glober_jax.experiment import Experiment
from glober_jax.models.networks import Networks
from glober_jax.sampling.decode import FrameModel
from glober_jax.training import autoencoder
from glober_jax.training.autoencoder import draw_inputs
from tests.tiny import tiny_batch, with_moments


def test_the_global_feature_is_cut_off(small_experiment: Experiment, small_model: Any) -> None:
    """Fails when a network that does not read the feature follows it, or loses what else it reads
    (broken: the switch not looked at; the index cut as well).
    """
    networks: Networks = small_experiment.networks
    one, other = np.random.default_rng(0).standard_normal((2, 1, *networks.global_shape))
    index, domain = np.float32([[0.0, 0.6]]), np.ones(1)

    def outputs(reads: bool, feature: np.ndarray) -> tuple[jax.Array, jax.Array]:
        cut = {
            name: getattr(networks, name).clone(reads_global=reads)
            for name in ("frame_features", "global_tokens")
        }
        run = jax.jit(
            lambda feature: (
                cut["frame_features"].apply(
                    {"params": small_model.params["frame_features"]}, feature, index
                )[0],
                cut["global_tokens"].apply(
                    {"params": small_model.params["global_tokens"]}, feature, domain
                ),
            )
        )
        return run(np.float32(feature))

    for reads in (True, False):
        for at_one, at_other in zip(outputs(reads, one), outputs(reads, other), strict=True):
            assert np.array_equal(at_one, at_other) != reads
    maps, tokens = outputs(False, one)
    assert np.abs(maps[:, 0] - maps[:, 1]).max() > 1e-3 and np.abs(tokens).max() > 1e-3


@pytest.mark.parametrize("reaches", [True, False])
def test_the_published_adversary_does_not_reach_the_decoder(
    reaches: bool,
    small_experiment: Experiment,
    small_model: FrameModel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Fails when the decoder learns from an adversary that should not reach it, or the working
    one does not reach it either (broken: the switch not looked at).

    One number stands for the decoder, and the adversary wants its frames dark.
    """
    experiment, networks = small_experiment, small_experiment.networks
    adversary = dataclasses.replace(experiment.autoencoder.adversarial, reaches_decoder=reaches)
    options = dataclasses.replace(experiment.autoencoder, adversarial=adversary)
    settings = (networks, experiment.diffusion, options)
    batch = with_moments(tiny_batch(experiment), experiment)
    inputs = draw_inputs(*settings, small_model, batch, jax.random.key(0))
    monkeypatch.setattr(
        autoencoder, "predict_frames", lambda networks, params, z_t, *_: params["gain"] * z_t
    )
    monkeypatch.setattr(
        autoencoder, "adversarial_losses", lambda networks, model, real, fake, _: (0.0, fake.mean())
    )

    @jax.jit
    @jax.grad
    def gradient(gain: jax.Array, weight: jax.Array) -> jax.Array:
        model = small_model._replace(params=small_model.params | {"gain": gain})
        return autoencoder.autoencoder_losses(*settings, model, inputs, weight)[0][1]

    without, with_adversary = (float(gradient(1.0, weight)) for weight in (0.0, 100.0))
    assert (without != with_adversary) == reaches
