"""Global features + any indices -> frames: non-autoregressive, frame-parallel, chunked.

Frames do not exchange information while they are denoised, and noise is keyed by video and index,
never by position in a batch: a sub-clip decoded alone equals the same frames of the full decode.

Dimension key: B videos, n frames of each, N = B * n, K key frames, H, W, G global feature, h, w, Z
latents of a frame, X, Y frame size.
"""

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import einops
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from glober_jax.diffusion.guidance import DecoderGuidance, guided_predictor
from glober_jax.diffusion.predictor import Predict, Predictor
from glober_jax.diffusion.process import DiffusionProcess
from glober_jax.diffusion.samplers import sample
from glober_jax.models.frame_codec import normalise_frames, to_pixels
from glober_jax.models.latents import ChannelScale, Gaussian
from glober_jax.models.networks import Networks, Params
from glober_jax.randomness import seed_words
from glober_jax.sampling.devices import ALL, FRAMES, VIDEOS, filled_up, piece, spread
from glober_jax.sampling.noise import frame_noise
from glober_jax.sampling.options import SamplingOptions


class FrameModel(NamedTuple):
    """Parameters of video encoder, decoder and codec, and the scale of latents: a pytree."""

    params: Params
    latent_scale: ChannelScale


def codec_posterior(networks: Networks, params: Params, clips: jax.Array) -> Gaussian:
    """Posterior of frames [B, T, X, Y, 3] (uint8) or of their cached moments [B, T, h, w, 2 Z]."""
    if clips.dtype != jnp.uint8:
        return Gaussian.from_moments(clips)
    flat = einops.rearrange(normalise_frames(clips), "b t x y c -> (b t) x y c")
    moments = networks.apply(params, "frame_codec", flat, method="encode")
    return Gaussian.from_moments(
        einops.rearrange(moments, "(b t) h w m -> b t h w m", b=clips.shape[0])
    )


def encode_frames(networks: Networks, model: FrameModel, frames_BnXYC: jax.Array) -> jax.Array:
    """uint8 frames -> unit-variance latents [B, n, h, w, Z]; codec posterior means, no noise."""
    return model.latent_scale.normalise(codec_posterior(networks, model.params, frames_BnXYC).mean)


def encode_clip(networks: Networks, model: FrameModel, key_frames_BKXYC: jax.Array) -> jax.Array:
    """uint8 key frames -> mean global feature [B, H, W, G]; see `encode_frames`."""
    latents = encode_frames(networks, model, key_frames_BKXYC)
    return networks.apply(model.params, "video_encoder", latents).mean


def frame_predictor(
    networks: Networks,
    guidance: DecoderGuidance,
    params: Params,
    global_BHWG: jax.Array,
    index_Bn: jax.Array,
) -> Predictor:
    """The guided video decoder for the frames at `index_Bn`: (z_t [N, h, w, Z], t) -> prediction.

    Frame features and tokens of each branch do not depend on the noise and are computed here, once.
    """
    batch, frames = index_Bn.shape

    def tokens(feature_BHWG: jax.Array, domain: bool) -> jax.Array:
        with_domain_B = jnp.full(feature_BHWG.shape[:1], domain, jnp.float32)
        tokens_BLE = networks.apply(params, "global_tokens", feature_BHWG, with_domain_B)
        each = jnp.broadcast_to(tokens_BLE, (batch, *tokens_BLE.shape[1:]))
        return jnp.repeat(each, frames, axis=0)

    def maps(feature_BHWG: jax.Array) -> list[jax.Array]:
        found = networks.apply(params, "frame_features", feature_BHWG, index_Bn)
        return [einops.rearrange(m, "b n h w c -> (b n) h w c") for m in found]

    conditions = {"full": (tokens(global_BHWG, True), maps(global_BHWG))}
    if guidance.weights.keys() - {"full"}:
        no_keys = jnp.zeros((1, networks.num_key_frames, *networks.latent_shape))
        empty = networks.apply(params, "video_encoder", no_keys).mean
        empty_maps = maps(jnp.broadcast_to(empty, global_BHWG.shape))
        conditions["video"] = (tokens(empty, True), empty_maps)
        conditions["domain"] = (tokens(empty, False), empty_maps)

    def unet(z: jax.Array, t: jax.Array, condition: tuple[jax.Array, list[jax.Array]]) -> jax.Array:
        return networks.apply(params, "unet", z, t, *condition)

    return guided_predictor(guidance, unet, conditions)


def denoise_frames(
    networks: Networks,
    process: DiffusionProcess,
    options: SamplingOptions,
    params: Params,
    global_BHWG: jax.Array,
    index_Bn: jax.Array,
    noise: Callable[[jax.Array | int], jax.Array],
    watch: Callable[[Predict], Predict] = lambda predict: predict,
) -> jax.Array:
    """Latents [B, n, h, w, Z] of the frames at `index_Bn`, guided, from `noise(0)`.

    The step at t adds `noise(t + 1)` where `options.eta` > 0. `watch` wraps the predictor.
    """

    def flat_noise(step: jax.Array | int) -> jax.Array:
        return einops.rearrange(noise(step), "b n h w z -> (b n) h w z")

    predictor = frame_predictor(networks, options.decoder_guidance, params, global_BHWG, index_Bn)
    predictor = predictor._replace(guided=watch(predictor.guided), plain=watch(predictor.plain))
    solver, start = options.decoder_solver, flat_noise(0)
    latents = sample(process, solver, predictor, start, lambda t: flat_noise(t + 1))
    return einops.rearrange(latents, "(b n) h w z -> b n h w z", b=len(index_Bn))


def decode_latents(networks: Networks, model: FrameModel, latents_BnhwZ: jax.Array) -> jax.Array:
    """Unit-variance latents -> uint8 frames [B, n, X, Y, 3]."""
    batch = latents_BnhwZ.shape[0]
    flat = einops.rearrange(model.latent_scale.restore(latents_BnhwZ), "b n h w z -> (b n) h w z")
    frames = networks.apply(model.params, "frame_codec", flat, method="decode")
    return einops.rearrange(to_pixels(frames), "(b n) x y c -> b n x y c", b=batch)


def decode_frames(
    networks: Networks,
    process: DiffusionProcess,
    options: SamplingOptions,
    model: FrameModel,
    global_BHWG: jax.Array,
    video_B: jax.Array,
    index_Bn: jax.Array,
    seed: jax.Array | int,
) -> jax.Array:
    """Global features -> uint8 frames [B, n, X, Y, 3] at any real indices. Pure; jit it.

    A frame is a function of its feature, index, video number and seed alone; float arithmetic may
    round it differently beside other frames.
    """
    noise = drawn_noise(networks, options, seed, video_B, index_Bn)
    given = (model.params, global_BHWG, index_Bn, noise)
    return decode_latents(networks, model, denoise_frames(networks, process, options, *given))


def drawn_noise(
    networks: Networks,
    options: SamplingOptions,
    seed: jax.Array | int,
    video_B: jax.Array,
    index_Bn: jax.Array,
) -> Callable[[jax.Array | int], jax.Array]:
    """The `frame_noise` of these frames, by step."""
    shape, shared = networks.latent_shape, options.shared_noise
    return functools.partial(frame_noise, seed, video_B, index_Bn, shape, shared)


class Chunk(NamedTuple):
    """uint8 frames [b, c, X, Y, 3] of the videos from `video` on, beginning at frame `frame`."""

    video: int
    frame: int
    frames: np.ndarray


class VideoSampler:
    """Compiled decoding of features into frames, on all devices of a mesh; holds no parameters."""

    def __init__(
        self, networks: Networks, process: DiffusionProcess, options: SamplingOptions, mesh: Mesh
    ) -> None:
        self._global_shape = networks.global_shape
        self._chunk_frames, self._devices = options.chunk_frames, mesh.size
        on_devices = functools.partial(spread, mesh=mesh, dtype=networks.dtype)
        self._decode = on_devices(
            functools.partial(decode_frames, networks, process, options),
            rows=(VIDEOS, VIDEOS, FRAMES, ALL),
            output=FRAMES,
        )
        self._encode = on_devices(
            functools.partial(encode_clip, networks), rows=(VIDEOS,), output=VIDEOS
        )
        self._encode_frames, self._decode_latents = (
            on_devices(functools.partial(function, networks), rows=(FRAMES,), output=FRAMES)
            for function in (encode_frames, decode_latents)
        )

    def encode(self, model: FrameModel, key_frames_BKXYC: np.ndarray) -> np.ndarray:
        """uint8 key frames -> mean global features [B, H, W, G]."""
        videos = len(key_frames_BKXYC)
        padded_B, _ = piece(videos, 1, self._devices, videos)
        features = self._encode(padded_B)(model, filled_up(key_frames_BKXYC, padded_B))
        return jax.device_get(features)[:videos]

    def encode_frames(self, model: FrameModel, frames_BnXYC: np.ndarray) -> np.ndarray:
        """uint8 frames -> the codec's unit-variance latents [B, n, h, w, Z]."""
        return self._map(self._encode_frames, model, frames_BnXYC)

    def decode_latents(self, model: FrameModel, latents_BnhwZ: np.ndarray) -> np.ndarray:
        """The codec's unit-variance latents -> uint8 frames [B, n, X, Y, 3]."""
        return self._map(self._decode_latents, model, latents_BnhwZ)

    def _map(
        self, function: Callable[[int], Any], model: FrameModel, rows_Bn: np.ndarray
    ) -> np.ndarray:
        videos, frames = rows_Bn.shape[:2]
        padded_B, padded_n = piece(videos, frames, self._devices, videos * frames)
        rows_Bn = filled_up(filled_up(rows_Bn, padded_B), padded_n, axis=1)
        return jax.device_get(function(padded_B)(model, rows_Bn))[:videos, :frames]

    def piece(self, videos: int, frames: int) -> tuple[int, int]:
        """(videos, frames of each) that are denoised at once; see `devices.piece`."""
        return piece(videos, frames, self._devices, self._chunk_frames)

    def trace(self, model: FrameModel, videos: int, frames: int) -> jax.stages.Traced:
        """The traced program of one piece of these videos and frames, to count its cost."""
        step_B, step_n = self.piece(videos, frames)
        return self._decode(step_B).trace(
            model,
            np.zeros((step_B, *self._global_shape), np.float32),
            np.zeros(step_B, np.int32),
            np.zeros((step_B, step_n), np.float32),
            seed_words(0),
        )

    def chunks(
        self,
        model: FrameModel,
        global_BHWG: np.ndarray,
        index_n: np.ndarray,
        seed: int,
        first_video: int = 0,
    ) -> Iterator[Chunk]:
        """The frames of every video at the same real indices [n], piece by piece.

        Noise depends on the video's number, from `first_video` on. The last pieces are padded with
        rows that are dropped. The next piece is computed while the caller handles one.
        """
        videos, frames = len(global_BHWG), len(index_n)
        step_B, step_n = self.piece(videos, frames)
        decode = self._decode(step_B)

        def begun() -> Iterator[tuple[int, int, jax.Array]]:
            for first in range(0, videos, step_B):
                features = filled_up(global_BHWG[first : first + step_B], step_B)
                numbers = np.int32(first_video) + np.arange(first, first + step_B, dtype=np.int32)
                for left in range(0, frames, step_n):
                    columns = filled_up(np.float32(index_n[left : left + step_n]), step_n)
                    index_Bn = np.tile(columns, (step_B, 1))
                    made = decode(model, features, numbers, index_Bn, seed_words(seed))
                    yield first, left, made

        for (first, left, made), _ in itertools.pairwise(itertools.chain(begun(), [None])):
            frames_BnXYC = jax.device_get(made)[: videos - first, : frames - left]
            yield Chunk(first, left, frames_BnXYC)

    def decode(
        self,
        model: FrameModel,
        global_BHWG: np.ndarray,
        index_n: np.ndarray,
        seed: int,
        first_video: int = 0,
    ) -> np.ndarray:
        """All `chunks` put together: uint8 frames [B, n, X, Y, 3]."""
        rows: dict[int, list[np.ndarray]] = {}
        for chunk in self.chunks(model, global_BHWG, index_n, seed, first_video):
            rows.setdefault(chunk.video, []).append(chunk.frames)
        return np.concatenate([np.concatenate(parts, axis=1) for parts in rows.values()])
