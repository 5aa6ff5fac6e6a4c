"""What a compiled program moves between chips, read from its HLO text.

Counts are static: of the two sides of a condition both count. The body of a loop counts as often
as it runs where its condition is `i < constant`, as that of `jax.lax.scan` is, else once.
"""

import collections
import functools
import math
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

KINDS = ("all-gather", "reduce-scatter", "all-reduce", "all-to-all", "collective-permute")
_BITS = {"pred": 8, "bf16": 16, "f16": 16, "f32": 32, "f64": 64} | {
    f"{sign}{bits}": bits for sign in "su" for bits in (8, 16, 32, 64)
}
_INSTRUCTION = re.compile(rf"= (.*?) ({'|'.join(KINDS)})(-start)?\(")
_ARRAY = re.compile(r"([a-z]+\d*)\[([\d,]*)\]")
_COMPUTATION = re.compile(r"(ENTRY )?%([\w.-]+) .*\{$")
_CALLED = re.compile(r"(?:calls|to_apply|body|branch_computations)=(%[\w.-]+|\{[^}]*\})")
_LOOP = re.compile(r" while\(.*condition=%([\w.-]+)")


class Collective(NamedTuple):
    """One instruction, on one chip, that runs `runs` times a step.

    `bytes` is the size of the whole array: what is gathered, reduced or exchanged, not a shard of
    it. `groups` are the devices that exchange it with each other, as positions in the mesh.
    """

    kind: str
    bytes: int
    groups: np.ndarray
    runs: int


def find_collectives(hlo: str, devices: int) -> list[Collective]:
    """All of a program that is compiled for so many devices."""
    computations = _computations(hlo)
    runs = _runs(computations)
    found = []
    for name, lines in computations.items():
        for line in lines:
            if match := _INSTRUCTION.search(line):
                shape, kind, start = match.groups()
                groups = _groups(line, devices)
                size = _bytes(_result(shape) if start else shape)
                if kind == "reduce-scatter":
                    size *= groups.shape[1]
                elif name.startswith("all-reduce-scatter"):
                    # So TPUs write it: each chip keeps its slice of what is reduced.
                    kind = "reduce-scatter"
                found.append(Collective(kind, size, groups, runs[name]))
    return found


def by_kind(found: list[Collective]) -> dict[str, dict[str, int]]:
    """{kind: {"count", "bytes"}} of a step, of all kinds, also of those that do not occur."""
    totals = {kind: {"count": 0, "bytes": 0} for kind in KINDS}
    for collective in found:
        totals[collective.kind]["count"] += collective.runs
        totals[collective.kind]["bytes"] += collective.runs * collective.bytes
    return totals


def _computations(hlo: str) -> dict[str, list[str]]:
    """The lines of each computation; the program itself is called ENTRY."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in hlo.splitlines():
        if match := _COMPUTATION.match(line):
            lines = found.setdefault("ENTRY" if match[1] else match[2], [])
        else:
            lines.append(line)
    return found


def _runs(computations: dict[str, list[str]]) -> dict[str, int]:
    """How often each computation runs in a step."""
    calls = collections.defaultdict(list)
    for caller, lines in computations.items():
        for line in lines:
            loop = _LOOP.search(line)
            times = _iterations(computations.get(loop[1], [])) if loop else 1
            for called in _CALLED.findall(line):
                for name in re.findall(r"%([\w.-]+)", called):
                    calls[name].append((caller, times))

    @functools.cache
    def runs(name: str) -> int:
        if name == "ENTRY":
            return 1
        return sum(times * runs(caller) for caller, times in calls[name])

    return {name: runs(name) for name in computations}


def _iterations(condition: list[str]) -> int:
    """Of a loop whose condition is `i < constant`; else 1."""
    text = "\n".join(condition)
    limits = re.findall(r"s32\[\]\S* constant\((\d+)\)", text)
    return int(limits[0]) if len(limits) == 1 and "direction=LT" in text else 1


def _bytes(shape: str) -> int:
    """Of an array or a tuple of arrays."""
    sizes = (
        _BITS.get(dtype, 0) * math.prod(int(n) for n in axes.split(",") if n)
        for dtype, axes in _ARRAY.findall(shape)
    )
    return sum(sizes) // 8


def _result(shape: str) -> str:
    """What arrives, of the (what was sent, what arrives, ...) that an asynchronous start gives."""
    parts = list(_parts(shape)) if shape.startswith("(") else [shape]
    return parts[1] if len(parts) > 1 else parts[0]


def _parts(shape: str) -> Iterator[str]:
    """The elements of a tuple's shape."""
    depth, begin = 0, 1
    for place, character in enumerate(shape):
        if character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
        if (character == "," and depth == 1) or depth == 0:
            yield shape[begin:place]
            begin = place + 1


def _groups(line: str, devices: int) -> np.ndarray:
    """[groups, devices of each]; all devices are one group where the line names none."""
    if found := re.search(r"source_target_pairs=\{(.*?)\}\}", line):
        return np.array([[int(n) for n in pair] for pair in re.findall(r"(\d+),(\d+)", found[1])])
    if found := re.search(r"replica_groups=\{(\{.+?\})\}", line):
        rows = re.findall(r"\{([\d,]+)\}", found[1])
        return np.array([[int(n) for n in row.split(",")] for row in rows])
    if found := re.search(r"replica_groups=\[([\d,]+)\]<=(\[[\d,]+\](?:T\([\d,]+\))?)", line):
        return _iota(found[2]).reshape(_integers(found[1]))
    # Axes of a mesh of all devices: {'a'=2,'b'=4}, in their order or another, grouped along some.
    if found := re.search(
        r"replica_groups=mesh\[(.*?)\](?:, device_ids=\((.*?)\))? \{(.*?)\}", line
    ):
        names = re.findall(r"'(\w+)'=(\d+)", found[1])
        grouped = [name in re.findall(r"'(\w+)'", found[3]) for name, _ in names]
        sizes = [int(size) for _, size in names]
        order = np.arange(devices) if found[2] is None else _iota(found[2])
        last = [axis for axis, inside in enumerate(grouped) if inside]
        first = [axis for axis, inside in enumerate(grouped) if not inside]
        together = math.prod(sizes[axis] for axis in last)
        return order.reshape(sizes).transpose(first + last).reshape(-1, together)
    return np.arange(devices)[None]


def _iota(text: str) -> np.ndarray:
    """`[4,2]T(1,0)`: the numbers from 0 on, in that shape, axes transposed, flat."""
    sizes, _, axes = text.partition("T")
    shape = _integers(sizes)
    numbers = np.arange(math.prod(shape)).reshape(shape)
    return (numbers.transpose(_integers(axes)) if axes else numbers).ravel()


def _integers(text: str) -> list[int]:
    return [int(n) for n in re.findall(r"\d+", text)]
