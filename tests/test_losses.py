"""The adversarial loss of one clip and another; tests/parity holds it to recorded arrays."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from glober_jax import losses

CLIPS = 3


def test_losses_are_per_clip() -> None:
    """Fails when one clip's logits change another clip's loss."""
    logits = jnp.linspace(-2.0, 2.0, 18).reshape(6, CLIPS)
    changed = logits.at[:, 1].add(0.3)
    ours = functools.partial(losses.decoder_adversarial_loss, compat="none")
    for loss in (losses.discriminator_loss, losses.decoder_adversarial_loss, ours):
        before, after = loss(logits), loss(changed)
        assert before.shape == (CLIPS,)
        np.testing.assert_array_equal(before[jnp.array([0, 2])], after[jnp.array([0, 2])])
        assert before[1] != after[1]


def test_the_decoder_learns_from_pairs_that_convince() -> None:
    """Fails when the gradient ends where the discriminator is sure (broken: the hinge, as before),
    or is of pairs without a decoded frame in its place. As published, it does end there.
    """
    logits = jnp.linspace(-3.0, 3.0, 6 * CLIPS).reshape(6, CLIPS)
    loss = losses.decoder_adversarial_loss(logits, "none")
    np.testing.assert_allclose(loss, -logits[1:4].mean(axis=0), rtol=1e-6)
    for compat, learned in (("none", 1.0), ("reference", 0.0)):
        gradient = jax.grad(lambda x, c=compat: losses.decoder_adversarial_loss(x, c).sum())
        convincing = np.asarray(gradient(jnp.full((6, CLIPS), 2.0)))
        expected = np.array([0, 1, 1, 1, 0, 0])[:, None] * np.full(CLIPS, -learned / 3)
        np.testing.assert_allclose(convincing, expected, atol=1e-6)
