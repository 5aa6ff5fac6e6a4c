"""Training steps: of the autoencoder without and with its adversary, of the generator.

Parameters and batches are random, so no data set is needed. The generator's step encodes its key
frames (or their cached latents), as the stage does where no features are cached.
"""

import copy
import functools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from glober_jax.benchmarking import published
from glober_jax.benchmarking.programs import Program, measure_programs, programs_table, random_like
from glober_jax.benchmarking.report import markdown_table
from glober_jax.errors import UserError
from glober_jax.experiment import config
from glober_jax.experiment.options import Experiment
from glober_jax.experiment.stages import AbstractStage, abstract_stage, check_stage_batch
from glober_jax.parallel.mesh import batch_sharding, make_mesh
from glober_jax.parallel.rules import tree_shardings
from glober_jax.planning.compiling import trace_program
from glober_jax.planning.flops import count_flops
from glober_jax.training import autoencoder, generator
from glober_jax.training.loop import StepFunction, jit_program

STEPS = ("autoencoder", "joint", "generator")


def benchmark(
    experiment: Experiment, names: Sequence[str] | None, *, seconds: float, reduced: bool
) -> dict[str, Any]:
    """Measures programs by name, by default all of `STEPS` or, where `reduced`, all recorded ones.

    Raises:
      UserError: no such program, a batch does not divide over the mesh, or the config has no
        adversary.
    """
    known = tuple(published.RECORDED) if reduced else STEPS
    names = names or known
    if unknown := [name for name in names if name not in known]:
        raise UserError(f"--programs={unknown[0]} is none of {', '.join(known)}")
    mesh = make_mesh(experiment.mesh)
    programs = {
        name: functools.partial(
            step_program if name in STEPS else published.unet_program, experiment, name, mesh
        )
        for name in names
    }
    report = measure_programs(experiment, programs, mesh, seconds)
    report["batch_sizes"] = {
        stage: getattr(experiment, stage).batch_size for stage in (autoencoder.NAME, generator.NAME)
    }
    if reduced:
        report["release"] = {
            "source": published.SOURCE,
            "matmul_flops_per_cpu_second": published.MATMUL_FLOPS_PER_CPU_SECOND,
            "recorded": {name: published.RECORDED[name]._asdict() for name in names},
        }
    return report


def table(report: dict[str, Any]) -> str:
    """The figures of a report in Markdown."""
    text, release = programs_table(report), report.get("release")
    if not release:
        return text
    rate = release["matmul_flops_per_cpu_second"] / 1e9
    beside = markdown_table(published.comparison_rows(report["programs"]))
    return (
        f"{text}\n\n{beside}\n\nThe release was not run here. `recorded` are "
        f"{release['source']}. `scaled` is that times {rate:.1f} GFLOP, the matrix product of a "
        "processor second beside it, by that of this run."
    )


def step_program(experiment: Experiment, name: str, mesh: Mesh) -> Program:
    """A stage's program as training compiles it; every call continues from the last one's state."""
    stage_name = generator.NAME if name == "generator" else autoencoder.NAME
    check_stage_batch(experiment, stage_name, mesh)
    stage = abstract_stage(experiment, stage_name, mesh)
    first_step, step = _program_of(stage, name)
    jitted = jit_program(step, stage.state, stage.frozen, mesh)
    arguments = random_arguments(stage, first_step, mesh)

    def call(compiled: jax.stages.Compiled) -> Any:
        arguments[0], metrics = compiled(*arguments)
        return arguments[0], metrics

    return Program(
        trace=lambda: jitted.trace(stage.state, stage.frozen, stage.batch),
        call=call,
        examples=stage.batch_size,
        model_flops=model_flops(experiment, stage_name, name, mesh),
    )


def model_flops(experiment: Experiment, stage_name: str, name: str, mesh: Mesh) -> int:
    """Operations of the step over all devices, without recomputation."""
    plain = copy.deepcopy(experiment.source)
    for network in plain["model"].values():
        if "remat" in network:
            network["remat"] = "none"
    plain["model"]["frame_codec"]["chunk_frames"] = 0
    plain[stage_name]["micro_batches"] = 1
    stage = abstract_stage(config.parse(plain), stage_name, mesh)
    return count_flops(trace_program(stage, _program_of(stage, name)[1], mesh))


def random_arguments(stage: AbstractStage, first_step: int, mesh: Mesh) -> list[Any]:
    """[state, frozen, batch] on the devices, the optimizer's state at its start."""
    params, constants, frozen, batch = random_like(
        (stage.state.params, stage.state.constants, stage.frozen, stage.batch)
    )
    state = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), stage.state).replace(
        step=np.int32(first_step),
        params=params,
        ema={name: params[name] for name in stage.state.ema},
        constants=constants,
    )
    given = state, frozen
    state, frozen = jax.device_put(given, tree_shardings(given, mesh), may_alias=False)
    return [state, frozen, jax.device_put(batch, batch_sharding(mesh))]


def _program_of(stage: AbstractStage, name: str) -> tuple[int, StepFunction]:
    """(first step, step function) of the program called `name`."""
    for first_step, step in stage.programs:
        adversarial = getattr(step, "keywords", {}).get("adversarial", False)
        if adversarial == (name == "joint"):
            return first_step, step
    raise UserError(
        f"the config trains no {name!r} step: its adversary "
        + ("has no weight" if name == "joint" else "is there from the first step on")
        + "; leave it out of --programs"
    )
