"""Counts the operations of a traced program exactly, before it is compiled.

Counted are matrix products and convolutions, a multiplication and an addition as two. The body of a
loop counts as often as it runs, where XLA's report of a compiled program counts it once.
Recomputation (`jax.checkpoint`) is counted, unused code is not.
"""

import collections
import itertools
import math
from typing import Any

import jax
import numpy as np
from jax.interpreters.partial_eval import dce_jaxpr

from glober_jax.planning.hlo import module_of


def count_flops(traced: jax.stages.Traced) -> int:
    """Operations of one call, over all devices together."""
    return flops_by_module(traced)[0].total()


def flops_by_module(traced: jax.stages.Traced) -> tuple[collections.Counter[str], list[bool]]:
    """(operations of one call by `hlo.module_of`, whether it uses each array of its arguments)"""
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
    # The body of a `shard_map` is the work of one device. That of a `while` counts once; no program
    # here has one.
    times = {"scan": params.get("length"), "shard_map": getattr(params.get("mesh"), "size", 1)}
    total = sum(inner, collections.Counter())
    return collections.Counter({key: n * times.get(name, 1) for key, n in total.items()})


def _convolution(left: tuple[int, ...], right: tuple[int, ...], params: dict[str, Any]) -> int:
    """Without products with padding, or with the zeros between dilated elements."""
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
    """Along one axis: how many (window, element of the kernel) fall on elements of the map."""
    dilated, reach = (size - 1) * dilation + 1, (kernel - 1) * kernel_dilation + 1
    windows = np.arange((dilated + sum(padding) - reach) // stride + 1)[:, None] * stride
    places = windows + np.arange(kernel) * kernel_dilation - padding[0]
    return int(np.sum((places >= 0) & (places < dilated) & (places % dilation == 0)))
