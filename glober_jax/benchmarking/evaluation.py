"""Clips per second of I3D as evaluation runs it, beside its network alone.

The contenders:
  extraction   clips as uint8 in the host's memory: batched, the last batch padded, moved to the
               devices, resized, and their logits back on the host
  network      the network alone, on the same clips, which lie on the devices resized

Dimensions: B clips of a batch, T frames, H, W frame size, C colours.
"""

import itertools
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from glober_jax.benchmarking.report import machine, markdown_table
from glober_jax.benchmarking.timing import Contender, blocking, clip_timing, measure, ratio
from glober_jax.evaluation import i3d
from glober_jax.evaluation.extraction import per_clip, preprocess
from glober_jax.experiment.options import Experiment
from glober_jax.parallel.mesh import MeshShape, make_mesh, replicated

_ROUNDS = 5


def benchmark(experiment: Experiment, *, seconds: float, clips_per_device: int) -> dict[str, Any]:
    """Measures both contenders on all devices, each for `seconds`, with random clips.

    A device takes `clips_per_device` at a time. Returns `measured`, each contender's timing and
    rates; `ratios`, the cost of extraction by that of the network alone (median of the rounds); and
    the settings.

    Raises:
      UserError: the weights are not installed, or clips have fewer than 9 frames.
    """
    size, frames = experiment.networks.frame_size, experiment.clip.num_frames
    mesh, params = make_mesh(MeshShape()), i3d.load()
    clips = mesh.size * clips_per_device
    random = np.random.default_rng(experiment.seed)
    clips_BTHWC = random.integers(0, 256, (clips, frames, size, size, 3), np.uint8)

    def resized(clips_BTHWC: jax.Array) -> jax.Array:
        return preprocess(clips_BTHWC, i3d.FRAME_SIZE, "stretch")

    extract = per_clip(
        lambda params, clips: i3d.logits(params, resized(clips)), params, mesh, clips_per_device
    )
    spread = NamedSharding(mesh, PartitionSpec(mesh.axis_names))
    on_devices = jax.jit(resized, out_shardings=spread)(jax.device_put(clips_BTHWC, spread))
    params = jax.device_put(params, replicated(mesh))
    network = jax.jit(i3d.logits)

    def extraction(batches: int) -> None:
        # One clip short of whole batches, so that the last is padded.
        count = max(batches * clips - 1, 1)
        extract(itertools.islice(itertools.cycle(clips_BTHWC), count))

    contenders = {
        "extraction": Contender(extraction),
        "network": blocking(lambda: network(params, on_devices)),
    }
    costs = measure(contenders, seconds=seconds, rounds=_ROUNDS)
    return {
        "measured": {name: clip_timing(rounds, clips) for name, rounds in costs.items()},
        "ratios": {
            field: ratio(costs["extraction"], costs["network"], field) for field in ("wall", "cpu")
        },
        "clips_per_device": clips_per_device,
        "clip": {"frames": frames, "frame_size": size},
        "devices": [device.device_kind for device in mesh.devices.flat],
        **machine(),
    }


def table(report: Mapping[str, Any]) -> str:
    """The figures of a report in Markdown."""
    rows = [
        {
            "": name,
            "clips/s": f"{figures['clips_per_second']:.2f}",
            "clips/s per core": f"{figures['clips_per_core_second']:.2f}",
        }
        for name, figures in report["measured"].items()
    ]
    ratios = report["ratios"]
    return (
        f"{markdown_table(rows)}\n\nextraction takes {ratios['wall']:.3f} times as long as the "
        f"network alone, and {ratios['cpu']:.3f} times its processor time"
    )
