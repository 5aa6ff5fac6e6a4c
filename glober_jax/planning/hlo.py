"""Parses the HLO text of a compiled program: computations, how often each runs, modules.

Counts are static: of the two sides of a condition both count. The body of a loop counts as often
as it runs where its condition is `i < constant`, as that of `jax.lax.scan` is, else once.
"""

import collections
import functools
import re

Computations = dict[str, list[str]]

ENTRY = "ENTRY"
_COMPUTATION = re.compile(r"(ENTRY )?%([\w.-]+) .*\{$")
_CALLED = re.compile(r"(?:calls|to_apply|body|branch_computations)=(%[\w.-]+|\{[^}]*\})")
# Scopes that JAX adds between a network and its block.
_NO_BLOCK = re.compile(r"[.(]|checkpoint|remat|while|body|cond|closed_call|branch_")
_LOOP = re.compile(r" while\(.*condition=%([\w.-]+)")
_NETWORK = re.compile(r"(transpose\()?(?:jvp\()?([A-Z]\w*)\)*")


def computations_of(hlo: str) -> Computations:
    """The lines of every computation by its name; that of the program itself is `ENTRY`."""
    computations: Computations = {}
    lines: list[str] = []
    for line in hlo.splitlines():
        if match := _COMPUTATION.match(line):
            lines = computations.setdefault(ENTRY if match[1] else match[2], [])
        else:
            lines.append(line)
    return computations


def called(line: str) -> list[str]:
    """Names of the computations that an instruction calls; of a loop without its condition."""
    return re.findall(r"%([\w.-]+)", " ".join(_CALLED.findall(line)))


def runs_of(computations: Computations) -> dict[str, int]:
    """How often each computation runs in a step."""
    calls = collections.defaultdict(list)
    for caller, lines in computations.items():
        for line in lines:
            loop = _LOOP.search(line)
            times = _iterations(computations.get(loop[1], [])) if loop else 1
            for name in called(line):
                calls[name].append((caller, times))

    @functools.cache
    def runs(name: str) -> int:
        if name == ENTRY:
            return 1
        return sum(times * runs(caller) for caller, times in calls[name])

    return {name: runs(name) for name in computations}


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


def _iterations(condition: list[str]) -> int:
    """Of a loop whose condition is `i < constant`; else 1."""
    text = "\n".join(condition)
    limits = re.findall(r"s32\[\]\S* constant\((\d+)\)", text)
    return int(limits[0]) if len(limits) == 1 and "direction=LT" in text else 1
