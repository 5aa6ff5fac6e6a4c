"""The plan of one program on a slice: operations, memory, collectives, time."""

import os
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import AbstractMesh, Mesh

from glober_jax.planning.collectives import by_kind, find_collectives
from glober_jax.planning.compiling import TooLarge, compile_traced, read_memory
from glober_jax.planning.cycles import find_cycles, summary
from glober_jax.planning.estimate import EFFICIENCY, estimate
from glober_jax.planning.flops import flops_by_module
from glober_jax.planning.topology import LOCAL, Topology

AnyMesh = Mesh | AbstractMesh


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
    """What the program that `trace` traces needs of each chip of `mesh`, JSON-able.

    Args:
      held: bytes that its arguments take on a chip, a pytree that begins as they do.
      examples: the clips or videos that one call makes or takes.
      title: for stderr, where the time that compiling takes is shown.

    Without a compiler, where `mesh` is abstract, all but operations is None.
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
    # Arrays that the program is given and does not use are held all the same.
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
        compute = per_chip / (chip.flops(dtype) * EFFICIENCY)
        if chip.flops_per_cycle:
            shares = {module: count / topology.chips for module, count in by_module.items()}
            result["cycles"] = summary(find_cycles(hlo), shares, chip.flops_per_cycle)
            if not result["cycles"]["without_estimate"]:
                compute = result["cycles"]["total"] * chip.flops_per_cycle / chip.bfloat16_flops
        # The compiler counts the body of a loop once, and so its bytes as its operations.
        loops = max(per_chip / counted, 1.0) if counted else 1.0
        slices = [getattr(device, "slice_index", None) or 0 for device in mesh.devices.flat]
        seconds = estimate(topology, compute, moved * loops, collectives, np.array(slices))
        result["seconds"] = seconds | {"examples_per_second": examples / seconds["step"]}
    return result


def all_fit(plans: list[dict[str, Any]]) -> bool | None:
    """False where one does not fit, None where one is unknown."""
    known = {plan["fits"] for plan in plans}
    return False if False in known else None if None in known else True


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
