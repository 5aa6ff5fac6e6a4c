"""The coherence-and-realism adversarial loss on ordered pairs of frames.

The target frames a < b of each clip are real (r) or decoded (f). The discriminator sees six kinds
of pairs, in the order of `PAIR_KINDS`:

    discriminator: (r_a, r_b) is real; the others, mixed, fake or in the wrong order, are fake
    decoder:       (r_a, f_b), (f_a, r_b), (f_a, f_b) should be classified as real

The discriminator's loss is the hinge max(0, 1 - y D) with y = ±1. The decoder's is -D, or, as
published (`models.compat`), the hinge, whose gradient vanishes where D > 1.
Dimension key: B clips, H, W frame size; frames in [-1, 1]; every loss is float32 [B].
"""

import jax
import jax.numpy as jnp

from glober_jax.models.compat import Compat

PAIR_KINDS = ("real", "real_fake", "fake_real", "fake", "real_swapped", "fake_swapped")
_DISCRIMINATOR_SIGNS = (1.0, -1.0, -1.0, -1.0, -1.0, -1.0)
_DECODER_KINDS = slice(1, 4)


def frame_pairs(real_B2HWC: jax.Array, fake_B2HWC: jax.Array) -> jax.Array:
    """The six kinds of pairs, stacked: [6, B, 2, H, W, C]."""
    real_a, real_b = real_B2HWC[:, 0], real_B2HWC[:, 1]
    fake_a, fake_b = fake_B2HWC[:, 0], fake_B2HWC[:, 1]
    ordered = [
        (real_a, real_b),
        (real_a, fake_b),
        (fake_a, real_b),
        (fake_a, fake_b),
        (real_b, real_a),
        (fake_b, fake_a),
    ]
    return jnp.stack([jnp.stack(pair, axis=1) for pair in ordered])


def hinge(logits: jax.Array, sign: jax.Array | float) -> jax.Array:
    """max(0, 1 - sign * logit), elementwise."""
    return jax.nn.relu(1.0 - sign * logits)


def discriminator_loss(logits_6B: jax.Array) -> jax.Array:
    """Hinge of the discriminator over all six kinds, mean over kinds: [B]."""
    signs = jnp.asarray(_DISCRIMINATOR_SIGNS)[:, None]
    return hinge(logits_6B, signs).mean(axis=0)


def decoder_adversarial_loss(logits_6B: jax.Array, compat: Compat = "reference") -> jax.Array:
    """The decoder's loss, mean over the three kinds with a decoded frame in place: [B]."""
    fake_3B = logits_6B[_DECODER_KINDS]
    return (hinge(fake_3B, 1.0) if compat == "reference" else -fake_3B).mean(axis=0)
