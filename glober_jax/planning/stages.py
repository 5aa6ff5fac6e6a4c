"""The plan of one stage: its memory, operations, collectives and time, as JSON-able values."""

import math
import os
import sys
from typing import Any

import jax
import numpy as np
from jax.sharding import AbstractMesh, Mesh, NamedSharding

from glober_jax.experiment import Experiment
from glober_jax.parallel.mesh import batch_sharding, batch_ways
from glober_jax.parallel.rules import tree_shardings
from glober_jax.planning.collectives import by_kind
from glober_jax.planning.compiling import Compiled, TooLarge, compile_traced, trace_program
from glober_jax.planning.estimate import estimate
from glober_jax.planning.flops import count_flops
from glober_jax.planning.topology import LOCAL, Topology
from glober_jax.training import autoencoder, codec, generator
from glober_jax.training.abstract import AbstractStage, abstract_stage


def plan_stage(
    experiment: Experiment,
    name: str,
    topology: Topology,
    mesh: Mesh | AbstractMesh,
    effort: float,
    only_last: bool = False,
) -> dict[str, Any]:
    """What a stage needs of each chip of `mesh`; without the compiler where that is abstract.

    `only_last` leaves out all programs but the last, with an adversary the largest.
    """
    stage = abstract_stage(experiment, name, mesh)
    ends = [first for first, _ in stage.programs[1:]] + [stage.total_steps]
    programs = [
        (first, min(end, stage.total_steps), step)
        for (first, step), end in zip(stage.programs, ends, strict=True)
        if first < stage.total_steps
    ]
    if only_last:
        programs = programs[-1:]
    planned = []
    for first, end, step in programs:
        print(f"{name}, steps {first}-{end}: tracing", file=sys.stderr, flush=True)
        traced = trace_program(stage, step, mesh)
        flops, used = count_flops(traced)
        found: Compiled | TooLarge | None = None
        if isinstance(mesh, Mesh):
            title = f"{name}, steps {first}-{end}: compiling"
            found = compile_traced(traced, mesh, effort, title)
        held = jax.tree.leaves(_bytes_on_device(stage, mesh))
        unused = sum(size for size, use in zip(held, used, strict=True) if not use)
        result = _program(experiment, stage, topology, mesh, flops, found, unused)
        planned.append({"first_step": first, "steps": end - first, **result})
    return {
        "stage": name,
        "steps": stage.total_steps,
        "batch_size": stage.batch_size,
        "micro_batches": getattr(experiment, name).micro_batches,
        "batch_per_chip": stage.batch_size / topology.chips,
        "parameters": {
            network: sum(leaf.size for leaf in jax.tree.leaves(tree))
            for network, tree in stage.state.params.items()
        },
        "bytes_per_chip": _held(stage, mesh),
        "programs": planned,
        "notes": _notes(experiment, name, mesh),
        **_whole(planned, topology),
    }


def _bytes_on_device(stage: AbstractStage, mesh: Mesh | AbstractMesh) -> tuple[Any, Any, Any]:
    """Bytes that each array of (state, frozen, batch) takes on every device of `mesh`."""

    def size(leaf: jax.ShapeDtypeStruct, sharding: NamedSharding) -> int:
        return math.prod(sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize

    ruled = (stage.state, stage.frozen)
    state, frozen = jax.tree.map(size, ruled, tree_shardings(ruled, mesh))
    return state, frozen, jax.tree.map(lambda leaf: size(leaf, batch_sharding(mesh)), stage.batch)


def _held(stage: AbstractStage, mesh: Mesh | AbstractMesh) -> dict[str, int]:
    """Bytes of a step's arguments on each device, by what they are."""
    state, frozen, batch = _bytes_on_device(stage, mesh)
    parts = {"parameters": state.params, "average": state.ema, "optimizer": state.opt_state}
    parts |= {"frozen": frozen, "batch": batch}
    return {name: sum(jax.tree.leaves(tree)) for name, tree in parts.items()}


def _program(
    experiment: Experiment,
    stage: AbstractStage,
    topology: Topology,
    mesh: Mesh | AbstractMesh,
    flops: int,
    found: Compiled | TooLarge | None,
    unused: int,
) -> dict[str, Any]:
    """What one program does and needs; `unused` bytes are held that it does not use."""
    per_chip = flops / topology.chips
    result: dict[str, Any] = {
        "flops": flops,
        "flops_per_chip": per_chip,
        "fits": None,
        "memory_per_chip": None,
        "collectives": None,
        "compiler": None,
        "seconds": None,
    }
    if found is None:
        return result
    seconds = {"seconds": round(found.seconds, 1), "cpu_seconds": round(found.cpu_seconds, 1)}
    if isinstance(found, TooLarge):
        memory = {"total": None, "needed": found.needed, "available": found.available}
        return result | {"fits": False, "memory_per_chip": memory, "compiler": seconds}
    available = _available(topology)
    needed = found.memory.total + unused
    memory = found.memory._asdict() | {"total": found.memory.total}
    memory |= {"unused": unused, "needed": needed, "available": available}
    result |= {
        "fits": None if available is None else needed <= available,
        "memory_per_chip": memory,
        "collectives": by_kind(found.collectives),
        "compiler": {"flops": found.flops, "bytes": found.bytes, **seconds},
    }
    if topology.chip is not None:
        # The compiler counts the body of a loop once, and so its bytes as its operations.
        loops = max(per_chip / found.flops, 1.0) if found.flops else 1.0
        times = estimate(
            topology,
            topology.chip,
            experiment.source["dtype"],
            per_chip,
            found.bytes * loops,
            found.collectives,
            np.array([getattr(device, "slice_index", None) or 0 for device in mesh.devices.flat]),
        )
        examples = stage.batch_size / times.step
        result["seconds"] = times._asdict() | {"step": times.step, "examples_per_second": examples}
    return result


def _available(topology: Topology) -> int | None:
    """Bytes of memory of one device; None where it cannot be told."""
    if topology.name != LOCAL:
        return int(topology.chip.hbm_bytes)
    devices = jax.local_devices()
    if limit := (devices[0].memory_stats() or {}).get("bytes_limit"):
        return int(limit)
    if devices[0].platform == "cpu":
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // len(devices)
    return None


def _whole(programs: list[dict[str, Any]], topology: Topology) -> dict[str, Any]:
    """The verdict on a stage, and its duration where that can be estimated."""
    verdicts = [program["fits"] for program in programs]
    fits = False if False in verdicts else None if None in verdicts else True
    whole = {"fits": fits, "days": None, "chip_hours": None}
    if all(program["seconds"] for program in programs):
        seconds = sum(program["steps"] * program["seconds"]["step"] for program in programs)
        whole |= {"days": seconds / 86400, "chip_hours": seconds / 3600 * topology.chips}
    return whole


def _notes(experiment: Experiment, name: str, mesh: Mesh | AbstractMesh) -> list[str]:
    """What makes chips work unevenly, and the estimate too short."""
    options, clip = getattr(experiment, name), experiment.clip
    clips, ways = options.batch_size, batch_ways(mesh)
    part = clips // options.micro_batches
    # What the codec maps in one call.
    frames = {}
    if name == codec.NAME:
        frames["maps frames"] = part * options.frames_per_clip
    elif name == generator.NAME and not experiment.data.cache_latents:
        frames["encodes key frames"] = part * clip.num_key_frames
    elif name == autoencoder.NAME:
        if not experiment.data.cache_latents:
            frames["encodes key frames"] = clips * clip.num_key_frames
            frames["encodes target frames"] = clips * clip.num_target_frames
        if options.adversarial.weight:
            # First and last target of every judged clip, real and decoded.
            frames["decodes frames"] = 4 * math.ceil(part / options.adversarial.clip_stride)
    return [
        f"the frame codec {what} {size} at a time, which do not spread evenly over {ways} devices; "
        f"make config.model.frame_codec.chunk_frames a multiple of {ways} that divides {count}"
        for what, count in frames.items()
        if (size := experiment.networks.frame_codec.chunk_size(count)) % ways
    ]
