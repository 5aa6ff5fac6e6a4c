"""Counts the operations of a traced program exactly, before it is compiled.

Counted are matrix products and convolutions, a multiplication and an addition as two. What XLA
reports of a compiled program counts the body of a loop once; here it counts as often as it runs.
Recomputation that a program asks for (`jax.checkpoint`) is counted, code that nothing uses is not.
"""

import collections
import itertools
import math
from typing import Any

import jax
import numpy as np
from jax.interpreters.partial_eval import dce_jaxpr

from glober_jax.planning.hlo import module_of


def count_flops(traced: jax.stages.Traced) -> tuple[int, list[bool]]:
    """(operations of one call, over all devices together; which arrays of its arguments it uses)"""
    by_module, used = flops_by_module(traced)
    return by_module.total(), used


def flops_by_module(traced: jax.stages.Traced) -> tuple[collections.Counter[str], list[bool]]:
    """The same, with the operations of each module by its name, as `hlo.module_of` gives it."""
    jaxpr = traced.jaxpr.jaxpr
    live, used = dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
    return _count(live, ""), list(used)


def _count(jaxpr: Any, scope: str) -> collections.Counter[str]:
    found: collections.Counter[str] = collections.Counter()
    for equation in jaxpr.eqns:
        found.update(_of_equation(equation, f"{scope}/{equation.source_info.name_stack}"))
    return found


def _of_equation(equation: Any, scope: str) -> collections.Counter[str]:
    name, params = equation.primitive.name, equation.params
    shapes = [getattr(var.aval, "shape", ()) for var in equation.invars]
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        sums = math.prod(shapes[0][axis] for axis in contracted)
        products = 2 * math.prod(equation.outvars[0].aval.shape) * sums
        return collections.Counter({module_of(f"{scope}/{name}"): products})
    if name == "conv_general_dilated":
        return collections.Counter({module_of(f"{scope}/{name}"): _convolution(*shapes, params)})
    parts = (getattr(value, "jaxpr", value) for value in jax.tree.leaves(list(params.values())))
    inner = [_count(part, scope) for part in parts if hasattr(part, "eqns")]
    if name == "cond":
        return max(inner, key=collections.Counter.total)
    # What is inside a `shard_map` is what one device does. A `while` says nothing of how often it
    # runs; nothing that is trained here has one.
    times = {"scan": params.get("length"), "shard_map": getattr(params.get("mesh"), "size", 1)}
    total = sum(inner, collections.Counter())
    return collections.Counter({key: n * times.get(name, 1) for key, n in total.items()})


def _convolution(left: tuple[int, ...], right: tuple[int, ...], params: dict[str, Any]) -> int:
    """Only products with elements that are there: not with padding, nor between dilated ones."""
    numbers = params["dimension_numbers"]
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
