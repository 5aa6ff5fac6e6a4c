"""Where the time of a TPU program goes, by the compiler's own estimate of every instruction.

XLA writes into a program that it compiles for a TPU how many cycles it expects each fusion to take.
They need no TPU, and are the numbers by which the compiler itself chooses. They are no measurement:
collectives, kernels written by hand and waiting for memory that other work hides are not in them.
"""

import collections
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from glober_jax.planning.hlo import called, computations_of, runs_of

# About two hours; a larger estimate has overflowed.
_MOST = 10**13
_CYCLES = re.compile(r'"estimated_cycles":"(-?\d+)"')
_NAME = re.compile(r'op_name="([^"]*)"')
_OPCODE = re.compile(r" = .*? ([\w-]+)\(")
_NETWORK = re.compile(r"(transpose\()?(?:jvp\()?([A-Z]\w*)\)*")


class Cycles(NamedTuple):
    """Cycles of one instruction in a step, None where the compiler's estimate is not usable.

    `module` is a network, its block and the direction of its pass, as "UNet/down0, backward", or
    "step" outside of networks; `kind` says what the instruction does.
    """

    module: str
    kind: str
    cycles: int | None


def find_cycles(hlo: str) -> list[Cycles]:
    """Every instruction with an estimate, in the computations that run by themselves."""
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
            if estimate := _CYCLES.search(line):
                cycles = int(estimate[1]) * runs[computation]
                usable = cycles if 0 <= cycles < _MOST else None
                body = [text for name in called(line) for text in computations.get(name, ())]
                found.append(Cycles(_module(line), _kind(line, body), usable))
    return found


def summary(found: Iterable[Cycles], floor: float) -> dict[str, Any]:
    """JSON-able sums: `total`, by `kind` and by `module`, the largest first.

    `floor` is what its matrix products alone take at the chip's peak, and `share` is floor / total.
    `without_estimate` counts instructions that have none to use.
    """
    kinds: collections.Counter[str] = collections.Counter()
    modules: collections.Counter[str] = collections.Counter()
    unknown = 0
    for module, kind, cycles in found:
        if cycles is None:
            unknown += 1
            continue
        kinds[kind] += cycles
        modules[module] += cycles
    total = kinds.total()
    return {
        "total": total,
        "floor": round(floor),
        "share": floor / total if total else None,
        "without_estimate": unknown,
        "kind": dict(kinds.most_common()),
        "module": dict(modules.most_common()),
    }


def _module(line: str) -> str:
    """The network and its first block; numbers of blocks alike are left out."""
    scopes = name[1].split("/") if (name := _NAME.search(line)) else []
    for place, scope in enumerate(scopes):
        if match := _NETWORK.fullmatch(scope):
            blocks = [x for x in scopes[place + 1 : -1] if "." not in x][:1]
            path = "/".join([match[2], *(re.sub(r"\d+$", "*", block) for block in blocks)])
            return f"{path}, backward" if match[1] else path
    return "step"


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
