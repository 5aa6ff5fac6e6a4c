"""Intermediate results of the decoder: its maps, and frames at every sampling step.

Dimension key: B videos, n frames of each, S sampling steps, H, W, G global feature, h, w, Z latents
of a frame, X, Y frame size, C colours.
"""

import functools
from typing import NamedTuple

import einops
import jax
import jax.numpy as jnp
import numpy as np

from glober_jax.diffusion.predictor import Predict
from glober_jax.diffusion.process import DiffusionProcess
from glober_jax.models.networks import Networks
from glober_jax.randomness import seed_words
from glober_jax.sampling.decode import FrameModel, decode_latents, denoise_frames, drawn_noise
from glober_jax.sampling.options import SamplingOptions


class Denoising(NamedTuple):
    """Frames at every sampling step, noisiest first, decoded by the frame codec.

    Attributes:
      noise_level: t / T of the steps, float32 [S].
      noisy: input of the step, uint8 [S, B, n, X, Y, C].
      clean: its estimate of the clean frame, uint8 [S, B, n, X, Y, C].
    """

    noise_level: np.ndarray
    noisy: np.ndarray
    clean: np.ndarray


def frame_maps(
    networks: Networks, model: FrameModel, global_BHWG: jax.Array, index_n: jax.Array
) -> tuple[jax.Array, ...]:
    """The decoder's conditioning maps [B, n, h, w, channels] of each frame, one per UNet level.

    Where the model predicts x_0 the last one is its first estimate of the latents.
    """
    index_Bn = jnp.broadcast_to(index_n, (len(global_BHWG), *index_n.shape))
    return networks.apply(model.params, "frame_features", global_BHWG, index_Bn)


def denoising(
    networks: Networks,
    process: DiffusionProcess,
    options: SamplingOptions,
    model: FrameModel,
    global_BHWG: np.ndarray,
    index_n: np.ndarray,
    seed: int,
    first_video: int = 0,
) -> Denoising:
    """The steps of `decode.decode_frames` for a few frames; compiled at every call."""
    videos = len(global_BHWG)
    index_Bn = jnp.broadcast_to(jnp.asarray(index_n, jnp.float32), (videos, len(index_n)))
    found: dict[float, tuple[np.ndarray, np.ndarray]] = {}

    def tell(t: jax.Array, x_t: jax.Array, x0: jax.Array) -> None:
        found[float(t)] = (np.asarray(x_t), np.asarray(x0))

    def watched(predict: Predict) -> Predict:
        def predict_and_tell(x_t: jax.Array, t: jax.Array) -> jax.Array:
            prediction = predict(x_t, t)
            x0, _ = process.to_x0_eps(prediction, x_t, jnp.full(x_t.shape[:1], t))
            jax.debug.callback(tell, t, x_t, x0)
            return prediction

        return predict_and_tell

    @jax.jit
    def run(model: FrameModel, global_BHWG: jax.Array, seed: jax.Array) -> jax.Array:
        noise = drawn_noise(networks, options, seed, first_video + jnp.arange(videos), index_Bn)
        given = (model.params, global_BHWG, index_Bn, noise, watched)
        return denoise_frames(networks, process, options, *given)

    jax.block_until_ready(run(model, global_BHWG, seed_words(seed)))
    jax.effects_barrier()
    steps = sorted(found, reverse=True)
    latents = np.stack([found[t] for t in steps])
    of_frames = einops.rearrange(latents, "s k (b n) h w z -> (s k b) n h w z", b=videos)
    frames = jax.device_get(jax.jit(functools.partial(decode_latents, networks))(model, of_frames))
    frames = einops.rearrange(frames, "(s k b) n x y c -> k s b n x y c", k=2, b=videos)
    return Denoising(np.float32(steps) / process.num_timesteps, *frames)
