"""Initial noise of frames, keyed by video and index, never by place in a batch.

Dimension key: B videos, n frames of each, h, w, Z latents of a frame.
"""

import math

import jax
import jax.numpy as jnp

from glober_jax.randomness import named_key

# Two indices closer than this are the same frame to the noise.
_INDEX_RESOLUTION = 2**20


def frame_noise(
    seed: jax.Array | int,
    video_B: jax.Array,
    index_Bn: jax.Array,
    latent_shape: tuple[int, int, int],
    shared: float,
    step: jax.Array | int = 0,
) -> jax.Array:
    """Standard normal noise [B, n, h, w, Z], a function of (seed, step, video, index) alone.

        √shared (one for the video) + √(1 - shared) (one for each frame)

    so that two frames correlate by `shared` (the mixed model of arXiv 2305.10474). Step 0 is x_T.
    """
    slot_Bn = jnp.round(index_Bn * _INDEX_RESOLUTION).astype(jnp.int32)

    def draw(root: jax.Array, *numbers: jax.Array) -> jax.Array:
        for number in numbers:
            root = jax.random.fold_in(root, number)
        return jax.random.normal(root, latent_shape)

    noise = jnp.zeros((*index_Bn.shape, *latent_shape))
    if shared > 0:
        of_video = jax.vmap(draw, (None, 0))(named_key(seed, "video_noise", step), video_B)
        noise += math.sqrt(shared) * of_video[:, None]
    if shared < 1:
        of_frame = jax.vmap(jax.vmap(draw, (None, None, 0)), (None, 0, 0))
        own = of_frame(named_key(seed, "frame_noise", step), video_B, slot_Bn)
        noise += math.sqrt(1.0 - shared) * own
    return noise
