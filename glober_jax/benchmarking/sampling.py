"""What sampling costs: time to compile and to run, memory, and operations beside the fewest.

The two programs:
  generator   noise to global features: the diffusion transformer
  decoder     global features to frames on the host: the UNet, and the codec's decoder

Weights are random: what is measured does not depend on them.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import jax
import numpy as np

from glober_jax.benchmarking.programs import (
    Program,
    measure_programs,
    programs_table,
    random_like,
)
from glober_jax.benchmarking.sampling_flops import (
    fewest_for_features,
    fewest_for_frames,
    network_calls,
)
from glober_jax.experiment.options import Experiment
from glober_jax.models.networks import AUTOENCODER, Networks
from glober_jax.parallel.mesh import make_mesh
from glober_jax.parallel.rules import tree_shardings
from glober_jax.sampling.decode import FrameModel, VideoSampler
from glober_jax.sampling.generate import FeatureModel, FeatureSampler
from glober_jax.training import autoencoder, generator
from glober_jax.training.restore import constant_shapes


def benchmark(
    experiment: Experiment, *, seconds: float, num_videos: int, num_frames: int
) -> dict[str, Any]:
    """Measures both programs on all devices, each for about `seconds`, as the config samples.

    Returns `programs`, the figures of each for all videos; `total`, of both; and what it takes to
    measure again.
    """
    networks, options, seed = experiment.networks, experiment.sampling, experiment.seed
    mesh = make_mesh(experiment.mesh)
    models = _random_models(networks)
    frame_model, feature_model = jax.device_put(models, tree_shardings(models, mesh))
    generating = networks, experiment.generator_diffusion, options
    decoding = networks, experiment.diffusion, options
    features, videos = FeatureSampler(*generating, mesh), VideoSampler(*decoding, mesh)
    condition = random_like(networks.condition.input(num_videos))
    feature_shape = (num_videos, *networks.global_shape)
    feature_BHWG = random_like(jax.ShapeDtypeStruct(feature_shape, np.float32))
    index_n = np.arange(num_frames) / num_frames
    piece = videos.piece(num_videos, num_frames)
    pieces = math.ceil(num_videos / piece[0]) * math.ceil(num_frames / piece[1])
    programs = {
        "generator": lambda: Program(
            trace=lambda: features.trace(feature_model, condition),
            call=lambda _: features(feature_model, condition, seed),
            examples=num_videos,
            model_flops=fewest_for_features(*generating, models[1].params, num_videos),
        ),
        "decoder": lambda: Program(
            trace=lambda: videos.trace(frame_model, num_videos, num_frames),
            call=lambda _: videos.decode(frame_model, feature_BHWG, index_n, seed),
            examples=num_videos,
            model_flops=fewest_for_frames(*decoding, models[0], num_videos, num_frames),
            runs=pieces,
        ),
    }
    report = measure_programs(experiment, programs, mesh, seconds)
    return {
        **report,
        "total": _total(report["programs"], num_videos, num_frames),
        "videos": num_videos,
        "frames": num_frames,
        "pieces": {"count": pieces, "videos": piece[0], "frames": piece[1]},
        "network_calls": {
            "generator": network_calls(generating[1], options.solver, options.condition_guidance),
            "unet": network_calls(decoding[1], options.decoder_solver, options.decoder_guidance),
        },
        "sampling": asdict(options),
    }


def table(report: Mapping[str, Any]) -> str:
    """The figures of a report in Markdown."""
    pieces, total = report["pieces"], report["total"]
    return (
        f"{programs_table(report)}\n\n{report['videos']} videos of {report['frames']} frames, "
        f"decoded in {pieces['count']} pieces of {pieces['videos']} x {pieces['frames']}: "
        f"{total['seconds']:.3g} s, {total['seconds_per_video']:.3g} s a video, "
        f"{total['seconds_per_frame']:.3g} s a frame; {total['program_flops'] / 1e9:,.2f} GFLOP, "
        f"{total['program_flops'] / total['model_flops']:.3f} times the fewest."
    )


def _random_models(networks: Networks) -> tuple[FrameModel, FeatureModel]:
    scales = constant_shapes(networks, autoencoder.NAME) | constant_shapes(networks, generator.NAME)
    return random_like(
        (
            FrameModel(networks.shapes(("frame_codec", *AUTOENCODER)), scales["latent_scale"]),
            FeatureModel(networks.shapes(generator.NETWORKS), scales["feature_scale"]),
        )
    )


def _total(programs: Mapping[str, Any], num_videos: int, num_frames: int) -> dict[str, float]:
    keys = ("compile_seconds", "seconds", "cpu_seconds", "model_flops", "program_flops")
    total = {key: sum(figures[key] for figures in programs.values()) for key in keys}
    total["seconds_per_video"] = total["seconds"] / num_videos
    total["seconds_per_frame"] = total["seconds_per_video"] / num_frames
    return total
