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
from glober_jax.models.networks import AUTOENCODER, Networks, Params
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


@pytest.fixture(scope="module")
def experiment(small_experiment: Experiment) -> Experiment:
    return small_experiment


def with_compat(networks: Networks, compat: Compat) -> Networks:
    features = networks.frame_features.clone(compat=compat)
    return dataclasses.replace(networks, frame_features=features)


def losses_of_batch(
    experiment: Experiment,
    options: AutoencoderTraining,
    model: FrameModel,
    batch: Batch,
    key: jax.Array,
    weight: jax.Array | float | None,
) -> Any:
    """((d_loss, g_loss), metrics) of a batch, whose inputs are drawn as in the step."""
    settings = (experiment.networks, experiment.diffusion, options, model)
    return autoencoder_losses(*settings, draw_inputs(*settings, batch, key), weight)


@pytest.fixture(scope="module")
def gradients(experiment: Experiment, small_model: FrameModel) -> tuple[Gradients, Gradients]:
    """(weight) -> what the step gives the optimizer, and (weight, d_factor, g_factor) -> the
    gradient of the weighted sum of both losses by all parameters, those of the codec too.
    """

    def losses_of(params: Params, batch: Batch, weight: jax.Array) -> Any:
        model, key = small_model._replace(params=params), jax.random.key(1)
        return losses_of_batch(experiment, experiment.autoencoder, model, batch, key, weight)

    @jax.jit
    def joint(trained: Params, codec: Params, batch: Batch, weight: jax.Array) -> Params:
        def loss_fn(trained: Params) -> Any:
            return losses_of(codec | trained, batch, weight)

        return joint_gradients(loss_fn, trained, DISCRIMINATOR)[0]

    @jax.jit
    def separate(params: Params, batch: Batch, weight: jax.Array, *factors: jax.Array) -> Params:
        def weighted(params: Params) -> jax.Array:
            return jnp.dot(jnp.stack(factors), jnp.stack(losses_of(params, batch, weight)[0]))

        return jax.grad(weighted)(params)

    # Parameters and data are arguments: XLA would evaluate constants while it compiles.
    trained = {name: small_model.params[name] for name in NETWORKS}
    codec = {"frame_codec": small_model.params["frame_codec"]}
    batch = with_moments(tiny_batch(experiment), experiment)

    def on(compute: Any, *inputs: Any) -> Gradients:
        return lambda *factors: jax.device_get(compute(*inputs, *map(np.float32, factors)))

    return on(joint, trained, codec, batch), on(separate, trained | codec, batch)


def test_adversarial_gradient_reaches_every_network_of_the_decoder(
    gradients: tuple[Gradients, Gradients],
) -> None:
    """Fails when decoded frames are detached, the published flaw."""
    joint, _ = gradients
    without, with_adversary = joint(0.0), joint(1.0)
    for name in AUTOENCODER:
        adversarial = jax.tree.map(np.subtract, with_adversary[name], without[name])
        assert norm(adversarial) > 1e-3 * norm(without[name]), name


def test_one_forward_pass_equals_two(gradients: tuple[Gradients, Gradients]) -> None:
    """Fails when a loss reaches the other player's parameters, or the codec."""
    joint, separate = gradients
    together, of_d, of_g = joint(0.5), separate(0.5, 1, 0), separate(0.5, 0, 1)
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
    batch = {"key_frames": moments, "target_frames": moments, "target_index": np.zeros((clips, 1))}
    key = jax.random.key(3)

    def drawn(compat: Compat) -> tuple[np.ndarray, np.ndarray]:
        """Of each clip, whether it has its key frames and its domain tokens."""
        changed = with_compat(networks, compat)
        inputs = draw_inputs(changed, experiment.diffusion, options, small_model, batch, key)
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
    process = DiffusionProcess()
    networks = with_compat(experiment.networks, compat)
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
    asked_for = (*AUTOENCODER, "frame_codec")
    model = small_model._replace(params={name: small_model.params[name] for name in asked_for})
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
