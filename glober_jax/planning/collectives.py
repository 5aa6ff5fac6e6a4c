"""Collectives of a compiled program and their bytes, read from its HLO text."""

import math
import re
from typing import NamedTuple

import numpy as np

from glober_jax.planning.hlo import computations_of, runs_of

KINDS = ("all-gather", "reduce-scatter", "all-reduce", "all-to-all", "collective-permute")
_BITS = {"pred": 8, "bf16": 16, "f16": 16, "f32": 32, "f64": 64} | {
    f"{sign}{bits}": bits for sign in "su" for bits in (8, 16, 32, 64)
}
_INSTRUCTION = re.compile(rf"%([\w.-]+) = (.*?) ({'|'.join(KINDS)})(?:-start)?\(")
_DONE = re.compile(rf"= (.*?) (?:{'|'.join(KINDS)})-done\(.*%([\w.-]+)\)")
_ARRAY = re.compile(r"([a-z]+\d*)\[([\d,]*)\]")


class Collective(NamedTuple):
    """One instruction, on one chip, that runs `runs` times a step.

    `bytes` is the size of the whole array: what is gathered, reduced or exchanged, not a shard of
    it. `groups` [groups, members] are the devices that exchange it, as positions in the mesh.
    """

    kind: str
    bytes: int
    groups: np.ndarray
    runs: int


def find_collectives(hlo: str, devices: int) -> list[Collective]:
    """All collectives of a program that is compiled for that many devices."""
    computations = computations_of(hlo)
    # An asynchronous start has what was sent in its shape, too; its end has the result alone.
    results = {start: shape for shape, start in _DONE.findall(hlo)}
    runs, found = runs_of(computations), []
    for name, lines in computations.items():
        for line in lines:
            if match := _INSTRUCTION.search(line):
                instruction, shape, kind = match.groups()
                groups = _groups(line, devices)
                size = _bytes(results.get(instruction, shape))
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


def _bytes(shape: str) -> int:
    """Bytes of an array or a tuple of arrays."""
    bits = (
        _BITS.get(dtype, 0) * math.prod(_integers(axes)) for dtype, axes in _ARRAY.findall(shape)
    )
    return sum(bits) // 8


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
