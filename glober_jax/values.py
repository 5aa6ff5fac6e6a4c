"""Checks of values and keys of configs and arguments."""

import collections.abc
import difflib
import math
import operator
import typing
from collections.abc import Mapping
from typing import Any, Literal

from glober_jax.errors import UserError

MAX_SEED = 2**64 - 1


def check_keys(values: Mapping[str, Any], known: set[str], required: set[str], path: str) -> None:
    """Raises `UserError` for unknown keys, with the nearest known one, and for missing keys."""
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            hint = (
                f"did you mean {path}.{near[0]}?" if near else f"known: {', '.join(sorted(known))}"
            )
            raise UserError(f"unknown config key {path}.{key}; {hint}")
    if missing := sorted(required - values.keys()):
        raise UserError(f"{path} lacks {', '.join(missing)}")


def check_value(value: Any, hint: Any, path: str) -> None:
    """Raises `UserError` for a value of another type than the annotation `hint`."""
    origin = typing.get_origin(hint) or hint
    if origin is Literal:
        choices = typing.get_args(hint)
        if value not in choices:
            raise UserError(f"{path} is {value!r}; choose one of {', '.join(map(str, choices))}")
        return
    if origin is collections.abc.Sequence:
        fits = isinstance(value, list | tuple) and all(isinstance(item, int) for item in value)
        expected = "a sequence of integers"
    elif origin is float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        fits = is_number and math.isfinite(value)
        expected = "a finite number"
    elif origin is int:
        fits = isinstance(value, int) and not isinstance(value, bool)
        expected = "an integer"
    else:
        fits = isinstance(value, origin)
        expected = {Mapping: "a section"}.get(origin, f"a {origin.__name__}")
    if not fits:
        raise UserError(f"{path} is {value!r}, but must be {expected}")


def check_seed(value: Any, name: str = "seed") -> int:
    """`value` if it is a seed of 64 bits, else `UserError`."""
    return check_whole(value, name, 0, MAX_SEED)


def check_whole(value: Any, name: str, low: int, high: int) -> int:
    """`value` if it is a whole number from `low` to `high`, else `UserError`."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or not low <= number <= high:
        raise UserError(f"{name} is {value!r}, but must be a whole number from {low} to {high}")
    return number
