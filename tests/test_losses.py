"""Adversarial pairs, labels and hinge against recorded arrays."""

import jax
import jax.numpy as jnp
import numpy as np

from glober_jax import losses
from tests.tiny import FIXTURES

FIXTURE = np.load(FIXTURES / "adversarial.npz")
CLIPS = 3


def recorded_frames(name: str) -> np.ndarray:
    """[B, 2, H, W, C] from the recorded [(B 2), C, H, W]."""
    frames = FIXTURE[f"in/{name}"]
    return frames.reshape(CLIPS, 2, *frames.shape[1:]).transpose(0, 1, 3, 4, 2)


def recorded_pairs(step: str) -> np.ndarray:
    """[kinds, B, 2, H, W, C] from the recorded [(kinds B), C, 2, H, W]."""
    pairs = FIXTURE[f"out/{step}.pairs"]
    return pairs.reshape(-1, CLIPS, *pairs.shape[1:]).transpose(0, 1, 3, 4, 5, 2)


def test_pairs_are_the_published_ones_in_the_published_order() -> None:
    """Fails when frames of different clips or the wrong two meet (broken: two kinds swapped).

    The recorded discriminator judges all six kinds, the recorded generator kinds 1 to 3.
    """
    pairs = losses.frame_pairs(recorded_frames("real"), recorded_frames("fake"))
    assert len(pairs) == len(losses.PAIR_KINDS)
    np.testing.assert_array_equal(pairs, recorded_pairs("discriminator"))
    np.testing.assert_array_equal(pairs[1:4], recorded_pairs("generator"))
    labels = FIXTURE["out/discriminator.labels"].reshape(-1, CLIPS)
    assert (labels[losses.PAIR_KINDS.index("real")] == 1).all() and labels.sum() == CLIPS


def test_discriminator_hinge_and_its_gradient_are_the_published_ones() -> None:
    """Fails when a pair in the wrong order counts as real (broken so), or reals weigh more."""
    logits = jnp.asarray(FIXTURE["in/discriminator.logits"].reshape(-1, CLIPS))
    loss, gradient = jax.value_and_grad(lambda x: losses.discriminator_loss(x).mean())(logits)
    np.testing.assert_allclose(loss, FIXTURE["out/discriminator.hinge"], rtol=1e-6)
    expected = FIXTURE["out/discriminator.hinge_grad"].reshape(-1, CLIPS)
    np.testing.assert_allclose(gradient, expected, rtol=1e-6)


def test_decoder_hinge_and_its_gradient_are_the_published_ones() -> None:
    """Fails when the decoder is judged on other pairs than those with a decoded frame in place.

    Broken: kinds 0 to 2. The logits of the other three kinds are set to numbers that would show.
    """
    logits = np.full((6, CLIPS), -100.0, np.float32)
    logits[1:4] = FIXTURE["in/generator.logits"].reshape(-1, CLIPS)
    loss, gradient = jax.value_and_grad(lambda x: losses.decoder_adversarial_loss(x).mean())(logits)
    np.testing.assert_allclose(loss, FIXTURE["out/generator.hinge"], rtol=1e-6)
    expected = np.zeros_like(logits)
    expected[1:4] = FIXTURE["out/generator.hinge_grad"].reshape(-1, CLIPS)
    np.testing.assert_allclose(gradient, expected, rtol=1e-6)


def test_losses_are_per_clip() -> None:
    """Fails when one clip's logits change another clip's loss."""
    logits = jnp.linspace(-2.0, 2.0, 18).reshape(6, CLIPS)
    changed = logits.at[:, 1].add(0.3)
    for loss in (losses.discriminator_loss, losses.decoder_adversarial_loss):
        before, after = loss(logits), loss(changed)
        assert before.shape == (CLIPS,)
        np.testing.assert_array_equal(before[jnp.array([0, 2])], after[jnp.array([0, 2])])
        assert before[1] != after[1]
