"""The rows' switches cut what they say, and nothing else."""

import dataclasses
import functools
from typing import Any

import jax
import numpy as np
import pytest

from glober_jax.experiment.options import Experiment
from glober_jax.sampling.decode import FrameModel
from glober_jax.training import autoencoder
from glober_jax.training.autoencoder import draw_inputs
from tests.tiny import tiny_batch, with_moments


def test_the_global_feature_is_cut_off(small_experiment: Experiment, small_model: Any) -> None:
    """Fails when a network that does not read the feature follows it, or loses what else it reads
    (broken: the switch not looked at; the index cut as well).
    """
    networks = small_experiment.networks
    one, other = np.random.default_rng(0).standard_normal((2, 1, *networks.global_shape))
    for name, also in (("frame_features", np.float32([[0.0, 0.6]])), ("global_tokens", np.ones(1))):
        for reads in (True, False):
            network = getattr(networks, name).clone(reads_global=reads)
            run = jax.jit(functools.partial(network.apply, {"params": small_model.params[name]}))
            at_one, at_other = (jax.tree.leaves(run(np.float32(x), also))[0] for x in (one, other))
            assert np.array_equal(at_one, at_other) != reads
        # The index, or the domain, is still there.
        seen = at_one[:, 0] - at_one[:, 1] if name == "frame_features" else at_one
        assert np.abs(seen).max() > 1e-3


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
