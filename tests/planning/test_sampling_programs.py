"""The operations of sampling, counted in the traced programs."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest

from glober_jax.diffusion.guidance import ConditionGuidance, DecoderGuidance
from glober_jax.diffusion.predictor import EVERYWHERE, Interval
from glober_jax.diffusion.process import DiffusionProcess
from glober_jax.diffusion.samplers import Solver
from glober_jax.experiment.options import Experiment
from glober_jax.models.latents import ChannelScale
from glober_jax.models.networks import Networks, Params
from glober_jax.planning.flops import count_flops
from glober_jax.planning.sampling_programs import abstract_models, sampling_programs
from glober_jax.sampling.decode import FrameModel, VideoSampler, decode_frames
from glober_jax.sampling.generate import FeatureModel, generate_features
from glober_jax.sampling.options import SamplingOptions
from tests.tiny import mesh_of

# Guidance at t <= 500 of 1000: half of DDIM's steps.
LATER_HALF = Interval(0.0, 0.5)


def _guided(steps: int, interval: Interval) -> SamplingOptions:
    return SamplingOptions(
        steps=steps + 20,
        decoder_steps=steps,
        video_scale=1.5,
        domain_scale=1.5,
        condition_scale=3.0,
        chunk_frames=16,
        decoder_interval=interval,
        condition_interval=interval,
    )


def _operations(function: Callable[..., Any], *inputs: Any) -> int:
    return count_flops(jax.jit(function).trace(*inputs))


def _of_network(networks: Networks, name: str, params: Params) -> int:
    """Operations of a network for one row."""
    inputs = jax.eval_shape(lambda: networks.example_inputs(name))
    return _operations(lambda params, *x: networks.apply(params, name, *x), params, *inputs)


def _calls(
    process: DiffusionProcess, solver: Solver, guidance: DecoderGuidance | ConditionGuidance
) -> int:
    """Rows that the network takes for one sampled row: one per step and branch."""
    guided_S = guidance.interval.contains(solver.timesteps(process), process.num_timesteps)
    return int(np.where(guided_S, len(guidance.weights), 1).sum())


@pytest.mark.parametrize(
    ("interval", "calls", "videos", "frames"),
    [(EVERYWHERE, 90, 1, 128), (LATER_HALF, 45 + 15, 2, 3)],
)
def test_frames_cost_their_unet_calls(
    small_experiment: Experiment,
    small_model: FrameModel,
    interval: Interval,
    calls: int,
    videos: int,
    frames: int,
) -> None:
    """Fails when conditions are computed in every step, a branch without weight is computed, the
    generator's number of steps is taken, or the cost grows faster than the frames (broken: tokens
    and frame features inside the loop, 1.57).
    """
    networks, process = small_experiment.networks, small_experiment.diffusion

    def counted(steps: int) -> tuple[int, int]:
        """(operations, calls of the UNet for one frame) of sampling in so many steps."""
        options = _guided(steps, interval)
        decode = functools.partial(decode_frames, networks, process, options)
        features = np.zeros((videos, *networks.global_shape), np.float32)
        index_Bn = np.zeros((videos, frames), np.float32)
        numbers = np.zeros(videos, np.int32)
        operations = _operations(decode, small_model, features, numbers, index_Bn, np.uint32(0))
        return operations, _calls(process, options.decoder_solver, options.decoder_guidance)

    unet = _of_network(networks, "unet", small_model.params)
    (many, many_calls), (few, few_calls) = counted(30), counted(2)
    assert many_calls == calls
    assert many - few == unet * (many_calls - few_calls) * videos * frames
    # What does not depend on the noise, and the codec.
    assert few - unet * few_calls * videos * frames < 0.6 * few


@pytest.mark.parametrize(("interval", "calls"), [(EVERYWHERE, 100), (LATER_HALF, 50 + 25)])
def test_features_cost_their_generator_calls(
    small_experiment: Experiment, small_model: FrameModel, interval: Interval, calls: int
) -> None:
    """Fails when the unconditional branch is computed where it has no weight, or a channel group
    takes other steps than the sampler's.
    """
    networks, process = small_experiment.networks, small_experiment.generator_diffusion
    options = _guided(30, interval)
    assert _calls(process, options.solver, options.condition_guidance) == calls
    model = FeatureModel(small_model.params, ChannelScale(np.float32(0.0), np.float32(1.0)))
    videos = np.zeros(2, np.int32)
    generate = functools.partial(generate_features, networks, process, options)
    counted = _operations(generate, model, videos, videos, np.uint32(3))
    once = _of_network(networks, "generator", model.params)
    groups = len(networks.generator.groups)
    assert groups == 2
    assert counted == pytest.approx(once * groups * calls * 2, rel=0.01)


@pytest.mark.parametrize(("frames", "useful"), [(8, 1.0), (5, 5 / 6)])
def test_filling_up_is_not_useful(small_experiment: Experiment, frames: int, useful: float) -> None:
    """Fails when rows that are dropped count as useful, or a piece counts once for all.

    Five frames in pieces of at most four are six frames' work.
    """
    options = dataclasses.replace(small_experiment.sampling, steps=2, chunk_frames=4)
    experiment = dataclasses.replace(small_experiment, sampling=options)
    models = abstract_models(experiment.networks)
    program = sampling_programs(experiment, models, mesh_of(), 2, frames)["decoder"]
    share = program.least_flops / (count_flops(program.trace()) * program.runs)
    # What all frames of a video are conditioned on is computed in every piece.
    assert useful * 0.8 < share <= useful


def test_memory_does_not_grow_with_the_frames(
    small_experiment: Experiment, small_model: FrameModel
) -> None:
    """Fails when 128 frames take more memory than 16 that are denoised at once, or are compiled
    for anew; and shows that unchunked they do.
    """

    def sampler(chunk_frames: int) -> VideoSampler:
        options = dataclasses.replace(small_experiment.sampling, steps=1, chunk_frames=chunk_frames)
        decoding = small_experiment.networks, small_experiment.diffusion, options
        return VideoSampler(*decoding, mesh_of())

    def temporaries(sampler: VideoSampler, frames: int) -> int:
        compiled = sampler.trace(small_model, 1, frames).lower().compile()
        return compiled.memory_analysis().temp_size_in_bytes

    chunked = sampler(16)
    assert chunked.piece(1, 128) == chunked.piece(1, 16) == (1, 16)
    assert temporaries(sampler(128), 128) > 4 * temporaries(chunked, 128)
    features = np.zeros((1, *small_experiment.networks.global_shape), np.float32)
    pieces = list(chunked.chunks(small_model, features, np.arange(128) / 128, 0))
    assert [piece.frame for piece in pieces] == list(range(0, 128, 16))
    assert {piece.frames.shape for piece in pieces} == {(1, 16, 8, 8, 3)}
