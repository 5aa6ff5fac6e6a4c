"""What sampling costs, counted in the traced programs: no network call that it does not need."""

import dataclasses
import functools

import numpy as np
import pytest

from glober_jax.benchmarking.sampling_flops import (
    fewest_for_features,
    fewest_for_frames,
    network_calls,
    operations,
)
from glober_jax.diffusion.predictor import EVERYWHERE, Interval
from glober_jax.experiment.options import Experiment
from glober_jax.models.latents import ChannelScale
from glober_jax.sampling.decode import FrameModel, VideoSampler, decode_frames
from glober_jax.sampling.generate import FeatureModel, generate_features
from glober_jax.sampling.options import SamplingOptions
from tests.tiny import mesh_of

# Guidance at t <= 500 of 1000: half of DDIM's steps.
LATER_HALF = Interval(0.0, 0.5)


def _guided(interval: Interval) -> SamplingOptions:
    return SamplingOptions(
        steps=50,
        decoder_steps=30,
        video_scale=1.5,
        domain_scale=1.5,
        condition_scale=3.0,
        chunk_frames=16,
        decoder_interval=interval,
        condition_interval=interval,
    )


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
    decoding = small_experiment.networks, small_experiment.diffusion, _guided(interval)
    networks, process, options = decoding
    assert network_calls(process, options.decoder_solver, options.decoder_guidance) == calls
    counted = operations(
        functools.partial(decode_frames, *decoding),
        small_model,
        np.zeros((videos, *networks.global_shape), np.float32),
        np.zeros(videos, np.int32),
        np.zeros((videos, frames), np.float32),
        np.uint32(0),
    )
    fewest = fewest_for_frames(*decoding, small_model, videos, frames)
    assert counted == pytest.approx(fewest, rel=0.01)


@pytest.mark.parametrize(("interval", "calls"), [(EVERYWHERE, 100), (LATER_HALF, 50 + 25)])
def test_features_cost_their_generator_calls(
    small_experiment: Experiment, small_model: FrameModel, interval: Interval, calls: int
) -> None:
    """Fails when the unconditional branch is computed where it has no weight."""
    generating = small_experiment.networks, small_experiment.generator_diffusion, _guided(interval)
    _, process, options = generating
    assert network_calls(process, options.solver, options.condition_guidance) == calls
    model = FeatureModel(small_model.params, ChannelScale(np.float32(0.0), np.float32(1.0)))
    videos = np.zeros(2, np.int32)
    generate = functools.partial(generate_features, *generating)
    counted = operations(generate, model, videos, videos, np.uint32(3))
    fewest = fewest_for_features(*generating, small_model.params, 2)
    assert counted == pytest.approx(fewest, rel=0.01)


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
