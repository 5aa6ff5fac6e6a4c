"""Compiles a program as training would, with a clock on stderr, and reads the compiler's report."""

import contextlib
import re
import sys
import threading
import time
from collections.abc import Iterator
from typing import NamedTuple

import jax
from jax.sharding import AbstractMesh, Mesh

from glober_jax.experiment.stages import AbstractStage
from glober_jax.training.loop import StepFunction, jit_program

_SECONDS_BETWEEN_LINES = 15.0
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


class TooLarge(NamedTuple):
    """The program does not fit: bytes needed, where the compiler reports them, and available."""

    needed: int | None
    available: int


def trace_program(
    stage: AbstractStage, program: StepFunction, mesh: Mesh | AbstractMesh
) -> jax.stages.Traced:
    """A stage's program as training would run it on `mesh`, not compiled yet."""
    abstract = isinstance(mesh, AbstractMesh)
    jitted = jax.jit(program) if abstract else jit_program(program, stage.state, stage.frozen, mesh)
    return jitted.trace(stage.state, stage.frozen, stage.batch)


def compile_traced(
    traced: jax.stages.Traced, mesh: Mesh, effort: float, title: str
) -> jax.stages.Compiled | TooLarge:
    """Compiles a traced program for the devices of `mesh`, as training would.

    `effort` is XLA's `exec_time_optimization_effort` for TPUs. `title` is shown on stderr with the
    time passed.
    """
    platform, options = mesh.devices.flat[0].platform, {}
    if platform == "tpu" and effort:
        options = {"exec_time_optimization_effort": effort}
    with _clock(title):
        try:
            return traced.lower(lowering_platforms=(platform,)).compile(compiler_options=options)
        except jax.errors.JaxRuntimeError as error:
            if (overflow := find_overflow(str(error))) is None:
                raise
            return overflow


def read_memory(compiled: jax.stages.Compiled) -> dict[str, int]:
    """Bytes of one device as XLA reports them; `outputs` that reuse arguments are left out."""
    stats = compiled.memory_analysis()
    return {
        "arguments": stats.argument_size_in_bytes,
        "outputs": stats.output_size_in_bytes - stats.alias_size_in_bytes,
        "temporaries": stats.temp_size_in_bytes,
        "code": stats.generated_code_size_in_bytes,
    }


def find_overflow(message: str) -> TooLarge | None:
    """Bytes needed and available by an out-of-memory error; None for other errors."""
    if "RESOURCE_EXHAUSTED" not in message:
        return None
    amount = r"([\d.]+)([KMGT]?)"
    if found := re.search(rf"Used {amount}i?B? of {amount}i?B? hbm", message, re.I):
        return TooLarge(_size(*found.groups()[:2]), _size(*found.groups()[2:]))
    if found := re.search(rf"exceeds available HBM \({amount}\)", message):
        needed = re.search(rf"total memory required.*?\({amount}\)", message)
        return TooLarge(_size(*needed.groups()) if needed else None, _size(*found.groups()))
    return None


def _size(number: str, unit: str) -> int:
    return int(float(number) * _UNITS[unit.upper()])


@contextlib.contextmanager
def _clock(title: str) -> Iterator[None]:
    """Prints on stderr how long the block has been running, and how long it took."""
    begin, done = time.monotonic(), threading.Event()

    def show(verb: str) -> None:
        seconds = time.monotonic() - begin
        print(f"{title} | {verb} {seconds:.0f} s", file=sys.stderr, flush=True)

    def tick() -> None:
        while not done.wait(_SECONDS_BETWEEN_LINES):
            show("for")

    threading.Thread(target=tick, daemon=True).start()
    try:
        yield
    finally:
        done.set()
        show("took")
