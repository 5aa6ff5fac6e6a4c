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

from glober_jax.benchmarking.programs import NOTES, Program, measure_program, program_row
from glober_jax.benchmarking.random_values import random_like
from glober_jax.benchmarking.report import machine, markdown_table
from glober_jax.benchmarking.sampling_flops import (
    fewest_for_features,
    fewest_for_frames,
    network_calls,
)
from glober_jax.experiment import Experiment
from glober_jax.models.networks import AUTOENCODER
from glober_jax.parallel.mesh import make_mesh
from glober_jax.parallel.rules import tree_shardings
from glober_jax.sampling.decode import FrameModel, VideoSampler
from glober_jax.sampling.generate import FeatureModel, FeatureSampler
from glober_jax.training import autoencoder, generator
from glober_jax.training.trained import constant_shapes


def benchmark_sampling(
    experiment: Experiment, *, num_videos: int, num_frames: int, seconds: float
) -> dict[str, Any]:
    """Measures both programs on all devices, as `config.sampling` samples.

    Args:
      experiment: says what the networks are, and how to sample.
      num_videos: how many videos are made at once.
      num_frames: frames of each.
      seconds: about how long to measure each program.

    Returns:
      `programs`: the figures of each program, for all videos; and `total`, of both. And what it
      takes to measure again.
    """
    networks, options, seed = experiment.networks, experiment.sampling, experiment.seed
    mesh = make_mesh(experiment.mesh)
    scales = constant_shapes(networks, autoencoder.NAME) | constant_shapes(networks, generator.NAME)
    models = random_like(
        (
            FrameModel(networks.shapes(("frame_codec", *AUTOENCODER)), scales["latent_scale"]),
            FeatureModel(networks.shapes(generator.NETWORKS), scales["feature_scale"]),
        )
    )
    frame_model, feature_model = jax.device_put(models, tree_shardings(models, mesh))
    generating = networks, experiment.generator_diffusion, options
    decoding = networks, experiment.diffusion, options
    features, videos = FeatureSampler(*generating, mesh), VideoSampler(*decoding, mesh)
    condition = random_like(networks.condition.input(num_videos))
    feature_BHWG = random_like(
        jax.ShapeDtypeStruct((num_videos, *networks.global_shape), np.float32)
    )
    index_n = np.arange(num_frames) / num_frames
    piece = videos.piece(num_videos, num_frames)
    pieces = math.prod(map(math.ceil, np.divide((num_videos, num_frames), piece)))
    programs = {
        "generator": Program(
            trace=lambda: features.trace(feature_model, condition),
            call=lambda _: features(feature_model, condition, seed),
            examples=num_videos,
            model_flops=fewest_for_features(*generating, models[1].params, num_videos),
        ),
        "decoder": Program(
            trace=lambda: videos.trace(frame_model, num_videos, num_frames),
            call=lambda _: videos.decode(frame_model, feature_BHWG, index_n, seed),
            examples=num_videos,
            model_flops=fewest_for_frames(*decoding, models[0], num_videos, num_frames),
            runs=pieces,
        ),
    }
    dtype = experiment.source["dtype"]
    measured = {
        name: measure_program(name, program, mesh, dtype, seconds)
        for name, program in programs.items()
    }
    total = {
        key: sum(figures[key] for figures in measured.values())
        for key in ("compile_seconds", "seconds", "cpu_seconds", "model_flops", "program_flops")
    }
    for figures in (*measured.values(), total):
        figures["seconds_per_video"] = figures["seconds"] / num_videos
        figures["seconds_per_frame"] = figures["seconds"] / (num_videos * num_frames)
    return {
        "programs": measured,
        "total": total,
        "videos": num_videos,
        "frames": num_frames,
        "pieces": {"count": pieces, "videos": piece[0], "frames": piece[1]},
        "network_calls": {
            "generator": network_calls(
                experiment.generator_diffusion, options.solver, options.condition_guidance
            ),
            "unet": network_calls(
                experiment.diffusion, options.decoder_solver, options.decoder_guidance
            ),
        },
        "sampling": asdict(options),
        "parameters": networks.count_parameters(),
        "frame_size": networks.frame_size,
        "dtype": dtype,
        "mesh": dict(mesh.shape),
        "devices": [device.device_kind for device in mesh.devices.flat],
        **machine(),
    }


def table(report: Mapping[str, Any]) -> str:
    """The figures of a report in Markdown."""
    rows = []
    for name, figures in (*report["programs"].items(), ("total", report["total"])):
        whole = name == "total"
        row = {"program": name} if whole else program_row(name, figures, "videos")
        if whole:
            row |= {
                "compile s": f"{figures['compile_seconds']:.1f}",
                "s": f"{figures['seconds']:.3g}",
                "CPU s": f"{figures['cpu_seconds']:.3g}",
                "videos/s": f"{1 / figures['seconds_per_video']:.3g}",
                "model GFLOP": f"{figures['model_flops'] / 1e9:,.2f}",
                "program / model": f"{figures['program_flops'] / figures['model_flops']:.3f}",
            }
        row["s/video"] = f"{figures['seconds_per_video']:.3g}"
        row["s/frame"] = f"{figures['seconds_per_frame']:.3g}"
        rows.append(row)
    pieces = report["pieces"]
    return "\n".join(
        [
            markdown_table(rows),
            "",
            f"{report['videos']} videos of {report['frames']} frames, decoded in {pieces['count']} "
            f"pieces of {pieces['videos']} x {pieces['frames']}. {NOTES}",
        ]
    )
