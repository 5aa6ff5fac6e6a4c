"""The joint step: who learns from what."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glober_jax.diffusion.process import DiffusionProcess
from glober_jax.experiment.options import Experiment
from glober_jax.models.compat import Compat
from glober_jax.models.networks import AUTOENCODER, Params
from glober_jax.sampling.decode import FrameModel
from glober_jax.training import autoencoder
from glober_jax.training.adversarial import AdversarialOptions, joint_gradients
from glober_jax.training.autoencoder import (
    DISCRIMINATOR,
    NETWORKS,
    AutoencoderTraining,
    autoencoder_losses,
    draw_inputs,
)
from tests.tiny import assert_same_tree, norm, tiny_batch, with_moments

Batch = dict[str, Any]
Gradients = Callable[..., Params]
LossFunction = Callable[..., tuple[tuple[jax.Array, jax.Array], dict[str, jax.Array]]]


def split_codec(params: Params) -> tuple[Params, Params]:
    """What the stage trains, and the frozen codec."""
    trained = {name: params[name] for name in NETWORKS}
    return trained, {"frame_codec": params["frame_codec"]}


@pytest.fixture(scope="module")
def experiment(small_experiment: Experiment) -> Experiment:
    return small_experiment


def losses_of_batch(
    experiment: Experiment,
    options: AutoencoderTraining,
    model: FrameModel,
    batch: Batch,
    key: jax.Array,
    weight: jax.Array | float | None,
) -> Any:
    """Draws the inputs and computes the losses, as the step does."""
    settings = (experiment.networks, experiment.diffusion, options, model)
    return autoencoder_losses(*settings, draw_inputs(*settings, batch, key), weight)


@pytest.fixture(scope="module")
def losses_of(experiment: Experiment, small_model: FrameModel) -> LossFunction:
    """The step's two losses as a function of parameters, batch, adversarial weight and factors."""

    def compute(
        params: Params, batch: Batch, weight: float, d_factor: float = 1.0, g_factor: float = 1.0
    ) -> tuple[tuple[jax.Array, jax.Array], dict[str, jax.Array]]:
        (d_loss, g_loss), metrics = losses_of_batch(
            experiment,
            experiment.autoencoder,
            small_model._replace(params=params),
            batch,
            jax.random.key(1),
            weight,
        )
        return (d_factor * d_loss, g_factor * g_loss), metrics

    return compute


@pytest.fixture(scope="module")
def joint(experiment: Experiment, losses_of: LossFunction, small_model: FrameModel) -> Gradients:
    """(weight, d_factor, g_factor) -> what the step would give the optimizer."""

    @jax.jit
    def compute(trained: Params, codec: Params, batch: Batch, *factors: jax.Array) -> Params:
        def loss_fn(p: Params) -> tuple[tuple[jax.Array, jax.Array], dict[str, jax.Array]]:
            return losses_of(codec | p, batch, *factors)

        return joint_gradients(loss_fn, trained, DISCRIMINATOR)[0]

    # Parameters and data are arguments: XLA would evaluate constants while it compiles.
    inputs = (*split_codec(small_model.params), with_moments(tiny_batch(experiment), experiment))
    return lambda *factors: jax.device_get(compute(*inputs, *map(np.float32, factors)))


@pytest.fixture(scope="module")
def separate(experiment: Experiment, losses_of: LossFunction, small_model: FrameModel) -> Gradients:
    """(weight, d_factor, g_factor) -> gradient of the weighted sum by all parameters, codec too."""

    @jax.jit
    def compute(p: Params, batch: Batch, *factors: jax.Array) -> Params:
        return jax.grad(lambda q: sum(losses_of(q, batch, *factors)[0]))(p)

    trained, codec = split_codec(small_model.params)
    inputs = (trained | codec, with_moments(tiny_batch(experiment), experiment))
    return lambda *factors: jax.device_get(compute(*inputs, *map(np.float32, factors)))


def test_adversarial_gradient_reaches_every_network_of_the_decoder(joint: Gradients) -> None:
    """Fails when decoded frames are detached, the published flaw."""
    without, with_adversary = joint(0.0, 1.0, 1.0), joint(1.0, 1.0, 1.0)
    for name in AUTOENCODER:
        adversarial = jax.tree.map(np.subtract, with_adversary[name], without[name])
        assert norm(adversarial) > 1e-3 * norm(without[name]), name


def test_one_forward_pass_equals_two(joint: Gradients, separate: Gradients) -> None:
    """Fails when a loss reaches the other player's parameters, or the codec."""
    together, of_d, of_g = joint(0.5, 1, 1), separate(0.5, 1, 0), separate(0.5, 0, 1)
    assert_same_tree(together["discriminator"], of_d["discriminator"])
    for name in AUTOENCODER:
        assert_same_tree(together[name], of_g[name])
    # Neither is trivial: each loss does depend on the other player's parameters.
    assert norm(of_d["unet"]) > 0 and norm(of_g["discriminator"]) > 0
    assert norm(of_d["frame_codec"]) == norm(of_g["frame_codec"]) == 0.0


def test_adversarial_weight_grows_linearly_from_its_start() -> None:
    """Fails when the warm-up starts at step 0, or never ends."""
    options = AdversarialOptions(weight=0.4, start_step=10, warmup_steps=4)
    weights = [float(options.weight_at(jnp.int32(step))) for step in (0, 9, 10, 11, 13, 99)]
    np.testing.assert_allclose(weights, [0, 0, 0.1, 0.2, 0.4, 0.4], atol=1e-6)
    assert float(AdversarialOptions(weight=0.4).weight_at(jnp.int32(0))) == pytest.approx(0.4)


def test_dropout_trains_the_branches_of_guidance(
    experiment: Experiment, small_model: FrameModel
) -> None:
    """Fails when a branch that guidance uses is not trained as often as its option says."""
    clips, networks = 4000, experiment.networks
    options = dataclasses.replace(experiment.autoencoder, key_dropout=0.2, domain_dropout=0.1)
    shape = (clips, 1, *networks.latent_shape[:2], 2 * networks.latent_shape[-1])
    moments = np.random.default_rng(0).standard_normal(shape, np.float32)
    batch = {
        "key_frames": moments,
        "target_frames": moments,
        "target_index": np.zeros((clips, 1), np.float32),
    }
    key = jax.random.key(3)

    def drawn(compat: Compat) -> tuple[np.ndarray, np.ndarray]:
        """Of each clip, whether it has its key frames and its domain tokens."""
        features = networks.frame_features.clone(compat=compat)
        settings = (
            dataclasses.replace(networks, frame_features=features),
            experiment.diffusion,
            options,
            small_model,
        )
        inputs = draw_inputs(*settings, batch, key)
        with_keys = np.abs(inputs.key_latents_BKhwZ).max(axis=(1, 2, 3, 4)) > 0
        return with_keys, np.asarray(inputs.with_domain_B)

    keys, domain = drawn("none")
    assert (keys & domain).mean() == pytest.approx(0.7, abs=0.03)
    assert (~keys & domain).mean() == pytest.approx(0.2, abs=0.03)
    assert (~keys & ~domain).mean() == pytest.approx(0.1, abs=0.02)
    assert not (keys & ~domain).any()

    published = [
        jax.random.bernoulli(jax.random.split(key, 7)[number], kept, (clips,))
        for number, kept in ((2, 0.8), (3, 0.9))
    ]
    np.testing.assert_array_equal(drawn("reference"), published)


@pytest.mark.parametrize("compat", ["none", "reference"])
def test_adversarial_gradient_is_bounded_at_every_noise_level(
    experiment: Experiment,
    small_model: FrameModel,
    monkeypatch: pytest.MonkeyPatch,
    compat: Compat,
) -> None:
    """Fails when the adversary's gradient at ε grows as √(1-ᾱ) / √ᾱ (14.6 at the last step) but
    where it is as published; or where its loss is another for it.
    """
    features = experiment.networks.frame_features.clone(compat=compat)
    networks = dataclasses.replace(experiment.networks, frame_features=features)
    process = DiffusionProcess()
    settings = (networks, process, experiment.autoencoder, small_model)
    batch = with_moments(tiny_batch(experiment), experiment)
    inputs = draw_inputs(*settings, batch, jax.random.key(0))
    # The adversary's gradient at x_0 is 1.
    monkeypatch.setattr(
        autoencoder, "adversarial_losses", lambda net, model, real, fake, spread: (0.0, fake.sum())
    )

    @jax.jit
    @jax.value_and_grad
    def adversarial(prediction: jax.Array, t_Bn: jax.Array) -> jax.Array:
        monkeypatch.setattr(autoencoder, "predict_frames", lambda *_: prediction)
        _, metrics = autoencoder_losses(*settings, inputs._replace(t_Bn=t_Bn), jnp.ones(()))
        return metrics["adversarial_loss"]

    judged = np.s_[:: experiment.autoencoder.adversarial.clip_stride, [0, -1]]
    for t in (10, 500, 999):
        t_Bn, predicted = np.full_like(inputs.t_Bn, t), 0.9 * inputs.eps_BnhwZ
        loss, gradient = adversarial(predicted, t_Bn)
        signal, noise = np.sqrt([process.alphas_cumprod[t], 1 - process.alphas_cumprod[t]])
        z_t = process.add_noise(inputs.z0_BnhwZ, inputs.eps_BnhwZ, t_Bn)
        x0 = (z_t - noise * predicted) / signal
        np.testing.assert_allclose(loss, x0[judged].sum(), rtol=1e-3)
        size = noise if compat == "none" else noise / signal
        np.testing.assert_allclose(gradient[judged], -size, rtol=1e-4)


def test_dropped_key_frames_leave_no_trace(experiment: Experiment, small_model: FrameModel) -> None:
    """Fails when key_dropout leaves a way for key frames.

    Without an adversarial weight the discriminator has no loss and is not even asked for.
    """
    model = small_model._replace(
        params={name: small_model.params[name] for name in (*AUTOENCODER, "frame_codec")}
    )
    batch = tiny_batch(experiment)
    inverted = batch | {"key_frames": 255 - batch["key_frames"]}

    @jax.jit
    def losses(key_dropout: jax.Array, model: FrameModel, batch: Batch) -> tuple[jax.Array, ...]:
        options = dataclasses.replace(experiment.autoencoder, key_dropout=key_dropout)
        (d_loss, _), metrics = losses_of_batch(
            experiment, options, model, batch, jax.random.key(0), None
        )
        return d_loss, metrics["diffusion_loss"]

    for key_dropout in (1.0, 0.0):
        (d_loss, loss), (_, other) = (losses(key_dropout, model, b) for b in (batch, inverted))
        assert d_loss == 0.0 and (loss == other) == (key_dropout == 1.0)
