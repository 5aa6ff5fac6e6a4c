"""The plan of one program on a slice: operations, memory, collectives, and an estimate of its time.

The time is published rates times counts, under the stated assumptions.
"""

import os
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import AbstractMesh, Mesh

from glober_jax.planning.compiling import TooLarge, compile_traced, read_memory
from glober_jax.planning.flops import flops_by_module
from glober_jax.planning.hlo import (
    Collective,
    by_kind,
    find_collectives,
    find_cycles,
    sum_cycles,
)
from glober_jax.planning.topology import LOCAL, Topology

AnyMesh = Mesh | AbstractMesh

# Assumed share of the peak where the compiler gives no cycles; by those that it gives for a v4, a
# training step reached 36 %.
_EFFICIENCY = 0.4
ASSUMPTIONS = (
    "computing on a TPU takes the cycles that its compiler estimates; where there is no usable "
    f"estimate, matrix products and convolutions run at {_EFFICIENCY:.0%} of the chip's peak",
    "every byte that the compiled program reads or writes passes HBM at its full rate; where the "
    "compiler counted the body of a loop once, bytes are scaled as operations are",
    "computing and HBM traffic overlap; collectives overlap with nothing",
    "a collective runs along one axis of the slice, over both links where axes close to rings, "
    "else over one; between slices every chip sends its share over its host's network",
    "no time for latency, stragglers, input, logging, previews or checkpoints",
)


def plan_program(
    trace: Callable[[], jax.stages.Traced],
    held: Any,
    examples: int,
    dtype: str,
    topology: Topology,
    mesh: AnyMesh,
    effort: float,
    title: str,
) -> dict[str, Any]:
    """The needs of the program that `trace` traces, on each chip of `mesh`, JSON-able.

    Without a compiler, where `mesh` is abstract, all but operations is None.

    Args:
      held: bytes that its arguments take on a chip, a pytree that begins as they do.
      examples: the clips or videos of one call.
      title: shown on stderr with the time that compiling takes.
    """
    print(f"{title}: tracing", file=sys.stderr, flush=True)
    traced = trace()
    by_module, used = flops_by_module(traced)
    flops, per_chip = by_module.total(), by_module.total() / topology.chips
    unknown = ("fits", "memory_per_chip", "collectives", "compiler", "cycles", "seconds")
    result = {"flops": flops, "flops_per_chip": per_chip, **dict.fromkeys(unknown)}
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
    # Unused arguments are no part of the program, but stay in memory.
    sizes = jax.tree.leaves(held)
    unused = sum(size for size, use in zip(sizes, used, strict=False) if not use)
    memory, available = read_memory(compiled), _available(topology)
    total = sum(memory.values())
    needed = {"total": total, "unused": unused, "needed": total + unused, "available": available}
    result["memory_per_chip"] = memory | needed
    result["fits"] = None if available is None else total + unused <= available
    hlo = compiled.as_text()
    collectives = find_collectives(hlo, mesh.size)
    result["collectives"] = by_kind(collectives)
    cost = compiled.cost_analysis() or {}
    counted, moved = cost.get("flops", 0.0), cost.get("bytes accessed", 0.0)
    result["compiler"] |= {"flops": counted, "bytes": moved}
    if (chip := topology.chip) is not None:
        compute = per_chip / (chip.flops(dtype) * _EFFICIENCY)
        if chip.flops_per_cycle:
            shares = {module: count / topology.chips for module, count in by_module.items()}
            result["cycles"] = sum_cycles(find_cycles(hlo), shares, chip.flops_per_cycle)
            if not result["cycles"]["without_estimate"]:
                compute = result["cycles"]["total"] * chip.flops_per_cycle / chip.bfloat16_flops
        # The compiler counts the body of a loop once, its bytes as its operations.
        loops = max(per_chip / counted, 1.0) if counted else 1.0
        slices = [getattr(device, "slice_index", None) or 0 for device in mesh.devices.flat]
        seconds = estimate(topology, compute, moved * loops, collectives, np.array(slices))
        result["seconds"] = seconds | {"examples_per_second": examples / seconds["step"]}
    return result


def all_fit(plans: list[dict[str, Any]]) -> bool | None:
    """False where one does not fit, None where one is unknown."""
    known = {plan["fits"] for plan in plans}
    return False if False in known else None if None in known else True


def estimate(
    topology: Topology,
    compute: float,
    hbm_bytes: float,
    collectives: list[Collective],
    slice_of: np.ndarray,
) -> dict[str, float]:
    """Seconds of a step by part, and of all as `step`.

    Args:
      topology: a slice whose chip's rates are known.
      compute: seconds of computing on each chip.
      hbm_bytes: bytes that each chip reads and writes.
      collectives: those of the program.
      slice_of: the slice of each position of the mesh, int [devices].
    """
    chip = topology.chip
    ring = chip.link_bytes * (2 if topology.closed_rings else 1)
    interconnect = network = 0.0
    for collective in collectives:
        kind, size = collective.kind, collective.runs * collective.bytes
        spanned = max(len(set(group)) for group in slice_of[collective.groups].tolist())
        within = collective.groups.shape[1] // spanned
        interconnect += _sent(kind, size, within) / ring
        # Chips of one slice share the traffic to other slices.
        network += _sent(kind, size, spanned) / within / chip.network_bytes
    hbm = hbm_bytes / chip.hbm_bytes_per_second
    parts = {"compute": compute, "hbm": hbm, "interconnect": interconnect, "network": network}
    return {**parts, "step": max(compute, hbm) + interconnect + network}


def _sent(kind: str, size: float, members: int) -> float:
    """Bytes that each member of a group sends in a ring, for an array of that size."""
    if members < 2:
        return 0.0
    if kind == "collective-permute":
        return size
    share = size * (members - 1) / members
    return 2 * share if kind == "all-reduce" else share


def _available(topology: Topology) -> int | None:
    """Bytes of memory of one device; None where unknown."""
    if topology.name != LOCAL:
        return int(topology.chip.hbm_bytes)
    devices = jax.local_devices()
    if limit := (devices[0].memory_stats() or {}).get("bytes_limit"):
        return int(limit)
    if devices[0].platform == "cpu":
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // len(devices)
    return None
