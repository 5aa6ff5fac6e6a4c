"""Global features + any indices -> frames: non-autoregressive, frame-parallel, chunked.

Frames never exchange information while they are denoised, so a sub-clip decoded alone equals the
same frames of the full decode, given the same per-frame noise; and noise is keyed by video and
index, never by position in a batch.

Dimension key: B videos, n frames of each, N = B * n, K key frames, H, W, G global feature, h, w, Z
latents of a frame, X, Y frame size.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import einops
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from glober_jax.diffusion.guidance import DecoderGuidance
from glober_jax.diffusion.process import DiffusionProcess
from glober_jax.diffusion.samplers import Predict, Spacing, ddim
from glober_jax.models.frame_codec import normalise_frames, to_pixels
from glober_jax.models.latents import ChannelScale, Gaussian
from glober_jax.models.networks import Networks, Params
from glober_jax.parallel.mesh import constrain_batch, replicated
from glober_jax.randomness import named_key

# Two indices closer than this are the same frame to the noise.
_INDEX_RESOLUTION = 2**20


@dataclasses.dataclass(frozen=True)
class SamplingOptions:
    """How frames and global features are sampled.

    `eta` is DDIM's: 0 is deterministic from the first noise, 1 adds as much as DDPM does.
    `noise` gives every frame of a video its own initial noise ("frame", as published) or all of
    them the same ("video"), which keeps texture still between frames. `chunk_frames` bounds
    memory: at most that many frames are denoised at once. `fps` is written into the videos.
    """

    steps: int = 50
    spacing: Spacing = "trailing"
    eta: float = 0.0
    video_scale: float = 0.0
    domain_scale: float = 1.0
    condition_scale: float = 1.0
    noise: Literal["frame", "video"] = "frame"
    chunk_frames: int = 128
    fps: float = 8.0

    @property
    def guidance(self) -> DecoderGuidance:
        return DecoderGuidance(self.video_scale, self.domain_scale)


class FrameModel(NamedTuple):
    """What turns key frames into a global feature, and features into frames: a pytree."""

    params: Params
    latent_scale: ChannelScale


def encode_clip(networks: Networks, model: FrameModel, key_frames_BKXYC: jax.Array) -> jax.Array:
    """uint8 key frames -> mean global feature [B, H, W, G]; codec posterior means, no noise."""
    batch = key_frames_BKXYC.shape[0]
    frames = einops.rearrange(key_frames_BKXYC, "b k x y c -> (b k) x y c")
    moments = networks.apply(model.params, "frame_codec", normalise_frames(frames), method="encode")
    latents = model.latent_scale.normalise(Gaussian.from_moments(moments).mean)
    latents = einops.rearrange(latents, "(b k) h w z -> b k h w z", b=batch)
    return networks.apply(model.params, "video_encoder", latents).mean


def frame_noise(
    seed: jax.Array | int,
    video_B: jax.Array,
    index_Bn: jax.Array,
    latent_shape: tuple[int, int, int],
    per_frame: bool,
    step: jax.Array | int = 0,
) -> jax.Array:
    """Noise [B, n, h, w, Z], a pure function of (seed, step, video, index); step 0 is x_T."""
    root = named_key(seed, "frame_noise", step)
    slot_Bn = jnp.round(index_Bn * _INDEX_RESOLUTION).astype(jnp.int32) * per_frame

    def one(video: jax.Array, slot: jax.Array) -> jax.Array:
        key = jax.random.fold_in(jax.random.fold_in(root, video), slot)
        return jax.random.normal(key, latent_shape)

    return jax.vmap(jax.vmap(one, (None, 0)))(video_B, slot_Bn)


def frame_predictor(
    networks: Networks,
    guidance: DecoderGuidance,
    params: Params,
    global_BHWG: jax.Array,
    index_Bn: jax.Array,
    constrain: Callable[[jax.Array], jax.Array] = lambda x: x,
) -> Predict:
    """The guided video decoder for the frames at `index_Bn`: (z_t [N, h, w, Z], t) -> prediction.

    What does not depend on the noise (frame features, tokens of every branch) is computed here,
    once. `constrain` may shard the frame axis of an array.
    """
    batch, frames = index_Bn.shape
    no_feature = networks.apply(
        params, "video_encoder", jnp.zeros((1, networks.num_key_frames, *networks.latent_shape))
    ).mean
    empty_BHWG = jnp.broadcast_to(no_feature, global_BHWG.shape)

    def condition(feature_BHWG: jax.Array, domain: bool) -> tuple[jax.Array, ...]:
        maps = networks.apply(params, "frame_features", feature_BHWG, index_Bn)
        tokens = networks.apply(
            params, "global_tokens", feature_BHWG, jnp.full((batch,), domain, jnp.float32)
        )
        flat_maps = [constrain(einops.rearrange(m, "b n h w c -> (b n) h w c")) for m in maps]
        return constrain(jnp.repeat(tokens, frames, axis=0)), *flat_maps

    branches = {
        "full": (global_BHWG, True),
        "video": (empty_BHWG, True),
        "domain": (empty_BHWG, False),
    }
    conditions = {name: condition(*branches[name]) for name in guidance.coefficients}

    def predict(z_NhwZ: jax.Array, t: jax.Array) -> jax.Array:
        t_N = jnp.full(z_NhwZ.shape[:1], t)
        predictions = {
            name: networks.apply(params, "unet", z_NhwZ, t_N, tokens, maps)
            for name, (tokens, *maps) in conditions.items()
        }
        return guidance.combine(predictions)

    return predict


def denoise_frames(
    networks: Networks,
    process: DiffusionProcess,
    options: SamplingOptions,
    params: Params,
    global_BHWG: jax.Array,
    index_Bn: jax.Array,
    noise_BnhwZ: jax.Array,
    step_noise: Callable[[jax.Array], jax.Array] | None = None,
    constrain: Callable[[jax.Array], jax.Array] = lambda x: x,
) -> jax.Array:
    """Latents [B, n, h, w, Z] of the frames at `index_Bn`, guided DDIM from `noise_BnhwZ`.

    `step_noise(t)` is the noise [B, n, h, w, Z] that the step at t adds where `options.eta` > 0.
    """

    def flat(z_BnhwZ: jax.Array) -> jax.Array:
        return constrain(einops.rearrange(z_BnhwZ, "b n h w z -> (b n) h w z"))

    latents = ddim(
        process,
        frame_predictor(networks, options.guidance, params, global_BHWG, index_Bn, constrain),
        flat(noise_BnhwZ),
        options.steps,
        spacing=options.spacing,
        eta=options.eta,
        draw_noise=lambda t: flat(step_noise(t)),
    )
    return einops.rearrange(latents, "(b n) h w z -> b n h w z", b=len(index_Bn))


def decode_latents(networks: Networks, model: FrameModel, latents_BnhwZ: jax.Array) -> jax.Array:
    """Unit-variance latents -> uint8 frames [B, n, X, Y, 3]."""
    batch = latents_BnhwZ.shape[0]
    flat = einops.rearrange(model.latent_scale.restore(latents_BnhwZ), "b n h w z -> (b n) h w z")
    frames = networks.apply(model.params, "frame_codec", flat, method="decode")
    return einops.rearrange(to_pixels(frames), "(b n) x y c -> b n x y c", b=batch)


class VideoSampler:
    """Compiled decoding of features into frames for one model size, on a mesh.

    Holds compiled functions, no parameters: those come with each call.
    """

    def __init__(
        self, networks: Networks, process: DiffusionProcess, options: SamplingOptions, mesh: Mesh
    ) -> None:
        self._options = options
        self._frame_shape = (networks.frame_size, networks.frame_size, 3)

        def decode(
            model: FrameModel,
            feature: jax.Array,
            video: jax.Array,
            index: jax.Array,
            seed: jax.Array,
        ) -> jax.Array:
            def noise(step: jax.Array | int) -> jax.Array:
                per_frame = options.noise == "frame"
                return frame_noise(seed, video, index, networks.latent_shape, per_frame, step)

            latents = denoise_frames(
                networks,
                process,
                options,
                model.params,
                feature,
                index,
                noise(0),
                step_noise=lambda t: noise(t + 1),
                constrain=functools.partial(constrain_batch, mesh=mesh),
            )
            return decode_latents(networks, model, latents)

        self._decode = jax.jit(decode, out_shardings=replicated(mesh))
        self._encode = jax.jit(
            functools.partial(encode_clip, networks), out_shardings=replicated(mesh)
        )

    def encode(self, model: FrameModel, key_frames_BKXYC: np.ndarray) -> np.ndarray:
        """uint8 key frames -> mean global features [B, H, W, G]."""
        return jax.device_get(self._encode(model, key_frames_BKXYC))

    def decode(
        self,
        model: FrameModel,
        global_BHWG: np.ndarray,
        index_n: np.ndarray,
        seed: int,
        on_progress: Callable[[int], Any] = lambda frames: None,
        first_video: int = 0,
    ) -> np.ndarray:
        """uint8 frames [B, n, X, Y, 3] of every video at the same real indices [n].

        The videos are numbered from `first_video` on, which decides their noise. Work is cut into
        equal chunks of whole shapes, so memory does not grow with B or n and one compilation serves
        all. `on_progress` is told how many frames are done so far.
        """
        videos, frames = len(global_BHWG), len(index_n)
        block_n = min(frames, self._options.chunk_frames)
        block_B = max(1, min(videos, self._options.chunk_frames // block_n))
        out = np.empty((videos, frames, *self._frame_shape), np.uint8)
        # The last block of each axis is moved back to stay whole; its overlap is made twice.
        for first in (min(i, videos - block_B) for i in range(0, videos, block_B)):
            ids = np.arange(first, first + block_B, dtype=np.int32)
            for left in (min(i, frames - block_n) for i in range(0, frames, block_n)):
                index = np.tile(np.float32(index_n[left : left + block_n]), (block_B, 1))
                numbers = ids + np.int32(first_video)
                chunk = self._decode(model, global_BHWG[ids], numbers, index, np.uint32(seed))
                out[first : first + block_B, left : left + block_n] = jax.device_get(chunk)
                on_progress(first * frames + block_B * (left + block_n))
        return out
