"""Cycles of a TPU program, by the compiler's own estimate of every instruction.

XLA writes into a program that it compiles for a TPU how many cycles it expects each fusion to take.
They need no TPU, and are the numbers by which the compiler itself chooses. They are no measurement:
collectives, kernels written by hand and waiting for memory that other work hides are not in them.
"""

import collections
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from glober_jax.planning.hlo import called, computations_of, module_of, runs_of

# About two hours; a larger estimate has overflowed.
_MOST = 10**13
_CYCLES = re.compile(r'"estimated_cycles":"(-?\d+)"')
_NAME = re.compile(r'op_name="([^"]*)"')
_OPCODE = re.compile(r" = .*? ([\w-]+)\(")


class Cycles(NamedTuple):
    """Cycles of one instruction in a step, None where the compiler's estimate is not usable.

    `module` is a name of `hlo.module_of`; `kind` says what the instruction does.
    """

    module: str
    kind: str
    cycles: int | None


def find_cycles(hlo: str) -> list[Cycles]:
    """Every instruction with an estimate, in the computations that run by themselves.

    A kernel written by hand has none, and is one whose estimate is not usable.
    """
    computations = computations_of(hlo)
    # The estimate of a fusion counts what it calls.
    fused = {
        name
        for lines in computations.values()
        for line in lines
        if " fusion(" in line
        for name in called(line)
    }
    runs, found = runs_of(computations), []
    for computation, lines in computations.items():
        for line in () if computation in fused else lines:
            estimate = _CYCLES.search(line)
            if estimate or 'custom_call_target="tpu_custom_call"' in line:
                cycles = int(estimate[1]) * runs[computation] if estimate else -1
                usable = cycles if 0 <= cycles < _MOST else None
                body = [text for name in called(line) for text in computations.get(name, ())]
                name = _NAME.search(line)
                found.append(Cycles(module_of(name[1] if name else ""), _kind(line, body), usable))
    return found


def summary(found: Sequence[Cycles], flops: Mapping[str, float], per_cycle: int) -> dict[str, Any]:
    """JSON-able sums of `total`, by `kind`, `network` and `module`, the largest first.

    `flops` are operations by module, of which the chip does at most `per_cycle`. `floor` is what
    they take at that rate, and `share` is floor / total; `of_peak` has it for networks and modules.
    `without_estimate` counts instructions that have none to use.
    """
    groups = {name: collections.Counter() for name in ("kind", "network", "module")}
    floors = {name: collections.Counter() for name in ("network", "module")}
    for module, kind, cycles in found:
        for group, name in (("kind", kind), ("network", _network(module)), ("module", module)):
            groups[group][name] += cycles or 0
    for module, count in flops.items():
        for group, name in (("network", _network(module)), ("module", module)):
            floors[group][name] += count / per_cycle
    total, floor = groups["kind"].total(), floors["module"].total()
    return {
        "total": total,
        "floor": round(floor),
        "share": floor / total if total else None,
        "without_estimate": sum(one.cycles is None for one in found),
        **{group: dict(cycles.most_common()) for group, cycles in groups.items()},
        "of_peak": {
            group: {name: floor[name] / cycles for name, cycles in groups[group].items() if cycles}
            for group, floor in floors.items()
        },
    }


def _network(module: str) -> str:
    """Such as "UNet, backward" of "UNet/down0_block*, backward"."""
    name, comma, direction = module.partition(", ")
    return name.partition("/")[0] + comma + direction


def _kind(line: str, body: list[str]) -> str:
    text = "\n".join([line, *body])
    opcode = found[1] if (found := _OPCODE.search(line)) else ""
    if " convolution(" in text or " dot(" in text:
        return "matrix products and convolutions"
    if opcode == "custom-call":
        return "kernels"
    if opcode.startswith(("copy", "transpose", "slice", "concatenate", "reshape", "bitcast")):
        return "copies"
    return "reductions" if " reduce(" in text else "elementwise"
