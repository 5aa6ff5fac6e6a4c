"""The error of bfloat16 against float32 on this machine: every network, forward, on one input.

On a GPU and a TPU bfloat16 also takes other kernels: cuDNN's or Pallas' attention, not XLA's.
"""

import copy
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from glober_jax.benchmarking.programs import input_shapes, random_like
from glober_jax.benchmarking.report import machine, markdown_table
from glober_jax.experiment import config
from glober_jax.experiment.options import Experiment
from glober_jax.models.networks import NETWORKS, Networks

# A number of bfloat16 is right to 0.4 %; layers add up.
LIMIT = 0.05


def benchmark(experiment: Experiment, *, rows: int) -> dict[str, Any]:
    """The relative error of each network's outputs in bfloat16, with random parameters.

    That is the root mean square of the difference by that of the outputs, of `rows` random inputs.
    `agrees` says whether all are below `LIMIT`.
    """
    in_dtype = {
        dtype: config.parse(copy.deepcopy(experiment.source) | {"dtype": dtype}).networks
        for dtype in ("float32", "bfloat16")
    }
    errors = {name: _error(in_dtype, name, rows) for name in NETWORKS}
    return {
        "relative_error": errors,
        "agrees": all(error < LIMIT for error in errors.values()),
        "limit": LIMIT,
        "rows": rows,
        "devices": [jax.devices()[0].device_kind],
        **machine(),
    }


def table(report: Mapping[str, Any]) -> str:
    """The figures of a report in Markdown."""
    rows = [
        {"network": name, "error of bfloat16": f"{error:.2%}"}
        for name, error in report["relative_error"].items()
    ]
    verdict = "all are" if report["agrees"] else "NOT all are"
    return f"{markdown_table(rows)}\n\n{verdict} below {report['limit']:.0%}"


def _error(in_dtype: Mapping[str, Networks], name: str, rows: int) -> float:
    networks = in_dtype["float32"]
    params, inputs = random_like((networks.shapes((name,)), input_shapes(networks, name, rows)))
    # About zero: outputs that are mostly a constant would all agree.
    params = jax.tree_util.tree_map_with_path(
        lambda path, x: x - 1 if jax.tree_util.keystr(path).endswith("['bias']") else x, params
    )

    def outputs(dtype: str) -> list[np.ndarray]:
        apply = jax.jit(lambda params, *x: in_dtype[dtype].apply(params, name, *x))
        # Not in TensorFloat-32, which NVIDIA GPUs would take for float32.
        with jax.default_matmul_precision("float32" if dtype == "float32" else "default"):
            return [np.asarray(x, np.float32) for x in jax.tree.leaves(apply(params, *inputs))]

    pairs = zip(outputs("float32"), outputs("bfloat16"), strict=True)
    return max(float(np.sqrt(np.square(b - a).sum() / np.square(a).sum())) for a, b in pairs)
