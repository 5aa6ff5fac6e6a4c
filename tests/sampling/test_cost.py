"""What sampling costs, counted in the compiled program: no network call that it does not need."""

import functools
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glober_jax.diffusion.predictor import EVERYWHERE, Interval
from glober_jax.experiment import Experiment
from glober_jax.models.latents import ChannelScale
from glober_jax.sampling.decode import FrameModel, decode_latents, denoise_frames
from glober_jax.sampling.generate import FeatureModel, generate_features
from glober_jax.sampling.options import SamplingOptions

VIDEOS, FRAMES, STEPS = 2, 3, 8
# Guidance at t <= 500 of 1000; DDIM's eight steps are 999, 874, ... 124.
LATER_HALF = Interval(0.0, 0.5)


def compiled(function: Callable[..., Any], *inputs: Any) -> Any:
    return jax.jit(function).lower(*inputs).compile()


def flops(function: Callable[..., Any], *inputs: Any) -> float:
    """Floating-point operations; of a loop, those of one round."""
    return compiled(function, *inputs).cost_analysis()["flops"]


def rounds(program: Any) -> list[int]:
    """How often each loop of a compiled program runs, but for the random generator's, of five."""
    counts = map(int, re.findall(r'known_trip_count":\{"n":"(\d+)"', program.as_text()))
    return sorted(count for count in counts if count != 5)


@pytest.mark.parametrize(
    ("interval", "loops", "branches"), [(EVERYWHERE, [8], 3), (LATER_HALF, [4, 4], 3 + 1)]
)
def test_frames_cost_their_unet_calls(
    small_experiment: Experiment,
    small_model: FrameModel,
    interval: Interval,
    loops: list[int],
    branches: int,
) -> None:
    """Fails when conditions are computed in every step, a branch without weight is computed, or the
    empty feature's twice (broken: tokens and frame features inside the loop).
    """
    networks, process = small_experiment.networks, small_experiment.diffusion
    params = small_model.params
    options = SamplingOptions(
        steps=STEPS, video_scale=1.5, domain_scale=1.5, decoder_interval=interval
    )
    feature = np.zeros((VIDEOS, *networks.global_shape), np.float32)
    index = np.tile(np.arange(FRAMES, dtype=np.float32) / 16, (VIDEOS, 1))
    noise = np.zeros((VIDEOS, FRAMES, *networks.latent_shape), np.float32)

    def decode(model: FrameModel, feature: jax.Array, index: jax.Array, noise: jax.Array) -> Any:
        latents = denoise_frames(networks, process, options, model.params, feature, index, noise)
        return decode_latents(networks, model, latents)

    def conditions(
        params: Any, feature: jax.Array, index: jax.Array, key_latents: jax.Array
    ) -> Any:
        empty = networks.apply(params, "video_encoder", key_latents).mean
        tokens = [
            networks.apply(params, "global_tokens", g, jnp.full(len(g), domain))
            for g, domain in ((feature, 1.0), (empty, 1.0), (empty, 0.0))
        ]
        empties = jnp.broadcast_to(empty, feature.shape)
        maps = [networks.apply(params, "frame_features", g, index) for g in (feature, empties)]
        return tokens, maps

    def unet(params: Any, z: jax.Array, tokens: jax.Array, maps: Any) -> Any:
        return networks.apply(params, "unet", z, jnp.full(len(z), 3.0), tokens, maps)

    key_latents = np.zeros((1, networks.num_key_frames, *networks.latent_shape), np.float32)
    given = (params, feature, index, key_latents)
    tokens, maps = jax.eval_shape(conditions, *given)
    one = jax.tree.map(
        lambda x: jnp.zeros((1, *x.shape[-3:]) if x.ndim == 5 else (1, *x.shape[1:])),
        (tokens[0], maps[0]),
    )
    of_unet = flops(unet, params, noise[0, :1], *one)
    of_the_rest = flops(conditions, *given) + flops(
        functools.partial(decode_latents, networks), small_model, noise
    )
    program = compiled(decode, small_model, feature, index, noise)
    assert rounds(program) == loops
    # The cost of one round of every loop; the rounds themselves are counted above.
    expected = of_unet * branches * VIDEOS * FRAMES + of_the_rest
    assert program.cost_analysis()["flops"] == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(
    ("interval", "loops", "branches"), [(EVERYWHERE, [8], 2), (LATER_HALF, [4, 4], 2 + 1)]
)
def test_features_cost_their_generator_calls(
    small_experiment: Experiment,
    small_model: FrameModel,
    interval: Interval,
    loops: list[int],
    branches: int,
) -> None:
    """Fails when the unconditional branch is computed where it has no weight."""
    networks, process = small_experiment.networks, small_experiment.generator_diffusion
    options = SamplingOptions(steps=STEPS, condition_scale=3.0, condition_interval=interval)
    model = FeatureModel(small_model.params, ChannelScale(np.float32(0.0), np.float32(1.0)))
    generate = functools.partial(generate_features, networks, process, options)
    program = compiled(generate, model, np.arange(VIDEOS), np.arange(VIDEOS), np.uint32(3))

    def call(params: Any, x: jax.Array, context: jax.Array) -> jax.Array:
        return networks.apply(params, "generator", x, jnp.full(len(x), 3.0), context)

    x = np.zeros((1, *networks.global_shape), np.float32)
    context = np.zeros((1, networks.condition.length, networks.condition.width), np.float32)
    expected = flops(call, model.params, x, context) * branches * VIDEOS
    assert rounds(program) == loops
    assert program.cost_analysis()["flops"] == pytest.approx(expected, rel=0.02)
