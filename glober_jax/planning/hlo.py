"""Reads the HLO text of a compiled program: collectives, and the cycles of its instructions.

Counts are static: of the two sides of a condition both count. The body of a loop counts as often
as it runs where its condition is `i < constant`, as that of `jax.lax.scan` is, else once.
"""

import collections
import functools
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

Computations = dict[str, list[str]]

_ENTRY = "ENTRY"
_COMPUTATION = re.compile(r"(ENTRY )?%([\w.-]+) .*\{$")
_CALLED = re.compile(r"(?:calls|to_apply|body|branch_computations)=(%[\w.-]+|\{[^}]*\})")
_LOOP = re.compile(r" while\(.*condition=%([\w.-]+)")
_NETWORK = re.compile(r"(transpose\()?(?:jvp\()?([A-Z]\w*)\)*")
# Scopes that JAX adds between a network and its block.
_NO_BLOCK = re.compile(r"[.(]|checkpoint|remat|while|body|cond|closed_call|branch_")

KINDS = ("all-gather", "reduce-scatter", "all-reduce", "all-to-all", "collective-permute")
_BITS = {"pred": 8, "bf16": 16, "f16": 16, "f32": 32, "f64": 64} | {
    f"{sign}{bits}": bits for sign in "su" for bits in (8, 16, 32, 64)
}
_COLLECTIVE = re.compile(rf"%([\w.-]+) = (.*?) ({'|'.join(KINDS)})(?:-start)?\(")
_DONE = re.compile(rf"= (.*?) (?:{'|'.join(KINDS)})-done\(.*%([\w.-]+)\)")
_ARRAY = re.compile(r"([a-z]+\d*)\[([\d,]*)\]")

# About two hours; a larger estimate has overflowed.
_MOST_CYCLES = 10**13
_CYCLES = re.compile(r'"estimated_cycles":"(-?\d+)"')
_NAME = re.compile(r'op_name="([^"]*)"')
_OPCODE = re.compile(r" = .*? ([\w-]+)\(")


class Collective(NamedTuple):
    """A collective of one chip that runs `runs` times a step.

    `bytes` is the size of the whole array that is gathered, reduced or exchanged, not of a shard.
    `groups` [groups, members] are the devices that exchange it, as positions in the mesh.
    """

    kind: str
    bytes: int
    groups: np.ndarray
    runs: int


class Cycles(NamedTuple):
    """Cycles of one instruction in a step, None where the compiler's estimate is not usable.

    `module` is as of `module_of`, `kind` the kind of operation.
    """

    module: str
    kind: str
    cycles: int | None


def module_of(path: str) -> str:
    """The module of an operation by its path, as "jit(step)/jvp(UNet)/down0_block1/conv_in/conv".

    A network, its first block with a star for the block's number, and the direction of its pass, as
    "UNet/down0_block*, backward"; "step" outside of networks.
    """
    scopes = path.split("/")
    for place, scope in enumerate(scopes):
        if match := _NETWORK.fullmatch(scope):
            blocks = [x for x in scopes[place + 1 : -1] if not _NO_BLOCK.search(x)][:1]
            name = re.sub(r"(?<=block)\d+|\d+$", "*", "/".join([match[2], *blocks]))
            return f"{name}, backward" if match[1] else name
    return "step"


def find_collectives(hlo: str, devices: int) -> list[Collective]:
    """All collectives of a program that is compiled for that many devices."""
    computations = _computations_of(hlo)
    # An asynchronous start also has its operands in its shape; its end has the result alone.
    results = {start: shape for shape, start in _DONE.findall(hlo)}
    runs, found = _runs_of(computations), []
    for name, lines in computations.items():
        for line in lines:
            if match := _COLLECTIVE.search(line):
                instruction, shape, kind = match.groups()
                groups = _groups(line, devices)
                size = _bytes(results.get(instruction, shape))
                if kind == "reduce-scatter":
                    size *= groups.shape[1]
                elif name.startswith("all-reduce-scatter"):
                    # TPUs write it so: each chip keeps its slice of the reduced array.
                    kind = "reduce-scatter"
                found.append(Collective(kind, size, groups, runs[name]))
    return found


def by_kind(found: list[Collective]) -> dict[str, dict[str, int]]:
    """{kind: {"count", "bytes"}} of a step, for every kind in `KINDS`."""
    totals = {kind: {"count": 0, "bytes": 0} for kind in KINDS}
    for collective in found:
        totals[collective.kind]["count"] += collective.runs
        totals[collective.kind]["bytes"] += collective.runs * collective.bytes
    return totals


def find_cycles(hlo: str) -> list[Cycles]:
    """The cycles that XLA expects of every instruction of a program compiled for a TPU.

    They are the numbers by which the compiler itself chooses, not measured. Not in them are
    collectives, kernels written by hand, which are returned without cycles, and waiting for memory.
    """
    computations = _computations_of(hlo)
    # The estimate of a fusion includes the computations that it calls.
    fused = {
        name
        for lines in computations.values()
        for line in lines
        if " fusion(" in line
        for name in _called(line)
    }
    runs, found = _runs_of(computations), []
    for computation, lines in computations.items():
        for line in () if computation in fused else lines:
            estimate = _CYCLES.search(line)
            if estimate or 'custom_call_target="tpu_custom_call"' in line:
                cycles = int(estimate[1]) * runs[computation] if estimate else -1
                usable = cycles if 0 <= cycles < _MOST_CYCLES else None
                body = [text for name in _called(line) for text in computations.get(name, ())]
                name = _NAME.search(line)
                found.append(Cycles(module_of(name[1] if name else ""), _kind(line, body), usable))
    return found


def sum_cycles(
    found: Sequence[Cycles], flops: Mapping[str, float], per_cycle: int
) -> dict[str, Any]:
    """JSON-able sums of `total`, by `kind`, `network` and `module`, the largest first.

    `flops` are operations by module, of which the chip does at most `per_cycle`. `floor` is the
    cycles they take at that rate, `share` floor / total, and `of_peak` that of networks and
    modules. `without_estimate` counts instructions that have none to use.
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


def _computations_of(hlo: str) -> Computations:
    """The lines of every computation by its name; the program itself is `_ENTRY`."""
    computations: Computations = {}
    lines: list[str] = []
    for line in hlo.splitlines():
        if match := _COMPUTATION.match(line):
            lines = computations.setdefault(_ENTRY if match[1] else match[2], [])
        else:
            lines.append(line)
    return computations


def _called(line: str) -> list[str]:
    """Names of the computations that an instruction calls; of a loop without its condition."""
    return re.findall(r"%([\w.-]+)", " ".join(_CALLED.findall(line)))


def _runs_of(computations: Computations) -> dict[str, int]:
    """How often each computation runs in a step."""
    calls = collections.defaultdict(list)
    for caller, lines in computations.items():
        for line in lines:
            loop = _LOOP.search(line)
            times = _iterations(computations.get(loop[1], [])) if loop else 1
            for name in _called(line):
                calls[name].append((caller, times))

    @functools.cache
    def runs(name: str) -> int:
        if name == _ENTRY:
            return 1
        return sum(times * runs(caller) for caller, times in calls[name])

    return {name: runs(name) for name in computations}


def _iterations(condition: list[str]) -> int:
    """Of a loop whose condition is `i < constant`; else 1."""
    text = "\n".join(condition)
    limits = re.findall(r"s32\[\]\S* constant\((\d+)\)", text)
    return int(limits[0]) if len(limits) == 1 and "direction=LT" in text else 1


def _bytes(shape: str) -> int:
    """Bytes of an array or a tuple of arrays."""
    arrays = _ARRAY.findall(shape)
    return sum(_BITS.get(dtype, 0) * math.prod(_integers(axes)) for dtype, axes in arrays) // 8


def _groups(line: str, devices: int) -> np.ndarray:
    """[groups, devices of each]; all devices are one group where the line names none."""
    if found := re.search(r"source_target_pairs=\{(.*?)\}\}", line):
        return np.array(_integers(found[1])).reshape(-1, 2)
    if found := re.search(r"replica_groups=\{(\{.+?\})\}", line):
        return np.array([_integers(row) for row in re.findall(r"\{([\d,]+)\}", found[1])])
    if found := re.search(r"replica_groups=\[([\d,]+)\]<=(\[[\d,]+\](?:T\([\d,]+\))?)", line):
        return _iota(found[2]).reshape(_integers(found[1]))
    # Axes of a mesh of all devices: {'a'=2,'b'=4}, in their order or another, grouped along some.
    if found := re.search(
        r"replica_groups=mesh\[(.*?)\](?:, device_ids=\((.*?)\))? \{(.*?)\}", line
    ):
        axes = re.findall(r"'(\w+)'=(\d+)", found[1])
        order = np.arange(devices) if found[2] is None else _iota(found[2])
        inside = [name in re.findall(r"'(\w+)'", found[3]) for name, _ in axes]
        # Sorted so that axes outside of the groups come first.
        permutation = sorted(range(len(axes)), key=lambda axis: inside[axis])
        sizes = [int(size) for _, size in axes]
        members = math.prod(size for size, within in zip(sizes, inside, strict=True) if within)
        return order.reshape(sizes).transpose(permutation).reshape(-1, members)
    return np.arange(devices)[None]


def _iota(text: str) -> np.ndarray:
    """`[4,2]T(1,0)`: the numbers from 0 on, in that shape, axes transposed, flat."""
    sizes, _, axes = text.partition("T")
    numbers = np.arange(math.prod(_integers(sizes))).reshape(_integers(sizes))
    return (numbers.transpose(_integers(axes)) if axes else numbers).ravel()


def _integers(text: str) -> list[int]:
    return [int(n) for n in re.findall(r"\d+", text)]


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
