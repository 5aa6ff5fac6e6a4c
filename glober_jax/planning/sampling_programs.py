"""The two programs of sampling as they are compiled, and the least operations they could take.

generator   noise to global features: the diffusion transformer
decoder     global features to frames: the UNet, and the codec's decoder
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from glober_jax.experiment.options import Experiment
from glober_jax.models.networks import AUTOENCODER, Networks
from glober_jax.planning.flops import count_flops
from glober_jax.sampling.decode import FrameModel, VideoSampler, decode_frames
from glober_jax.sampling.generate import FeatureModel, FeatureSampler, generate_features
from glober_jax.training import autoencoder, generator
from glober_jax.training.restore import constant_shapes


class SamplingProgram(NamedTuple):
    """A program that runs `runs` times for all videos.

    `least_flops` are the operations of all videos, without padding.
    """

    trace: Callable[[], jax.stages.Traced]
    least_flops: int
    runs: int


def abstract_models(networks: Networks) -> tuple[FrameModel, FeatureModel]:
    """The shapes of the parameters and constants that sampling takes from a trained workdir."""
    scales = constant_shapes(networks, autoencoder.NAME) | constant_shapes(networks, generator.NAME)
    return (
        FrameModel(networks.shapes(("frame_codec", *AUTOENCODER)), scales["latent_scale"]),
        FeatureModel(networks.shapes(generator.NETWORKS), scales["feature_scale"]),
    )


def sampling_programs(
    experiment: Experiment,
    models: tuple[FrameModel, FeatureModel],
    mesh: Mesh,
    videos: int,
    frames: int,
) -> dict[str, SamplingProgram]:
    """The programs that make `videos` of `frames` each on `mesh`; models may be abstract."""
    networks, options = experiment.networks, experiment.sampling
    frame_model, feature_model = models
    generating = networks, experiment.generator_diffusion, options
    decoding = networks, experiment.diffusion, options
    features, decoder = FeatureSampler(*generating, mesh), VideoSampler(*decoding, mesh)
    piece_B, piece_n = decoder.piece(videos, frames)

    def least(function: Callable[..., Any], *inputs: Any) -> int:
        return count_flops(jax.jit(function).trace(*inputs, np.uint32(0)))

    condition = networks.condition.input(videos)
    numbers_B, index_Bn = np.zeros(videos, np.int32), np.zeros((videos, frames), np.float32)
    features_BHWG = np.zeros((videos, *networks.global_shape), np.float32)
    generate = functools.partial(generate_features, *generating)
    decode = functools.partial(decode_frames, *decoding)
    return {
        "generator": SamplingProgram(
            lambda: features.trace(feature_model, np.zeros(condition.shape, condition.dtype)),
            least(generate, feature_model, numbers_B, condition),
            runs=1,
        ),
        "decoder": SamplingProgram(
            lambda: decoder.trace(frame_model, videos, frames),
            least(decode, frame_model, features_BHWG, numbers_B, index_Bn),
            runs=math.ceil(videos / piece_B) * math.ceil(frames / piece_n),
        ),
    }
