"""The two programs that sampling runs, as they are compiled, beside the least they could compute.

generator   noise to global features: the diffusion transformer
decoder     global features to frames: the UNet, and the codec's decoder
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
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

    `least_flops` are operations that all videos need, where no row is there to fill up devices.
    """

    trace: Callable[[], jax.stages.Traced]
    least_flops: int
    runs: int


def abstract_models(networks: Networks) -> tuple[FrameModel, FeatureModel]:
    """The shapes of what a trained workdir holds for sampling."""
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
    condition = networks.condition.input(videos)

    def shape(*sizes: int, dtype: Any = jnp.float32) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(sizes, dtype)

    def least(function: Callable[..., Any], *inputs: Any) -> int:
        return count_flops(jax.jit(function).trace(*inputs, shape(dtype=jnp.uint32)))[0]

    numbers = shape(videos, dtype=jnp.int32)
    generate = functools.partial(generate_features, *generating)
    decode = functools.partial(decode_frames, *decoding)
    features_BHWG, index_Bn = shape(videos, *networks.global_shape), shape(videos, frames)
    return {
        "generator": SamplingProgram(
            lambda: features.trace(feature_model, np.zeros(condition.shape, condition.dtype)),
            least(generate, feature_model, numbers, condition),
            runs=1,
        ),
        "decoder": SamplingProgram(
            lambda: decoder.trace(frame_model, videos, frames),
            least(decode, frame_model, features_BHWG, numbers, index_Bn),
            runs=math.ceil(videos / piece_B) * math.ceil(frames / piece_n),
        ),
    }
