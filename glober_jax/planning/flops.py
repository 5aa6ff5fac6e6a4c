"""Operations of a program, counted in what was traced: exact, and before any compiler.

Counted are matrix products and convolutions, a multiplication and an addition as two. What XLA
reports of a compiled program counts the body of a loop once; here it counts as often as it runs.
Recomputation that a program asks for (`jax.checkpoint`) is counted, code that nothing uses is not.
"""

import itertools
import math
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np


def count_flops(traced: jax.stages.Traced) -> tuple[int, list[bool]]:
    """(operations of one call, over all devices together; which arrays of its arguments it uses)"""
    jaxpr = traced.jaxpr.jaxpr
    return _count(jaxpr, [True] * len(jaxpr.outvars))


def _count(jaxpr: Any, live: list[bool]) -> tuple[int, list[bool]]:
    """(operations that the outputs marked in `live` need, which inputs those need)."""
    needed = {var for var, wanted in zip(jaxpr.outvars, live, strict=True) if wanted and _is(var)}
    total = 0
    for equation in reversed(jaxpr.eqns):
        wanted = [var in needed for var in equation.outvars]
        if not any(wanted):
            continue
        flops, used = _of_equation(equation, wanted)
        total += flops
        needed |= {var for var, use in zip(equation.invars, used, strict=True) if use and _is(var)}
    return total, [var in needed for var in jaxpr.invars]


def _of_equation(equation: Any, live: list[bool]) -> tuple[int, list[bool]]:
    name, everything = equation.primitive.name, [True] * len(equation.invars)
    if name == "dot_general":
        return _product(equation), everything
    if name == "conv_general_dilated":
        return _convolution(equation), everything
    inner = list(_inner(equation))
    if name == "cond":
        return max(_count(branch, live)[0] for branch in inner), everything
    if name in ("scan", "while"):
        # A `while` says nothing of how often it runs; nothing that is trained here has one.
        runs = equation.params.get("length", 1)
        return runs * sum(_count(j, [True] * len(j.outvars))[0] for j in inner), everything
    if len(inner) == 1 and len(inner[0].invars) == len(everything):
        return _count(inner[0], live)
    return sum(_count(j, [True] * len(j.outvars))[0] for j in inner), everything


def _inner(equation: Any) -> Iterator[Any]:
    """The programs that an equation runs."""
    for value in equation.params.values():
        for part in value if isinstance(value, tuple | list) else (value,):
            part = getattr(part, "jaxpr", part)
            if hasattr(part, "eqns"):
                yield part


def _is(var: Any) -> bool:
    """Whether it is a variable, and not a constant."""
    return not hasattr(var, "val")


def _product(equation: Any) -> int:
    (contracted, _), _ = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    (result,) = equation.outvars
    return 2 * math.prod(result.aval.shape) * math.prod(left[axis] for axis in contracted)


def _convolution(equation: Any) -> int:
    """Only products with elements that are there: not with padding, nor between dilated ones."""
    params = equation.params
    (left, right), numbers = (
        (var.aval.shape for var in equation.invars),
        params["dimension_numbers"],
    )
    spatial = zip(
        [left[axis] for axis in numbers.lhs_spec[2:]],
        [right[axis] for axis in numbers.rhs_spec[2:]],
        params["window_strides"],
        params["padding"],
        params["lhs_dilation"],
        params["rhs_dilation"],
        strict=True,
    )
    positions = math.prod(itertools.starmap(_pairs, spatial))
    batch = left[numbers.lhs_spec[0]] // params["batch_group_count"]
    outputs, inputs = (right[axis] for axis in numbers.rhs_spec[:2])
    return 2 * batch * outputs * inputs * positions


def _pairs(
    size: int,
    kernel: int,
    stride: int,
    padding: tuple[int, int],
    dilation: int,
    kernel_dilation: int,
) -> int:
    """Along one axis: how many (place of the window, element of it) fall on elements of the map."""
    dilated, reach = (size - 1) * dilation + 1, (kernel - 1) * kernel_dilation + 1
    windows = np.arange((dilated + sum(padding) - reach) // stride + 1)[:, None] * stride
    places = windows + np.arange(kernel) * kernel_dilation - padding[0]
    return int(np.sum((places >= 0) & (places < dilated) & (places % dilation == 0)))
