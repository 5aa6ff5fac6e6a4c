"""The plan of an experiment on a slice, as JSON-able values: memory, operations, time by stage."""

import json
import math
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from etils import epath
from jax.sharding import AbstractMesh, AxisType, Mesh

from glober_jax import media
from glober_jax.experiment.options import Experiment
from glober_jax.experiment.stage_data import check_stage_batch
from glober_jax.experiment.stages import AbstractStage, abstract_stage
from glober_jax.parallel.mesh import AXES, batch_sharding, batch_ways, make_mesh, mesh_sizes
from glober_jax.parallel.rules import tree_shardings
from glober_jax.planning.collectives import by_kind, find_collectives
from glober_jax.planning.compiling import TooLarge, compile_traced, read_memory, trace_program
from glober_jax.planning.cycles import find_cycles, summary
from glober_jax.planning.estimate import ASSUMPTIONS, EFFICIENCY, estimate
from glober_jax.planning.flops import count_flops
from glober_jax.planning.topology import INSTALL, LOCAL, Topology, libtpu_version
from glober_jax.training import autoencoder, codec, generator
from glober_jax.training.loop import StepFunction

AnyMesh = Mesh | AbstractMesh


def plan_stages(
    experiment: Experiment, stages: Sequence[str], topology: Topology, effort: float
) -> Iterator[dict[str, Any]]:
    """The plan, JSON-able: first without any stage, then anew after each.

    Raises:
      UserError: the mesh does not cover the chips, or a batch does not divide over it.
    """
    mesh, reason = plan_mesh(experiment, topology)
    for name in stages:
        check_stage_batch(experiment, name, mesh)
    chip = topology.chip
    plan: dict[str, Any] = {
        "topology": {
            "name": topology.name,
            "shape": list(topology.shape),
            "slices": topology.slices,
            "chips": topology.chips,
            "chip": chip.name if chip else jax.devices()[0].device_kind,
        },
        "mesh": dict(mesh.shape),
        "effort": effort,
        "versions": {"jax": jax.__version__, "libtpu": libtpu_version()},
        "assumptions": list(ASSUMPTIONS),
        "sources": list(chip.sources) if chip else [],
        "reason": reason,
        "fits": None,
        "stages": [],
        "config": experiment.source,
    }
    yield plan
    for name in stages:
        plan["stages"].append(plan_stage(experiment, name, topology, mesh, effort))
        plan["fits"] = _all_fit(plan["stages"])
        yield plan


def plan_mesh(experiment: Experiment, topology: Topology) -> tuple[AnyMesh, str | None]:
    """The config's mesh over a slice; abstract, with the reason, where there is no compiler."""
    if topology.name == LOCAL or libtpu_version() is not None:
        return make_mesh(experiment.mesh, topology.devices()), None
    sizes = mesh_sizes(experiment.mesh, topology.chips)
    return AbstractMesh(sizes, AXES, axis_types=(AxisType.Auto,) * 3), (
        "libtpu is not installed, so nothing was compiled: memory of temporaries, collectives and "
        f"times are missing ({INSTALL})"
    )


def write_plan(path: epath.Path, plan: dict[str, Any]) -> None:
    """Writes a plan whole or not at all."""
    media.write_file(path, json.dumps(plan, indent=2).encode())


def plan_stage(
    experiment: Experiment,
    name: str,
    topology: Topology,
    mesh: AnyMesh,
    effort: float,
    only_last: bool = False,
) -> dict[str, Any]:
    """What a stage needs of each chip of `mesh`; without the compiler where that is abstract.

    `only_last` leaves out all programs but the last, with an adversary the largest.
    """
    stage = abstract_stage(experiment, name, mesh)
    starts, programs = zip(*stage.programs, strict=True)
    ends = [min(end, stage.total_steps) for end in (*starts[1:], stage.total_steps)]
    in_force = [each for each in zip(starts, ends, programs, strict=True) if each[0] < each[1]]
    dtype, planned = experiment.source["dtype"], []
    for first, end, program in in_force[-1:] if only_last else in_force:
        title = f"{name}, steps {first}-{end}"
        needs = _plan_program(dtype, stage, program, topology, mesh, effort, title)
        planned.append({"first_step": first, "steps": end - first, **needs})
    seconds = None
    if all(program["seconds"] for program in planned):
        seconds = sum(program["steps"] * program["seconds"]["step"] for program in planned)
    state, frozen, batch = _bytes_on_device(stage, mesh)
    held = {
        "parameters": state.params,
        "average": state.ema,
        "optimizer": state.opt_state,
        "frozen": frozen,
        "batch": batch,
    }
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
        "bytes_per_chip": {part: sum(jax.tree.leaves(tree)) for part, tree in held.items()},
        "programs": planned,
        "notes": _notes(experiment, name, mesh),
        "fits": _all_fit(planned),
        "days": None if seconds is None else seconds / 86400,
        "chip_hours": None if seconds is None else seconds / 3600 * topology.chips,
    }


def _plan_program(
    dtype: str,
    stage: AbstractStage,
    program: StepFunction,
    topology: Topology,
    mesh: AnyMesh,
    effort: float,
    title: str,
) -> dict[str, Any]:
    print(f"{title}: tracing", file=sys.stderr, flush=True)
    traced = trace_program(stage, program, mesh)
    flops, used = count_flops(traced)
    per_chip = flops / topology.chips
    unknown = dict.fromkeys(
        ("fits", "memory_per_chip", "collectives", "compiler", "cycles", "seconds")
    )
    result: dict[str, Any] = {"flops": flops, "flops_per_chip": per_chip, **unknown}
    if isinstance(mesh, AbstractMesh):
        return result
    begin, cpu_begin = time.monotonic(), time.process_time()
    compiled = compile_traced(traced, mesh, effort, f"{title}: compiling")
    result["compiler"] = {
        "seconds": round(time.monotonic() - begin, 1),
        "cpu_seconds": round(time.process_time() - cpu_begin, 1),
    }
    if isinstance(compiled, TooLarge):
        return result | {"fits": False, "memory_per_chip": {"total": None, **compiled._asdict()}}
    # Arrays that the program is given and does not use are held all the same.
    held = jax.tree.leaves(_bytes_on_device(stage, mesh))
    unused = sum(size for size, use in zip(held, used, strict=True) if not use)
    memory, available = read_memory(compiled), _available(topology)
    total = sum(memory.values())
    needed = {"needed": total + unused, "available": available}
    result["memory_per_chip"] = memory | {"total": total, "unused": unused} | needed
    result["fits"] = None if available is None else total + unused <= available
    hlo = compiled.as_text()
    collectives = find_collectives(hlo, mesh.size)
    result["collectives"] = by_kind(collectives)
    cost = compiled.cost_analysis() or {}
    counted, moved = cost.get("flops", 0.0), cost.get("bytes accessed", 0.0)
    result["compiler"] |= {"flops": counted, "bytes": moved}
    if topology.chip is not None:
        # The compiler counts the body of a loop once, and so its bytes as its operations.
        loops = max(per_chip / counted, 1.0) if counted else 1.0
        slices = [getattr(device, "slice_index", None) or 0 for device in mesh.devices.flat]
        chip = topology.chip
        compute = per_chip / (chip.flops(dtype) * EFFICIENCY)
        if chip.flops_per_cycle:
            cycles = summary(find_cycles(hlo), per_chip / chip.flops_per_cycle)
            result["cycles"] = cycles
            if not cycles["without_estimate"]:
                compute = cycles["total"] * chip.flops_per_cycle / chip.bfloat16_flops
        seconds = estimate(topology, compute, moved * loops, collectives, np.array(slices))
        per_second = {"examples_per_second": stage.batch_size / seconds["step"]}
        result["seconds"] = seconds | per_second
    return result


def _bytes_on_device(stage: AbstractStage, mesh: AnyMesh) -> tuple[Any, Any, Any]:
    """Bytes that each array of (state, frozen, batch) takes on every device of `mesh`."""
    arrays = (stage.state, stage.frozen, stage.batch)
    batch = jax.tree.map(lambda leaf: batch_sharding(mesh), stage.batch)
    return jax.tree.map(
        lambda leaf, sharding: math.prod(sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize,
        arrays,
        (*tree_shardings(arrays[:2], mesh), batch),
    )


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


def _all_fit(plans: Iterable[dict[str, Any]]) -> bool | None:
    """False where one does not fit, None where one is unknown."""
    known = {plan["fits"] for plan in plans}
    return False if False in known else None if None in known else True


def _notes(experiment: Experiment, name: str, mesh: AnyMesh) -> list[str]:
    """Causes of uneven work on the chips, which make the estimate too short."""
    options, clip = getattr(experiment, name), experiment.clip
    clips, ways = options.batch_size, batch_ways(mesh)
    part, pixels = clips // options.micro_batches, not experiment.data.cache_latents
    # Frames that the codec maps in one call.
    frames = {}
    if name == codec.NAME:
        frames["maps frames"] = part * options.frames_per_clip
    if name == generator.NAME and pixels:
        frames["encodes key frames"] = part * clip.num_key_frames
    if name == autoencoder.NAME and pixels:
        frames["encodes key frames"] = clips * clip.num_key_frames
        frames["encodes target frames"] = clips * clip.num_target_frames
    if name == autoencoder.NAME and options.adversarial.weight:
        # First and last target of every judged clip, real and decoded.
        frames["decodes frames"] = 4 * math.ceil(part / options.adversarial.clip_stride)
    return [
        f"the frame codec {what} {size} at a time, which do not spread evenly over {ways} devices; "
        f"make config.model.frame_codec.chunk_frames a multiple of {ways} that divides {count}"
        for what, count in frames.items()
        if (size := experiment.networks.frame_codec.chunk_size(count)) % ways
    ]
