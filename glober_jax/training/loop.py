"""The one loop that all stages share.

Its order is fixed: restore -> [preview -> grade, save -> next batch -> step -> log]. State and data
position are therefore always saved together, and a resumed run repeats an uninterrupted one bit
for bit.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from etils import epath
from jax.sharding import Mesh

from glober_jax.errors import UserError
from glober_jax.parallel.agreement import AnyProcess
from glober_jax.parallel.compiler import compiler_options
from glober_jax.parallel.mesh import batch_sharding, put_batch, replicated
from glober_jax.parallel.rules import tree_shardings
from glober_jax.progress import Progress
from glober_jax.training.checkpoint import StageCheckpoints
from glober_jax.training.grades import Grade
from glober_jax.training.initial import start_from_files
from glober_jax.training.metrics import MetricsWriter
from glober_jax.training.state import TrainState
from glober_jax.training.stopping import StopRequest

Batch = dict[str, jax.Array]
StepFunction = Callable[[TrainState, Any, Batch], tuple[TrainState, dict[str, jax.Array]]]


@dataclasses.dataclass(frozen=True)
class LoopOptions:
    """How often, in steps, the loop logs, previews and saves; 0 means only at the end.

    The newest `keep_checkpoints` are kept, and the best one where they are graded.
    """

    log_every: int = 50
    preview_every: int = 1000
    checkpoint_every: int = 1000
    keep_checkpoints: int = 2


class Preview(NamedTuple):
    """What a look at the current state gave: numbers, and uint8 [H, W, 3] images, by name."""

    scalars: dict[str, float]
    images: dict[str, np.ndarray]


class Grading(NamedTuple):
    """How often, in steps, a checkpoint is graded, and by what; saving has to be due as well."""

    every: int
    grade: Callable[[TrainState], Grade]


@dataclasses.dataclass(frozen=True)
class Stage:
    """What the loop needs to know of a stage.

    `create(constants)` is pure and makes a fresh state; `measure()` computes those constants from
    data, once per run; `constant_shapes` are their abstract values. `programs` are pure functions
    (state, frozen, batch) -> (state, metrics), each in force from its step on, ascending from 0;
    `frozen` are parameters that the stage reads and never changes. `batches(start)` yields this
    process's rows of the global batches from step `start` on. `preview` looks at a state, for
    people; `grading` tells which checkpoint is best.
    """

    name: str
    total_steps: int
    create: Callable[[dict[str, Any]], TrainState]
    measure: Callable[[], dict[str, Any]]
    constant_shapes: dict[str, Any]
    programs: tuple[tuple[int, StepFunction], ...]
    frozen: Any
    batches: Callable[[int], Iterator[dict[str, np.ndarray]]]
    preview: Callable[[TrainState], Preview]
    grading: Grading | None = None


def compile_programs(stage: Stage, mesh: Mesh) -> Callable[[int], Callable[..., Any]]:
    """The jitted program in force at a step: state in its shards and donated, batch over the mesh.

    Each is compiled when it is first called.
    """
    state = jax.eval_shape(stage.create, stage.constant_shapes)
    jitted = [
        (first_step, jit_program(program, state, stage.frozen, mesh))
        for first_step, program in stage.programs
    ]
    return lambda step: [program for first_step, program in jitted if first_step <= step][-1]


def jit_program(program: StepFunction, state: TrainState, frozen: Any, mesh: Mesh) -> Any:
    """A stage's program as every run compiles it, and as `plan` does; arrays may be abstract."""
    shardings = tree_shardings(state, mesh)
    return jax.jit(
        program,
        in_shardings=(shardings, tree_shardings(frozen, mesh), batch_sharding(mesh)),
        out_shardings=(shardings, replicated(mesh)),
        donate_argnums=0,
        compiler_options=compiler_options(mesh),
    )


def run_stage(
    stage: Stage,
    workdir: epath.PathLike,
    config: dict[str, Any],
    options: LoopOptions,
    mesh: Mesh,
    writer: MetricsWriter,
    stop: StopRequest,
) -> TrainState:
    """Trains a stage to its last step, from its newest checkpoint if there is one.

    Raises:
      UserError: a metric is not finite, or the checkpoints cannot be used.
      SystemExit: with status 0, after saving, when SIGTERM arrived.
    """
    with StageCheckpoints(workdir, stage.name, config, options.keep_checkpoints) as checkpoints:
        state, start = _restore_or_create(stage, workdir, checkpoints, mesh)
        if start >= stage.total_steps:
            return state
        writer.discard_after(stage.name, start if start > 0 else -1)
        program_at = compile_programs(stage, mesh)
        frozen = jax.device_put(stage.frozen, tree_shardings(stage.frozen, mesh))
        batches = stage.batches(start)
        enabled = jax.process_index() == 0
        any_process = AnyProcess(mesh)
        with stop, Progress(stage.name, stage.total_steps, start, enabled=enabled) as progress:
            log = _Log(stage.name, options.log_every, writer, progress)
            for step in range(start, stage.total_steps):
                if step == 0 or (step > start and _due(step, options.preview_every)):
                    log.preview(step, stage.preview(state))
                stopping = any_process.lately(stop.requested)
                if stopping or (step > start and _due(step, options.checkpoint_every)):
                    log.flush()
                    grade = None if stopping else log.grade(step, stage.grading, state)
                    checkpoints.save(step, state, grade)
                    if stopping:
                        checkpoints.wait()
                        stop.exit(f"SIGTERM: {stage.name} saved at step {step}")
                batch = put_batch(next(batches), mesh)
                with jax.transfer_guard("disallow"):
                    state, metrics = program_at(step)(state, frozen, batch)
                log.step(step + 1, metrics)
            log.flush()
            log.preview(stage.total_steps, stage.preview(state))
            grade = log.grade(stage.total_steps, stage.grading, state, last=True)
            checkpoints.save(stage.total_steps, state, grade)
            # Who ends here ends the others as well.
            checkpoints.wait()
            stop.requested = any_process.now(stop.requested)
    return state


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def _restore_or_create(
    stage: Stage, workdir: epath.PathLike, checkpoints: StageCheckpoints, mesh: Mesh
) -> tuple[TrainState, int]:
    abstract = jax.eval_shape(stage.create, stage.constant_shapes)
    if checkpoints.latest_step is not None:
        return checkpoints.restore(abstract, mesh), checkpoints.latest_step
    # Runs once: on a CPU optimising hundreds of small initialisers takes longer than training.
    quick = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else {}
    shardings = tree_shardings(abstract, mesh)
    create = jax.jit(stage.create, out_shardings=shardings, compiler_options=quick)
    return start_from_files(create(stage.measure()), stage.name, workdir, mesh), 0


class _Log:
    """Writes metrics one step late, so that fetching them never holds back the device."""

    def __init__(self, stage: str, every: int, writer: MetricsWriter, progress: Progress) -> None:
        self._stage, self._every = stage, every
        self._writer, self._progress = writer, progress
        self._pending: tuple[int, Mapping[str, jax.Array]] | None = None

    def step(self, step: int, metrics: Mapping[str, jax.Array]) -> None:
        if self._pending is not None and _due(self._pending[0], self._every):
            self.flush()
        self._pending = (step, metrics)

    def flush(self) -> None:
        """Fetches and writes the newest finished step; stops the run if it is not finite."""
        if self._pending is None:
            return
        step, metrics = self._pending
        self._pending = None
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        self._writer.write_scalars(self._stage, step, values)
        self._progress.update(step, values)
        broken = [name for name, value in values.items() if not math.isfinite(value)]
        if broken:
            raise UserError(
                f"{self._stage} diverged: {', '.join(broken)} not finite at step {step}; the last "
                "checkpoint is intact, lower the learning rate and start again"
            )

    def grade(
        self, step: int, grading: Grading | None, state: TrainState, last: bool = False
    ) -> Grade | None:
        """The state's grade where one is due, written and told."""
        if grading is None or not (last or _due(step, grading.every)):
            return None
        grade = grading.grade(state)
        self._writer.write_scalars(self._stage, step, {grade.name: grade.value})
        self._progress.note(f"after step {step}: graded {grade.name} {grade.value:.4g}")
        return grade

    def preview(self, step: int, preview: Preview) -> None:
        if preview.scalars:
            self._writer.write_scalars(self._stage, step, preview.scalars)
            listed = ", ".join(f"{name} {value:.4g}" for name, value in preview.scalars.items())
            self._progress.note(f"after step {step}: {listed}")
        for name, image in preview.images.items():
            self._writer.write_image(self._stage, step, name, image)
