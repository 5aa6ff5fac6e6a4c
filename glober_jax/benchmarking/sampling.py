"""What sampling costs: time to compile and to run, memory, and operations beside the fewest.

The two programs:
  generator   noise to global features: the diffusion transformer
  decoder     global features to frames: the UNet, and the codec's decoder

Weights are random: what is measured does not depend on them.
Dimension key: B videos, n frames of each.
"""

import functools
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from statistics import median
from typing import Any

import jax
import numpy as np

from glober_jax.benchmarking.machine import machine
from glober_jax.benchmarking.operations import (
    fewest_for_features,
    fewest_for_frames,
    network_calls,
    operations,
)
from glober_jax.benchmarking.rounds import Calls, Cost, cost_of, measure
from glober_jax.experiment import Experiment
from glober_jax.models.latents import ChannelScale
from glober_jax.models.networks import AUTOENCODER, Networks
from glober_jax.parallel.mesh import make_mesh
from glober_jax.parallel.rules import tree_shardings
from glober_jax.progress import Progress
from glober_jax.randomness import seed_words
from glober_jax.sampling.decode import FrameModel, VideoSampler, decode_frames
from glober_jax.sampling.generate import FeatureModel, FeatureSampler, generate_features
from glober_jax.training.generator import NETWORKS as GENERATOR

_ROUNDS = 5
_COUNTING = (
    "XLA's cost analysis of the program compiled for one device, which takes a loop for one round: "
    "the bodies of the loops are compiled by themselves, too, and added for the other rounds. The "
    "fewest are network x branches x steps for every row, the codec's decoder for every frame, and "
    "what the networks are conditioned on once"
)


def benchmark_sampling(
    experiment: Experiment, *, num_videos: int, num_frames: int, seconds: float
) -> dict[str, Any]:
    """Measures both programs on all devices, as `config.sampling` samples.

    Args:
      experiment: says what the networks are, and how to sample.
      num_videos, num_frames: how many videos at once, and frames of each.
      seconds: about how long to measure each program, at least once and at most five times.

    Returns:
      `measured`: each program's seconds to compile and, medians over the rounds, to run (on the
      clock, and of all processor cores together), its bytes of memory on each device, its
      operations beside the fewest there can be; and `total`, of both.
      And what it takes to measure again.
    """
    networks, options = experiment.networks, experiment.sampling
    mesh = make_mesh(experiment.mesh)
    models = _random_models(networks, experiment.seed)
    frame_model, feature_model = jax.device_put(models, tree_shardings(models, mesh))
    generator = FeatureSampler(networks, experiment.generator_diffusion, options, mesh)
    decoder = VideoSampler(networks, experiment.diffusion, options, mesh)
    given = networks.condition.input(num_videos)
    condition = np.zeros(given.shape, given.dtype)
    features = np.zeros((num_videos, *networks.global_shape), np.float32)
    index_n = np.arange(num_frames) / num_frames

    compile_seconds, compiled = _compile(
        {
            "generator": lambda: generator.trace(feature_model, condition),
            "decoder": lambda: decoder.trace(frame_model, num_videos, num_frames),
        }
    )
    costs = _run(
        {
            "generator": lambda: generator(feature_model, condition, experiment.seed),
            "decoder": lambda: decoder.decode(frame_model, features, index_n, experiment.seed),
        },
        seconds,
    )
    piece = decoder.piece(num_videos, num_frames)
    pieces = math.prod(map(math.ceil, np.divide((num_videos, num_frames), piece)))
    counted, fewest = _count(experiment, models, (num_videos, num_frames), piece, pieces)

    measured: dict[str, dict[str, Any]] = {
        name: {
            "compile_seconds": compile_seconds[name],
            "seconds": median(cost.wall for cost in costs[name]),
            "processor_seconds": median(cost.cpu for cost in costs[name]),
            "memory_bytes": _memory(compiled[name]),
            "operations": counted[name],
            "fewest_operations": fewest[name],
        }
        for name in compiled
    }
    measured["total"] = {
        key: sum(program[key] for program in measured.values())
        for key in (
            "compile_seconds",
            "seconds",
            "processor_seconds",
            "operations",
            "fewest_operations",
        )
    }
    for numbers in measured.values():
        numbers["seconds_per_video"] = numbers["seconds"] / num_videos
        numbers["seconds_per_frame"] = numbers["seconds"] / (num_videos * num_frames)
        numbers["operations_by_fewest"] = numbers["operations"] / numbers["fewest_operations"]
        numbers["operations_per_second"] = numbers["operations"] / numbers["seconds"]
    return {
        "measured": measured,
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
        "counting": _COUNTING,
        "rounds": len(costs["decoder"]),
        "sampling": asdict(options),
        "parameters": networks.count_parameters(),
        "frame_size": networks.frame_size,
        "mesh": dict(mesh.shape),
        "devices": [device.device_kind for device in mesh.devices.flat],
        **machine(("jax", "jaxlib", "flax", "numpy")),
    }


def table(report: Mapping[str, Any]) -> str:
    """The figures of a report, for people."""
    lines = [
        f"{'':12}{'compile s':>11}{'run s':>10}{'s/video':>10}{'s/frame':>10}{'GFLOP':>10}"
        f"{'by fewest':>11}{'memory MB':>11}"
    ]
    for name, numbers in report["measured"].items():
        memory = numbers.get("memory_bytes")
        lines.append(
            f"{name:12}{numbers['compile_seconds']:11.1f}{numbers['seconds']:10.3f}"
            f"{numbers['seconds_per_video']:10.3f}{numbers['seconds_per_frame']:10.4f}"
            f"{numbers['operations'] / 1e9:10.2f}{numbers['operations_by_fewest']:11.3f}"
            + (f"{sum(memory.values()) / 1e6:11.1f}" if memory else "")
        )
    pieces = report["pieces"]
    lines.append(
        f"{report['videos']} videos of {report['frames']} frames, decoded in {pieces['count']} "
        f"pieces of {pieces['videos']} x {pieces['frames']}"
    )
    return "\n".join(lines)


def _random_models(networks: Networks, seed: int) -> tuple[FrameModel, FeatureModel]:
    """Small normal weights: zeros would let a processor run faster than it does."""
    random = np.random.default_rng(seed)
    names = ("frame_codec", *AUTOENCODER, *GENERATOR)
    shapes = jax.eval_shape(lambda: networks.init_all(names, jax.random.key(0)))
    params = jax.tree.map(
        lambda leaf: 0.02 * random.standard_normal(leaf.shape, np.float32), shapes
    )
    latent_scale, feature_scale = (
        ChannelScale(np.zeros(channels, np.float32), np.ones(channels, np.float32))
        for channels in (networks.latent_shape[-1], networks.global_shape[-1])
    )
    of_features = {name: params.pop(name) for name in GENERATOR}
    return FrameModel(params, latent_scale), FeatureModel(of_features, feature_scale)


def _compile(
    traces: Mapping[str, Callable[[], jax.stages.Traced]],
) -> tuple[dict[str, float], dict[str, jax.stages.Compiled]]:
    """Seconds that each program takes from Python to machine code, and the program."""
    seconds, compiled = {}, {}
    with Progress("compiling", len(traces), unit="program") as progress:
        for name, trace in traces.items():
            start = time.perf_counter()
            compiled[name] = trace().lower().compile()
            seconds[name] = time.perf_counter() - start
            progress.advance()
    return seconds, compiled


def _run(calls: Mapping[str, Callable[[], Any]], seconds: float) -> dict[str, list[Cost]]:
    """What each call costs in every round, after one that does not count."""
    contenders = {
        name: Calls(lambda count, call=call: [call() for _ in range(count)])
        for name, call in calls.items()
    }
    for contender in contenders.values():
        contender.run(1)
    slowest = max(cost_of(contender, 1).wall for contender in contenders.values())
    rounds = min(max(int(seconds / slowest), 1), _ROUNDS)
    with Progress("measuring", rounds * len(contenders), unit="run") as progress:
        return measure(contenders, batches=1, rounds=rounds, on_run=progress.advance)


def _count(
    experiment: Experiment,
    models: tuple[FrameModel, FeatureModel],
    wanted: tuple[int, int],
    piece: tuple[int, int],
    pieces: int,
) -> tuple[dict[str, float], dict[str, float]]:
    """Operations of each program, pieces with what fills them up, and the fewest for `wanted`."""
    networks, options = experiment.networks, experiment.sampling
    generating = networks, experiment.generator_diffusion, options
    decoding = networks, experiment.diffusion, options
    frame_model, feature_model = models
    videos, seed = wanted[0], seed_words(0)
    of_piece = (
        np.zeros((piece[0], *networks.global_shape), np.float32),
        np.zeros(piece[0], np.int32),
        np.zeros(piece, np.float32),
    )
    with Progress("counting operations", 2, unit="program") as progress:
        generate = functools.partial(generate_features, *generating)
        condition = np.zeros(videos, np.int32), networks.condition.input(videos)
        of_generator = operations(generate, feature_model, *condition, seed)
        fewest_of_generator = fewest_for_features(*generating, feature_model.params, videos)
        progress.advance()
        decode = functools.partial(decode_frames, *decoding)
        of_decoder = operations(decode, frame_model, *of_piece, seed) * pieces
        fewest_of_decoder = fewest_for_frames(*decoding, frame_model, *wanted)
        progress.advance()
    return (
        {"generator": of_generator, "decoder": of_decoder},
        {"generator": fewest_of_generator, "decoder": fewest_of_decoder},
    )


def _memory(program: jax.stages.Compiled) -> dict[str, int]:
    """Bytes on each device."""
    analysis = program.memory_analysis()
    return {
        "arguments": analysis.argument_size_in_bytes,
        "temporaries": analysis.temp_size_in_bytes,
        "output": analysis.output_size_in_bytes,
    }
