"""The adversarial loss of one clip and another; tests/parity holds it to recorded arrays."""

import jax.numpy as jnp
import numpy as np

from glober_jax import losses

CLIPS = 3


def test_losses_are_per_clip() -> None:
    """Fails when one clip's logits change another clip's loss."""
    logits = jnp.linspace(-2.0, 2.0, 18).reshape(6, CLIPS)
    changed = logits.at[:, 1].add(0.3)
    for loss in (losses.discriminator_loss, losses.decoder_adversarial_loss):
        before, after = loss(logits), loss(changed)
        assert before.shape == (CLIPS,)
        np.testing.assert_array_equal(before[jnp.array([0, 2])], after[jnp.array([0, 2])])
        assert before[1] != after[1]
