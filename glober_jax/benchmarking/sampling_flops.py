"""The fewest operations that sampling can take: of matrix products and convolutions, as traced.

Dimension key: B videos, n frames of each, S sampling steps, H, W, G global feature, h, w, Z latents
of a frame, L tokens, E their width.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from glober_jax.diffusion.guidance import ConditionGuidance, DecoderGuidance
from glober_jax.diffusion.process import DiffusionProcess
from glober_jax.diffusion.samplers import Solver
from glober_jax.models.networks import Networks, Params
from glober_jax.planning.flops import count_flops
from glober_jax.sampling.decode import FrameModel, decode_latents
from glober_jax.sampling.options import SamplingOptions


def operations(function: Callable[..., Any], *inputs: Any) -> int:
    """Operations of a pure function, with every round of its loops. Inputs may be abstract."""
    return count_flops(jax.jit(function).trace(*inputs))[0]


def network_calls(
    process: DiffusionProcess, solver: Solver, guidance: DecoderGuidance | ConditionGuidance
) -> int:
    """Rows that the network takes for one sampled row: one per step and branch."""
    guided_S = guidance.interval.contains(solver.timesteps(process), process.num_timesteps)
    return int(np.where(guided_S, len(guidance.weights), 1).sum())


def fewest_for_features(
    networks: Networks,
    process: DiffusionProcess,
    options: SamplingOptions,
    params: Params,
    videos: int,
) -> int:
    """generator x branches x steps x B."""

    def generator(params: Params, x: jax.Array, context_BLE: jax.Array) -> jax.Array:
        return networks.apply(params, "generator", x, jnp.full(len(x), 3.0), context_BLE)

    context = _floats(1, networks.condition.length, networks.condition.width)
    of_one = operations(generator, params, _floats(1, *networks.global_shape), context)
    return of_one * network_calls(process, options.solver, options.condition_guidance) * videos


def fewest_for_frames(
    networks: Networks,
    process: DiffusionProcess,
    options: SamplingOptions,
    model: FrameModel,
    videos: int,
    frames: int,
) -> int:
    """UNet x branches x steps x B n + codec x B n + what the UNet is conditioned on, once."""
    branches = options.decoder_guidance.weights

    def conditions(params: Params, feature_BHWG: jax.Array, index_Bn: jax.Array) -> Any:
        def tokens(feature_BHWG: jax.Array, domain: float) -> jax.Array:
            domain_B = jnp.full(len(feature_BHWG), domain)
            return networks.apply(params, "global_tokens", feature_BHWG, domain_B)

        def maps(feature_BHWG: jax.Array) -> Any:
            return networks.apply(params, "frame_features", feature_BHWG, index_Bn)

        of_video = tokens(feature_BHWG, 1.0), maps(feature_BHWG)
        if branches.keys() == {"full"}:
            return of_video
        # The other branches share the maps of the empty feature, and so do all videos its tokens.
        no_keys = jnp.zeros((1, networks.num_key_frames, *networks.latent_shape))
        empty = networks.apply(params, "video_encoder", no_keys).mean
        domains = {"video": 1.0, "domain": 0.0}
        of_nothing = [tokens(empty, domains[name]) for name in domains if name in branches]
        return of_video, of_nothing, maps(jnp.broadcast_to(empty, feature_BHWG.shape))

    def unet(params: Params, z: jax.Array, condition: tuple[jax.Array, Any]) -> jax.Array:
        return networks.apply(params, "unet", z, jnp.full(len(z), 3.0), *condition)

    _, _, *condition = jax.eval_shape(lambda: networks.example_inputs("unet"))
    of_unet = operations(unet, model.params, _floats(1, *networks.latent_shape), condition)
    decode = functools.partial(decode_latents, networks)
    of_codec = operations(decode, model, _floats(1, 1, *networks.latent_shape))
    of_conditions = operations(
        conditions, model.params, _floats(videos, *networks.global_shape), _floats(videos, frames)
    )
    calls = network_calls(process, options.decoder_solver, options.decoder_guidance)
    return (of_unet * calls + of_codec) * videos * frames + of_conditions


def _floats(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.float32)
