"""Clips per second of I3D as evaluation runs it, beside its network alone.

The contenders:
  extraction   clips as uint8 in the host's memory: batched, the last batch padded, moved to the
               devices, resized, and their logits back on the host
  forward      the network alone, on the same clips, which lie on the devices resized

Dimensions: B clips of a batch, T frames, H, W frame size, C colours.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from glober_jax.benchmarking.machine import machine
from glober_jax.benchmarking.rounds import Calls, Contender, Cost, cost_of, measure
from glober_jax.evaluation import i3d
from glober_jax.evaluation.extraction import per_clip
from glober_jax.evaluation.preprocess import preprocess
from glober_jax.experiment import Experiment
from glober_jax.parallel.mesh import MeshShape, make_mesh, replicated
from glober_jax.progress import Progress

_ROUNDS = 5
_TITLES = {"extraction": "extraction", "forward": "network alone"}


def benchmark_evaluation(
    experiment: Experiment, *, seconds: float, clips_per_device: int
) -> dict[str, Any]:
    """Measures both contenders on all devices, with random clips of the experiment's kind.

    Args:
      experiment: says what a clip is.
      seconds: how long to measure each contender, without its compilation.
      clips_per_device: how many clips a device takes at a time.

    Returns:
      `measured`: each contender's rates, medians over the rounds. `ratios`: what extraction costs,
      by what the network alone costs, medians of the rounds' own. And what it takes to measure
      again.

    Raises:
      UserError: the weights are not installed, or clips have fewer than 9 frames.
    """
    size, frames = experiment.networks.frame_size, experiment.clip.num_frames
    mesh = make_mesh(MeshShape())
    batch_size = mesh.size * clips_per_device
    random = np.random.default_rng(experiment.seed)
    clips = random.integers(0, 256, (batch_size, frames, size, size, 3), np.uint8)
    contenders = _contenders(clips, mesh, clips_per_device)
    for contender in contenders.values():
        contender.run(1)
    batches = max(round(seconds / _ROUNDS / cost_of(contenders["forward"], 1).wall), 1)
    with Progress("measuring", _ROUNDS * len(contenders), unit="run") as progress:
        costs = measure(contenders, batches=batches, rounds=_ROUNDS, on_run=progress.advance)
    return {
        "measured": {name: _rates(costs[name], batch_size) for name in contenders},
        "ratios": {
            "wall": _ratio(costs, lambda cost: cost.wall),
            "cpu": _ratio(costs, lambda cost: cost.cpu),
        },
        "rounds": _ROUNDS,
        "batches_per_round": batches,
        "clips_per_device": clips_per_device,
        "clip": {"frames": frames, "frame_size": size},
        "devices": [device.device_kind for device in mesh.devices.flat],
        **machine(("jax", "jaxlib", "numpy")),
    }


def table(report: Mapping[str, Any]) -> str:
    """The figures of a report, for people."""
    lines = [f"{'':20}{'clips/s':>9}{'clips/s per core':>18}"]
    for name, rates in report["measured"].items():
        lines.append(
            f"{_TITLES[name]:20}{rates['clips_per_second']:9.2f}"
            f"{rates['clips_per_core_second']:18.2f}"
        )
    ratios = report["ratios"]
    lines.append(
        f"extraction takes {ratios['wall']:.3f} times as long as the network alone, "
        f"and {ratios['cpu']:.3f} times its processor time"
    )
    return "\n".join(lines)


def _contenders(clips_BTHWC: np.ndarray, mesh: Mesh, clips_per_device: int) -> dict[str, Contender]:
    def resized(clips_BTHWC: jax.Array) -> jax.Array:
        return preprocess(clips_BTHWC, i3d.FRAME_SIZE, "stretch")

    params = i3d.load()
    extract = per_clip(
        lambda params, clips: i3d.logits(params, resized(clips)), params, mesh, clips_per_device
    )
    params = jax.device_put(params, replicated(mesh))
    spread = NamedSharding(mesh, PartitionSpec(mesh.axis_names))
    on_devices = jax.jit(resized, out_shardings=spread)(jax.device_put(clips_BTHWC, spread))
    network = jax.jit(i3d.logits)

    def extraction(batches: int) -> None:
        # One clip short of whole batches, so that there is something to pad.
        count = max(batches * len(clips_BTHWC) - 1, 1)
        extract(itertools.islice(itertools.cycle(clips_BTHWC), count))

    def forward(batches: int) -> None:
        for _ in range(batches):
            jax.block_until_ready(network(params, on_devices))

    return {"extraction": Calls(extraction), "forward": Calls(forward)}


def _rates(costs: Sequence[Cost], batch_size: int) -> dict[str, float]:
    return {
        "clips_per_second": median(batch_size / cost.wall for cost in costs),
        "clips_per_core_second": median(batch_size / cost.cpu for cost in costs),
    }


def _ratio(costs: Mapping[str, Sequence[Cost]], part: Callable[[Cost], float]) -> float:
    pairs = zip(costs["extraction"], costs["forward"], strict=True)
    return median(part(extraction) / part(forward) for extraction, forward in pairs)
