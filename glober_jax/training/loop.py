"""The training loop of all stages.

Its order is fixed: restore -> [preview -> grade, save -> next batch -> step -> log]. State and data
position are saved together, so a resumed run repeats an uninterrupted one bit for bit.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from etils import epath
from jax.sharding import Mesh

from glober_jax.models.networks import Params
from glober_jax.parallel.compiler_options import compiler_options
from glober_jax.parallel.mesh import batch_sharding, replicated
from glober_jax.parallel.rules import tree_shardings
from glober_jax.progress import Progress
from glober_jax.training.checkpoint import StageCheckpoints
from glober_jax.training.device_batch import device_batch
from glober_jax.training.init_from_pretrained import init_from_pretrained
from glober_jax.training.metric_writer import MetricsWriter
from glober_jax.training.nonfinite_guard import NonfiniteGuard
from glober_jax.training.preemption import Preemption
from glober_jax.training.profiler import Profiler
from glober_jax.training.state import StepFunction, TrainState
from glober_jax.training.step_log import Grading, Preview, StepLog, due
from glober_jax.training.watchdog import Watchdog


@dataclasses.dataclass(frozen=True)
class LoopOptions:
    """How often, in steps, the loop logs, previews and saves; 0 means only at the end.

    Attributes:
      keep_checkpoints: the newest ones are kept, and the best where they are graded.
      max_skipped: after more updates in a row that are not finite, the stage goes back to its
        newest checkpoint and on with later batches; the second time it stops.
      slow_step: a step that takes so many times the running median is reported; 0: none is.
    """

    log_every: int = 50
    preview_every: int = 1000
    checkpoint_every: int = 1000
    keep_checkpoints: int = 2
    max_skipped: int = 10
    slow_step: float = 10.0


@dataclasses.dataclass(frozen=True)
class Stage:
    """A stage, as the loop trains it.

    Attributes:
      create: (constants, given) -> a fresh state; the networks in `given()` as they are. Pure.
      measure: computes the constants from data, once per run; of these `constant_shapes`.
      programs: (first step, pure function (state, frozen, batch) -> (state, metrics)), ascending.
      frozen: parameters that the stage reads and never changes.
      batches: (start) -> this process's rows of the global batches from number `start` on.
      videos: (number) -> the IDs of the videos of that batch, all rows.
    """

    name: str
    total_steps: int
    create: Callable[..., TrainState]
    measure: Callable[[], dict[str, Any]]
    constant_shapes: dict[str, Any]
    programs: tuple[tuple[int, StepFunction], ...]
    frozen: Any
    batches: Callable[[int], Iterator[dict[str, np.ndarray]]]
    preview: Callable[[TrainState], Preview]
    grading: Grading | None = None
    given: Callable[[], Params] = dict
    videos: Callable[[int], Sequence[str]] = lambda number: ()


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
    preemption: Preemption,
    profiled: range = range(0),
) -> TrainState:
    """Trains a stage to its last step, from its newest checkpoint if there is one.

    A trace of the steps in `profiled` goes to the workdir's logs.

    Raises:
      UserError: too many steps were skipped twice, or the checkpoints cannot be used.
      SystemExit: with status 0, after saving, when SIGTERM arrived.
    """
    with StageCheckpoints(workdir, stage.name, config, options.keep_checkpoints) as checkpoints:
        state, start = _restore_or_create(stage, workdir, checkpoints, mesh)
        if start < stage.total_steps:
            loop = _Loop(stage, workdir, checkpoints, options, mesh, writer, start)
            return loop.run(state, preemption, Profiler(epath.Path(workdir) / "logs", profiled))
        if checkpoints.latest_step is None:
            checkpoints.save(start, state)
        return state


class _Loop:
    """The loop over a stage's steps from `start` on."""

    def __init__(
        self,
        stage: Stage,
        workdir: epath.PathLike,
        checkpoints: StageCheckpoints,
        options: LoopOptions,
        mesh: Mesh,
        writer: MetricsWriter,
        start: int,
    ) -> None:
        self._stage, self._workdir, self._checkpoints = stage, workdir, checkpoints
        self._options, self._mesh, self._start = options, mesh, start
        total, first = stage.total_steps, jax.process_index() == 0
        self._progress = Progress(stage.name, total, start, enabled=first)
        self._guard = NonfiniteGuard(
            stage.name, options.max_skipped, stage.videos, workdir, self._progress
        )
        self._watchdog = Watchdog(stage.name, options.slow_step)
        self._log = StepLog(stage.name, options.log_every, writer, self._progress, self._guard)

    def run(self, state: TrainState, preemption: Preemption, profiler: Profiler) -> TrainState:
        """The state after the last step, saved."""
        stage, mesh, watchdog, guard = self._stage, self._mesh, self._watchdog, self._guard
        program_at = compile_programs(stage, mesh)
        first_steps = {first_step for first_step, _ in stage.programs}
        frozen = jax.device_put(stage.frozen, tree_shardings(stage.frozen, mesh))
        with preemption, self._progress, watchdog, profiler:
            step = start = self._start
            guard.resume(start, self._checkpoints.loop_record)
            batches = self._batches(start)
            while step < stage.total_steps:
                watchdog.step(step)
                profiler.step(step, state)
                if step == 0 or (step > start and due(step, self._options.preview_every)):
                    self._preview(step, state)
                watchdog.doing("waiting for the device")
                stopping = preemption.reached()
                if stopping or (step > start and due(step, self._options.checkpoint_every)):
                    self._log.flush()
                    if stopping:
                        self._save(step, state, None)
                        self._checkpoints.wait()
                        preemption.exit(f"SIGTERM: {stage.name} saved at step {step}")
                    # Where steps are being skipped the state may be why.
                    if guard.in_a_row == 0:
                        self._save(step, state, stage.grading)
                watchdog.doing("waiting for data")
                batch = device_batch(next(batches), mesh)
                watchdog.doing("compiling" if step in {start, *first_steps} else "dispatching")
                annotation = jax.profiler.StepTraceAnnotation(stage.name, step_num=step)
                with annotation, jax.transfer_guard("disallow"):
                    state, metrics = program_at(step)(state, frozen, batch)
                step += 1
                watchdog.doing("waiting for the device")
                self._log.step(step, metrics)
                if step == stage.total_steps:
                    self._log.flush()
                if guard.too_many:
                    watchdog.doing("restoring")
                    # There is no room for two states.
                    del state, batches
                    state, start = _restore_or_create(stage, self._workdir, self._checkpoints, mesh)
                    guard.go_back(start)
                    step, batches = start, self._batches(start)
            watchdog.step(step)
            self._preview(step, state)
            self._save(step, state, stage.grading, last=True)
            self._checkpoints.wait()
        return state

    def _preview(self, step: int, state: TrainState) -> None:
        self._watchdog.doing("previewing")
        self._log.preview(step, self._stage.preview(state))

    def _save(
        self, step: int, state: TrainState, grading: Grading | None, last: bool = False
    ) -> None:
        self._watchdog.doing("grading")
        grade = self._log.grade(step, grading, state, last)
        self._watchdog.doing("saving")
        self._checkpoints.save(step, state, grade, self._guard.record())

    def _batches(self, step: int) -> Iterator[dict[str, np.ndarray]]:
        """Batches from `step` on; drops what was logged after it."""
        self._log.forget(step)
        return self._stage.batches(self._guard.batch_at(step))


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
    state = create(stage.measure(), stage.given())
    return init_from_pretrained(state, stage.name, workdir, mesh), 0
