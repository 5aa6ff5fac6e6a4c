"""Floating-point operations of sampling: of the compiled programs, and the fewest there can be.

Counted by XLA's cost analysis, which takes a loop for one round of its body. So the body of every
loop is compiled by itself, too, and its cost added for each further round.

Dimension key: B videos, n frames of each, S sampling steps, H, W, G global feature, h, w, Z latents
of a frame, L tokens, E their width.
"""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, jaxpr_as_fun

from glober_jax.diffusion.guidance import ConditionGuidance, DecoderGuidance
from glober_jax.diffusion.process import DiffusionProcess
from glober_jax.diffusion.samplers import Solver
from glober_jax.models.networks import Networks, Params
from glober_jax.sampling.decode import FrameModel, decode_latents
from glober_jax.sampling.options import SamplingOptions


def operations(function: Callable[..., Any], *inputs: Any) -> float:
    """Operations of a pure function's program for one device, with every round of its scans.

    Inputs may be abstract. Not for a program that is cut over devices: its analysis counts one
    device's part, and one round of the loops that XLA makes of products of shards.
    """
    program = jax.jit(function).trace(*inputs)
    once = program.lower().compile().cost_analysis()["flops"]
    further = [
        (scan.params["length"] - 1) * _operations_of_body(scan.params["jaxpr"])
        for scan in _scans(program.jaxpr.jaxpr)
    ]
    return once + sum(further)


def network_calls(
    process: DiffusionProcess, solver: Solver, guidance: DecoderGuidance | ConditionGuidance
) -> int:
    """How many rows the network is given for one sampled: a row per step and branch."""
    guided_S = guidance.interval.contains(solver.timesteps(process), process.num_timesteps)
    return int(np.where(guided_S, len(guidance.weights), 1).sum())


def fewest_for_features(
    networks: Networks,
    process: DiffusionProcess,
    options: SamplingOptions,
    params: Params,
    videos: int,
) -> float:
    """generator x branches x steps x B."""

    def generator(params: Params, x: jax.Array, context_BLE: jax.Array) -> jax.Array:
        return networks.apply(params, "generator", x, jnp.full(len(x), 3.0), context_BLE)

    context = _floats(1, networks.condition.length, networks.condition.width)
    of_one = operations(generator, params, _floats(1, *networks.global_shape), context)
    calls = network_calls(process, options.solver, options.condition_guidance)
    return of_one * calls * videos


def fewest_for_frames(
    networks: Networks,
    process: DiffusionProcess,
    options: SamplingOptions,
    model: FrameModel,
    videos: int,
    frames: int,
) -> float:
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
            return of_video, None
        # The other branches share the maps of the empty feature, and so do all videos its tokens.
        no_keys = jnp.zeros((1, networks.num_key_frames, *networks.latent_shape))
        empty = networks.apply(params, "video_encoder", no_keys).mean
        domains = {"video": 1.0, "domain": 0.0}
        of_nothing = [tokens(empty, domains[name]) for name in domains if name in branches]
        return of_video, (of_nothing, maps(jnp.broadcast_to(empty, feature_BHWG.shape)))

    def unet(params: Params, z: jax.Array, condition: tuple[jax.Array, Any]) -> jax.Array:
        return networks.apply(params, "unet", z, jnp.full(len(z), 3.0), *condition)

    def codec(model: FrameModel, z_BnhwZ: jax.Array) -> jax.Array:
        return decode_latents(networks, model, z_BnhwZ)

    def given(videos: int, frames: int) -> tuple[Any, ...]:
        return model.params, _floats(videos, *networks.global_shape), _floats(videos, frames)

    (tokens, maps), _ = jax.eval_shape(conditions, *given(1, 1))
    of_frame = tokens, [_floats(1, *of_level.shape[2:]) for of_level in maps]
    calls = network_calls(process, options.decoder_solver, options.decoder_guidance)
    of_unet = operations(unet, model.params, _floats(1, *networks.latent_shape), of_frame)
    of_codec = operations(codec, model, _floats(1, 1, *networks.latent_shape))
    of_conditions = operations(conditions, *given(videos, frames))
    return (of_unet * calls + of_codec) * videos * frames + of_conditions


def _operations_of_body(body: ClosedJaxpr) -> float:
    inputs = [jax.ShapeDtypeStruct(value.shape, value.dtype) for value in body.in_avals]
    return operations(jaxpr_as_fun(body), *inputs)


def _scans(jaxpr: Jaxpr) -> Iterator[JaxprEqn]:
    """The outermost scans, those of jitted functions within included."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "scan":
            yield equation
            continue
        for inner in equation.params.values():
            if isinstance(inner, ClosedJaxpr):
                yield from _scans(inner.jaxpr)


def _floats(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.float32)
