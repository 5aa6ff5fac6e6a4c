"""Compiled programs: seconds to compile and to run, operations, memory, beside matrix products.

Operations are those of matrix products and convolutions (`planning.flops`), a multiplication and
an addition as two:
  model      what the networks need, nothing computed twice
  program    what the traced program does, recomputation and every round of loops included
  compiled   XLA's own count, which includes all other arithmetic and one round of every loop
The ceiling is the rate of one large matrix product on every device, which takes turns with the
program. Dimension key: D devices, N side of a matrix.
"""

import resource
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from glober_jax.benchmarking.report import machine, markdown_table
from glober_jax.benchmarking.timing import blocking, measure, timing
from glober_jax.experiment.options import Experiment
from glober_jax.models.networks import Networks
from glober_jax.planning.compiling import read_memory
from glober_jax.planning.flops import count_flops

_ROUNDS = 5
_NOTES = (
    "Seconds are the median of the rounds, fastest and slowest in brackets; CPU seconds those of "
    "all cores together, for compiling in brackets. `of matmul` is the model's operations per "
    "second by those of a matrix product in the same rounds, in brackets per CPU second. "
    "`program / model` above 1 is recomputation or filling up; `compiled` is XLA's count, with one "
    "round of each loop. Peak memory is that of the process or the device so far."
)


class Program(NamedTuple):
    """A program to measure.

    `call(compiled)` runs what `trace()` traces `runs` times, on `examples` clips or videos.
    `model_flops` are counted over all of them.
    """

    trace: Callable[[], jax.stages.Traced]
    call: Callable[[jax.stages.Compiled], Any]
    examples: int
    model_flops: float
    runs: int = 1


def measure_programs(
    experiment: Experiment,
    programs: Mapping[str, Callable[[], Program]],
    mesh: Mesh,
    seconds: float,
) -> dict[str, Any]:
    """A JSON-able report of programs on the devices of `mesh`, and of what they ran on.

    Each is made, measured for about `seconds` (at least one run, at most five rounds) in turns with
    a matrix product, and freed before the next.
    """
    dtype, networks = experiment.source["dtype"], experiment.networks
    return {
        "programs": {
            name: _measure(name, make(), mesh, dtype, seconds) for name, make in programs.items()
        },
        "parameters": networks.count_parameters(),
        "frame_size": networks.frame_size,
        "dtype": dtype,
        "mesh": dict(mesh.shape),
        "devices": [device.device_kind for device in mesh.devices.flat],
        **machine(("optax",)),
    }


def programs_table(report: Mapping[str, Any]) -> str:
    """The programs of a report in Markdown, and the rate of the matrix products."""
    programs = report["programs"]
    rates = [figures["matmul"]["flops_per_second"] / 1e9 for figures in programs.values()]
    return (
        f"{markdown_table([_row(*program) for program in programs.items()])}\n\n"
        f"Matrix product: {min(rates):,.1f} to {max(rates):,.1f} GFLOP/s. {_NOTES}"
    )


def input_shapes(networks: Networks, name: str, rows: int) -> Any:
    """The inputs of network `name`, of that many rows, as shapes."""

    def of_rows(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        return leaf.update(shape=(rows, *leaf.shape[1:]))

    return jax.tree.map(of_rows, jax.eval_shape(lambda: networks.example_inputs(name)))


def random_like(tree: Any) -> Any:
    """NumPy arrays for a pytree of shapes: computing with zeros would be faster.

    Vectors, which are scales and biases, are about one, other floats small, integers 0 or 1.
    """
    random = np.random.default_rng(0)

    def draw(leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return random.integers(0, 2, leaf.shape).astype(leaf.dtype)
        noise = 0.02 * random.standard_normal(leaf.shape, np.float32)
        return ((leaf.ndim == 1) + noise).astype(leaf.dtype)

    return jax.tree.map(draw, tree)


def _measure(name: str, program: Program, mesh: Mesh, dtype: str, seconds: float) -> dict[str, Any]:
    print(f"compiling {name}", file=sys.stderr, flush=True)
    begin, cpu_begin = time.perf_counter(), time.process_time()
    traced = program.trace()
    compiled = traced.lower().compile()
    compiling = time.perf_counter() - begin, time.process_time() - cpu_begin
    product, product_flops = _matrix_product(mesh, dtype)
    contenders = {"program": blocking(lambda: program.call(compiled)), "matmul": blocking(product)}
    costs = measure(contenders, seconds=seconds, rounds=_ROUNDS)
    figures, matmul = timing(costs["program"]), timing(costs["matmul"])
    counted = (compiled.cost_analysis() or {}).get("flops", 0.0)
    size = program.model_flops / product_flops
    share = size * matmul["seconds"] / figures["seconds"]
    cpu_share = size * matmul["cpu_seconds"] / figures["cpu_seconds"]
    return {
        "compile_seconds": compiling[0],
        "compile_cpu_seconds": compiling[1],
        **figures,
        "examples": program.examples,
        "examples_per_second": program.examples / figures["seconds"],
        "model_flops": program.model_flops,
        "program_flops": count_flops(traced) * program.runs,
        "compiled_flops": counted * mesh.size * program.runs,
        "matmul": {
            **matmul,
            "flops_per_second": product_flops / matmul["seconds"],
            "flops_per_cpu_second": product_flops / matmul["cpu_seconds"],
        },
        "share_of_matmul": share,
        "cpu_share_of_matmul": cpu_share if _on_cpu(mesh) else None,
        "memory_bytes": read_memory(compiled),
        "peak_memory_bytes": _peak_memory(mesh),
    }


def _row(name: str, figures: Mapping[str, Any]) -> dict[str, str]:
    model, cpu_share = figures["model_flops"], figures["cpu_share_of_matmul"]
    by_cpu = "" if cpu_share is None else f" ({cpu_share:.0%})"
    return {
        "program": name,
        "compile s": f"{figures['compile_seconds']:.1f} ({figures['compile_cpu_seconds']:.1f})",
        "s": f"{figures['seconds']:.3g} ({figures['fastest']:.3g}-{figures['slowest']:.3g})",
        "CPU s": f"{figures['cpu_seconds']:.3g}",
        "examples/s": f"{figures['examples_per_second']:.3g}",
        "model GFLOP": f"{model / 1e9:,.2f}",
        "program / model": f"{figures['program_flops'] / model:.3f}",
        "compiled / model": f"{figures['compiled_flops'] / model:.3f}",
        "of matmul": f"{figures['share_of_matmul']:.0%}{by_cpu}",
        "program MB": f"{sum(figures['memory_bytes'].values()) / 1e6:,.1f}",
        "peak MB": f"{figures['peak_memory_bytes'] / 1e6:,.0f}",
    }


def _matrix_product(mesh: Mesh, dtype: str) -> tuple[Callable[[], jax.Array], float]:
    """A call that multiplies two matrices on every device, and its operations."""
    size = 2048 if _on_cpu(mesh) else 8192
    spread = NamedSharding(mesh, PartitionSpec(mesh.axis_names))
    make = jax.jit(lambda: jnp.full((mesh.size, size, size), 1 / size, dtype), out_shardings=spread)
    product, factor_DNN = jax.jit(jnp.matmul, out_shardings=spread), make()
    return lambda: product(factor_DNN, factor_DNN), 2.0 * mesh.size * size**3


def _on_cpu(mesh: Mesh) -> bool:
    return mesh.devices.flat[0].platform == "cpu"


def _peak_memory(mesh: Mesh) -> int:
    """Bytes of the fullest device so far, or of this process where devices do not count them."""
    stats = [device.memory_stats() or {} for device in mesh.local_devices]
    peak = max(found.get("peak_bytes_in_use", 0) for found in stats)
    return peak or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
