"""The order of names that hold numbers: clip2 before clip10, frame_0.25 before frame_0.5.

Every reader of frames takes their order from here.
"""

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from fractions import Fraction
from itertools import pairwise

# "1.2.10" is no decimal number, but three whole ones.
_DECIMAL = re.compile(r"((?<!\d\.)(?<!\d)\d+\.\d+(?!\.?\d)|\d+)")
_WHOLE = re.compile(r"(\d+)")


def natural_key(name: str) -> tuple:
    """Sort key: texts compare as texts, numbers and decimals by value."""
    return _parts(name, _DECIMAL), name


def order_frames(names: Iterable[str]) -> tuple[list[str], str]:
    """Sorts the files of one video's frames naturally, by all that their names hold but the suffix.

    A dot between digits is a decimal point unless that makes two names equal, as 0.1 and 0.10.

    Returns:
      The names in order; and what another order would change, "" where nothing suggests one.
    """
    stems = {name: os.path.splitext(name)[0].casefold() for name in names}
    decimal, whole = (
        {name: (_parts(stem, number), name) for name, stem in stems.items()}
        for number in (_DECIMAL, _WHOLE)
    )
    unequal = len({parts for parts, _ in decimal.values()}) == len(stems)
    chosen = sorted(stems, key=(decimal if unequal else whole).__getitem__)
    others = {"decimals": decimal, "whole numbers after a dot": whole, **_counters(stems)}
    if len({len(stem) for stem in stems.values()}) == 1:
        others["the alphabet"] = stems
    for reading, keys in others.items():
        for mine, its in zip(chosen, sorted(stems, key=keys.__getitem__), strict=True):
            if mine != its:
                return chosen, f"{reading} would put {its} before {mine}"
    return chosen, ""


def video_prefixes(names: Iterable[str]) -> dict[str, str]:
    """What each name says before its frame's number: `sky_1` of `sky_1_frames_00000012.jpg`.

    The frame's number is the last one that differs between names of the same texts.
    """
    alike: dict[tuple, dict[str, list[str]]] = defaultdict(dict)
    for name in names:
        parts = _DECIMAL.split(os.path.splitext(name)[0])
        alike[tuple(parts[::2])][name] = parts
    prefixes = {}
    for group in alike.values():
        columns = list(zip(*(parts[1::2] for parts in group.values()), strict=True))
        varying = [place for place, values in enumerate(columns) if len(set(values)) > 1]
        last = varying[-1] if varying else len(columns) - 1
        for name, parts in group.items():
            before = "".join(parts[: 2 * last + 1] if columns else parts)
            prefixes[name] = re.sub(r"[-_. ]*(frames?)?[-_. ]*$", "", before, flags=re.IGNORECASE)
    return prefixes


def _parts(name: str, number: re.Pattern) -> tuple[tuple[bool, str | int | Fraction], ...]:
    """Texts and numbers in turn; the first of each pair says which a part is."""
    # Fractions are exact: a time in nanoseconds has more digits than a float.
    return tuple(
        (True, Fraction(part) if "." in part else int(part)) if place % 2 else (False, part)
        for place, part in enumerate(number.split(name))
        if part
    )


def _counters(stems: Mapping[str, str]) -> dict[str, dict[str, int]]:
    """The numbers at one place of all names, where they count in equal steps."""
    rows = [[int(number) for number in _WHOLE.findall(stem)] for stem in stems.values()]
    if len({len(row) for row in rows}) != 1:
        return {}
    counters = {}
    for place, column in enumerate(zip(*rows, strict=True), start=1):
        steps = {after - before for before, after in pairwise(sorted(column))}
        if len(steps) == 1 and 0 not in steps:
            counters[f"number {place} alone"] = dict(zip(stems, column, strict=True))
    return counters
