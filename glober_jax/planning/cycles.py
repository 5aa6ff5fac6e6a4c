"""Where the time of a TPU program goes, by the compiler's own estimate of every instruction.

XLA writes into a program that it compiles for a TPU how many cycles it expects each fusion to take.
They need no TPU, and are the numbers by which the compiler itself chooses. They are no measurement:
collectives, kernels written by hand and waiting for memory that other work hides are not in them.
"""

import collections
import re
from collections.abc import Iterable, Mapping
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


def summary(found: Iterable[Cycles], flops: Mapping[str, float], per_cycle: int) -> dict[str, Any]:
    """JSON-able sums of `total`, by `kind` and by `module`, the largest first.

    `flops` are operations by module, of which the chip does at most `per_cycle`. `floor` is what
    they take at that rate, and `share` is floor / total; `module_share` has it for each module.
    `without_estimate` counts instructions that have none to use.
    """
    kinds: collections.Counter[str] = collections.Counter()
    modules: collections.Counter[str] = collections.Counter()
    unknown = 0
    for module, kind, cycles in found:
        if cycles is None:
            unknown += 1
        else:
            kinds[kind] += cycles
            modules[module] += cycles
    total, floor = kinds.total(), sum(flops.values()) / per_cycle
    return {
        "total": total,
        "floor": round(floor),
        "share": floor / total if total else None,
        "without_estimate": unknown,
        "kind": dict(kinds.most_common()),
        "module": dict(modules.most_common()),
        "module_share": {
            name: flops.get(name, 0) / per_cycle / cycles if cycles else 0.0
            for name, cycles in modules.most_common()
        },
    }


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
