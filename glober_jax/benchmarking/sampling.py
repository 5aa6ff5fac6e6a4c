"""The two programs of sampling: time to compile and to run, memory, operations.

Weights are random, because none of these depends on them.
"""

import functools
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import jax
import numpy as np

from glober_jax.benchmarking.programs import Program, measure_programs, programs_table, random_like
from glober_jax.experiment.options import Experiment
from glober_jax.parallel.mesh import make_mesh
from glober_jax.parallel.rules import tree_shardings
from glober_jax.planning.sampling_programs import abstract_models, sampling_programs
from glober_jax.sampling.decode import VideoSampler
from glober_jax.sampling.generate import FeatureSampler


def benchmark(
    experiment: Experiment, *, seconds: float, num_videos: int, num_frames: int
) -> dict[str, Any]:
    """Measures both programs on all devices, each for about `seconds`, with the config's sampler.

    Returns `programs`, the figures of each for all videos; `total`, of both; and the settings.
    """
    networks, options, seed = experiment.networks, experiment.sampling, experiment.seed
    mesh = make_mesh(experiment.mesh)
    models = random_like(abstract_models(networks))
    models = frame_model, feature_model = jax.device_put(models, tree_shardings(models, mesh))
    features = FeatureSampler(networks, experiment.generator_diffusion, options, mesh)
    videos = VideoSampler(networks, experiment.diffusion, options, mesh)
    condition = random_like(networks.condition.input(num_videos))
    feature_shape = (num_videos, *networks.global_shape)
    feature_BHWG = random_like(jax.ShapeDtypeStruct(feature_shape, np.float32))
    index_n = np.arange(num_frames) / num_frames
    calls = {
        "generator": lambda _: features(feature_model, condition, seed),
        "decoder": lambda _: videos.decode(frame_model, feature_BHWG, index_n, seed),
    }
    found = sampling_programs(experiment, models, mesh, num_videos, num_frames)
    programs = {}
    for name, one in found.items():
        given = one.trace, calls[name], num_videos, one.least_flops, one.runs
        programs[name] = functools.partial(Program, *given)
    report = measure_programs(experiment, programs, mesh, seconds)
    piece_B, piece_n = videos.piece(num_videos, num_frames)
    keys = ("compile_seconds", "seconds", "cpu_seconds", "model_flops", "program_flops")
    total = {key: sum(each[key] for each in report["programs"].values()) for key in keys}
    total["seconds_per_video"] = total["seconds"] / num_videos
    total["seconds_per_frame"] = total["seconds_per_video"] / num_frames
    return {
        **report,
        "total": total,
        "videos": num_videos,
        "frames": num_frames,
        "pieces": {"count": found["decoder"].runs, "videos": piece_B, "frames": piece_n},
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
        f"{total['program_flops'] / total['model_flops']:.3f} times what these videos need."
    )
