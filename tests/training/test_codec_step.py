"""The codec's step: who learns from what, and when."""

import dataclasses
from collections.abc import Callable
from typing import Any

import einops
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glober_jax.experiment.options import Experiment
from glober_jax.models.latents import Gaussian
from glober_jax.models.networks import Params
from glober_jax.training.adversarial import joint_gradients
from glober_jax.training.codec import DISCRIMINATOR, NETWORKS, CodecStage, codec_losses
from tests.tiny import assert_same_tree, mesh_of, narrow_lpips_params, norm

Gradients = Callable[..., Params]


@pytest.fixture(scope="module")
def joint(experiment: Experiment, params: Params) -> Gradients:
    """(perceptual weight, adversarial weight, d_factor, g_factor) -> gradients of one step."""
    networks, size = experiment.networks, experiment.networks.frame_size
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (4, size, size, 3), np.uint8)
    noise = rng.standard_normal((4, *networks.latent_shape), np.float32)
    trained = {name: params[name] for name in NETWORKS}

    @jax.jit
    def compute(p: Params, lpips_params: Any, x: jax.Array, *factors: jax.Array) -> Params:
        perceptual, weight, d_factor, g_factor = factors
        options = dataclasses.replace(experiment.codec, perceptual_weight=perceptual)

        def loss_fn(q: Params) -> tuple[tuple[jax.Array, jax.Array], dict[str, jax.Array]]:
            (d_loss, g_loss), metrics = codec_losses(
                networks, options, q, lpips_params, x, noise, weight
            )
            return (d_factor * d_loss, g_factor * g_loss), metrics

        return joint_gradients(loss_fn, p, DISCRIMINATOR)[0]

    inputs = (trained, narrow_lpips_params(), frames)
    return lambda *factors: jax.device_get(compute(*inputs, *map(np.float32, factors)))


@pytest.mark.parametrize("part", ["perceptual", "adversarial"])
def test_both_halves_of_the_codec_learn_from_every_loss(joint: Gradients, part: str) -> None:
    """Fails when reconstructions are detached from a loss."""
    without, of_part = joint(0, 0, 1, 1), joint(part == "perceptual", part == "adversarial", 1, 1)
    for half in ("encoder", "decoder"):
        plain = without["frame_codec"][half]
        moved = jax.tree.map(np.subtract, of_part["frame_codec"][half], plain)
        assert norm(moved) > 1e-2 * norm(plain), half


def test_each_player_has_its_own_loss(joint: Gradients) -> None:
    """Fails when a loss reaches the other player's parameters."""
    plain, more_d, more_g = joint(0.5, 0.5, 1, 1), joint(0.5, 0.5, 3, 1), joint(0.5, 0.5, 1, 3)
    assert norm(plain[DISCRIMINATOR]) > 0
    assert_same_tree(plain[DISCRIMINATOR], more_d[DISCRIMINATOR], scale=3.0)
    assert_same_tree(plain[DISCRIMINATOR], more_g[DISCRIMINATOR])
    assert_same_tree(plain["frame_codec"], more_d["frame_codec"])
    assert_same_tree(plain["frame_codec"], more_g["frame_codec"], scale=3.0)


def test_without_weights_nothing_is_asked_for(experiment: Experiment, params: Params) -> None:
    """Fails when a loss that is off is computed all the same: its network or weights are absent."""
    networks, size = experiment.networks, experiment.networks.frame_size
    frames = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), np.uint8)
    (d_loss, g_loss), metrics = codec_losses(
        networks,
        experiment.codec,
        {"frame_codec": params["frame_codec"]},
        None,
        frames,
        np.zeros((2, *networks.latent_shape), np.float32),
        None,
    )
    assert d_loss == 0.0
    assert metrics.keys() == {"loss", "l1_loss", "kl", "psnr"}
    kl_weight = experiment.codec.kl_weight / frames[0].size
    expected = metrics["l1_loss"] + kl_weight * metrics["kl"]
    np.testing.assert_allclose(g_loss, expected, rtol=1e-6)
    assert CodecStage(networks, experiment.codec, 0, mesh_of()).frozen() is None


class LocalCodec:
    """Stands for the networks, with a codec that sees 2x2 pixels at a time and no border."""

    def apply(
        self, params: Params, name: str, pixels: jax.Array, noise: jax.Array
    ) -> tuple[jax.Array, Gaussian]:
        mean = einops.reduce(pixels, "n (x a) (y b) c -> n x y c", "mean", a=2, b=2)
        return 0.5 * pixels, Gaussian(mean, jnp.full_like(mean, -1.0))


def test_the_weight_of_kl_means_the_same_at_every_frame_size(experiment: Experiment) -> None:
    """Fails when the KL grows with the frame and L1 does not (as before: fourfold here), or the
    metric is no longer the sum over a frame.
    """
    frames = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)
    options = dataclasses.replace(experiment.codec, kl_weight=1.0)

    def parts(frames: np.ndarray) -> tuple[float, float, float]:
        noise = np.zeros(1, np.float32)
        (_, loss), metrics = codec_losses(LocalCodec(), options, {}, None, frames, noise, None)
        return float(metrics["l1_loss"]), float(loss - metrics["l1_loss"]), float(metrics["kl"])

    l1, kl_term, kl = parts(frames)
    tiled_l1, tiled_kl_term, tiled_kl = parts(np.tile(frames, (1, 2, 2, 1)))
    assert tiled_kl_term / tiled_l1 == pytest.approx(kl_term / l1, rel=1e-4)
    assert kl_term == pytest.approx(kl / (8 * 8 * 3), rel=1e-4)
    assert tiled_kl == pytest.approx(4 * kl, rel=1e-4)
