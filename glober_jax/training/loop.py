"""The training loop of all stages.

Its order is fixed: restore -> [preview -> grade, save -> next batch -> step -> log]. State and data
position are saved together, so a resumed run repeats an uninterrupted one bit for bit.
"""

import collections
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Self

import jax
import numpy as np
from etils import epath
from jax.sharding import Mesh

from glober_jax.models.networks import Params
from glober_jax.parallel.compiler_options import compiler_options
from glober_jax.parallel.mesh import batch_sharding, device_batch, replicated
from glober_jax.parallel.multihost import Preemption
from glober_jax.parallel.rules import tree_shardings
from glober_jax.progress import Progress
from glober_jax.training.best_checkpoint import Grade
from glober_jax.training.checkpoint import StageCheckpoints
from glober_jax.training.init_from_pretrained import init_from_pretrained
from glober_jax.training.metric_writer import MetricsWriter
from glober_jax.training.nonfinite_guard import NonfiniteGuard
from glober_jax.training.state import SKIPPED, StepFunction, TrainState
from glober_jax.training.watchdog import Watchdog

# Steps between dispatching an update and reading its metrics, so that logging never blocks.
_LAG = 2
Metrics = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class LoopOptions:
    """How often, in steps, the loop logs, previews and saves; 0 means only at the end.

    The fresh state is previewed too.

    Attributes:
      keep_checkpoints: how many of the newest are kept, besides the best where they are graded.
      max_skipped: after more updates in a row that are not finite, the stage resumes from its
        newest checkpoint with later batches; the second time it stops.
      slow_step: a step that takes this many times the running median is reported; 0: never.
    """

    log_every: int = 50
    preview_every: int = 1000
    checkpoint_every: int = 1000
    keep_checkpoints: int = 2
    max_skipped: int = 10
    slow_step: float = 10.0


class Preview(NamedTuple):
    """Scores of a state and uint8 [H, W, 3] images, by name."""

    scalars: dict[str, float]
    images: dict[str, np.ndarray]


class Grading(NamedTuple):
    """How a saved state is graded, at steps that are multiples of `every`."""

    every: int
    grade: Callable[[TrainState], Grade]


@dataclasses.dataclass(frozen=True)
class Stage:
    """A stage, as the loop trains it.

    Attributes:
      create: pure (constants, given) -> a fresh state; `given()` are networks to start with.
      measure: computes the constants from data, once per run; they have `constant_shapes`.
      programs: (first step, pure function (state, frozen, batch) -> (state, metrics)), ascending.
      frozen: parameters that the stage reads and never changes.
      batches: (start) -> this process's rows of the global batches from number `start` on.
      videos: (number) -> the video IDs of that batch, all rows.
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


def jit_program(program: StepFunction, state: TrainState, frozen: Any, mesh: Mesh) -> Any:
    """A stage's program as `main` and `plan` compile it: state sharded and donated.

    Arrays may be abstract. Compiled when it is first called.
    """
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
        loop = _Loop(stage, workdir, checkpoints, options, mesh, writer)
        state, start = loop.restore_or_create()
        if start < stage.total_steps:
            return loop.run(state, start, preemption, profiled)
        if checkpoints.latest_step is None:
            checkpoints.save(start, state)
        return state


@dataclasses.dataclass
class _Loop:
    """The loop over a stage's steps."""

    stage: Stage
    workdir: epath.PathLike
    checkpoints: StageCheckpoints
    options: LoopOptions
    mesh: Mesh
    writer: MetricsWriter

    def restore_or_create(self) -> tuple[TrainState, int]:
        """(state, step) of the newest checkpoint, or at step 0."""
        stage, mesh, checkpoints = self.stage, self.mesh, self.checkpoints
        abstract = jax.eval_shape(stage.create, stage.constant_shapes)
        if checkpoints.latest_step is not None:
            return checkpoints.restore(abstract, mesh), checkpoints.latest_step
        # Runs once: optimising hundreds of small initialisers takes longer than training on a CPU.
        quick = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else {}
        shardings = tree_shardings(abstract, mesh)
        create = jax.jit(stage.create, out_shardings=shardings, compiler_options=quick)
        state = create(stage.measure(), stage.given())
        return init_from_pretrained(state, stage.name, self.workdir, mesh), 0

    def run(
        self, state: TrainState, start: int, preemption: Preemption, profiled: range
    ) -> TrainState:
        """The state after the last step, saved."""
        stage, mesh, options = self.stage, self.mesh, self.options
        enabled = jax.process_index() == 0
        self._progress = Progress(stage.name, stage.total_steps, start, enabled=enabled)
        self._guard = guard = NonfiniteGuard(
            stage.name, options.max_skipped, stage.videos, self.workdir, self._progress
        )
        # (step, metrics) of updates that may still be computed.
        self._pending: collections.deque[tuple[int, Metrics]] = collections.deque()
        self._watchdog = watchdog = Watchdog(stage.name, options.slow_step)
        profiler = Profiler(epath.Path(self.workdir) / "logs", profiled)
        abstract = jax.eval_shape(stage.create, stage.constant_shapes)
        programs = {
            first_step: jit_program(program, abstract, stage.frozen, mesh)
            for first_step, program in stage.programs
        }
        frozen = jax.device_put(stage.frozen, tree_shardings(stage.frozen, mesh))
        with preemption, self._progress, watchdog, profiler:
            step = start
            guard.resume(start, self.checkpoints.loop_record)
            batches = self._batches(start)
            while step < stage.total_steps:
                watchdog.step(step)
                profiler.step(step, state)
                if step == 0 or (step > start and due(step, options.preview_every)):
                    self._preview(step, state)
                watchdog.doing("waiting for the device")
                stopping = preemption.reached()
                if stopping or (step > start and due(step, options.checkpoint_every)):
                    self._log_metrics(0)
                    if stopping:
                        self._save(step, state)
                        self.checkpoints.wait()
                        preemption.exit(f"SIGTERM: {stage.name} saved at step {step}")
                    # Where steps are being skipped the state may be why.
                    if guard.in_a_row == 0:
                        self._save(step, state, stage.grading)
                watchdog.doing("waiting for data")
                batch = device_batch(next(batches), mesh)
                watchdog.doing("compiling" if step in {start, *programs} else "dispatching")
                program = programs[max(first for first in programs if first <= step)]
                annotation = jax.profiler.StepTraceAnnotation(stage.name, step_num=step)
                with annotation, jax.transfer_guard("disallow"):
                    state, metrics = program(state, frozen, batch)
                step += 1
                watchdog.doing("waiting for the device")
                metrics[SKIPPED].copy_to_host_async()
                self._pending.append((step, metrics))
                self._log_metrics(_LAG if step < stage.total_steps else 0)
                if guard.too_many:
                    watchdog.doing("restoring")
                    # There is no room for two states.
                    del state, batches
                    state, start = self.restore_or_create()
                    guard.go_back(start)
                    step, batches = start, self._batches(start)
            watchdog.step(step)
            self._preview(step, state)
            self._save(step, state, stage.grading, last=True)
            self.checkpoints.wait()
        return state

    def _log_metrics(self, lag: int) -> None:
        """Checks metrics of all but the last `lag` steps; logs them where due.

        With lag 0 those of the newest step are always logged.
        """
        while len(self._pending) > lag:
            step, metrics = self._pending.popleft()
            self._guard.check(step, metrics)
            newest = lag == 0 and not self._pending
            if newest or due(step, self.options.log_every):
                values = {name: float(value) for name, value in jax.device_get(metrics).items()}
                del values[SKIPPED]
                if self._guard.total:
                    values["skipped_steps"] = self._guard.total
                self.writer.write_scalars(self.stage.name, step, values)
                self._progress.update(step, values)

    def _preview(self, step: int, state: TrainState) -> None:
        self._watchdog.doing("previewing")
        name, preview = self.stage.name, self.stage.preview(state)
        if preview.scalars:
            self.writer.write_scalars(name, step, preview.scalars)
            listed = ", ".join(f"{key} {value:.4g}" for key, value in preview.scalars.items())
            self._progress.note(f"after step {step}: {listed}")
        for key, image in preview.images.items():
            self.writer.write_image(name, step, key, image)

    def _save(
        self, step: int, state: TrainState, grading: Grading | None = None, last: bool = False
    ) -> None:
        """Saves the state, graded where that is due."""
        grade = None
        if grading is not None and (last or due(step, grading.every)):
            self._watchdog.doing("grading")
            grade = grading.grade(state)
            self.writer.write_scalars(self.stage.name, step, {grade.name: grade.value})
            self._progress.note(f"after step {step}: graded {grade.name} {grade.value:.4g}")
        self._watchdog.doing("saving")
        self.checkpoints.save(step, state, grade, self._guard.record())

    def _batches(self, step: int) -> Iterator[dict[str, np.ndarray]]:
        """Batches from `step` on; drops metrics of later steps."""
        self._pending.clear()
        self.writer.discard_after(self.stage.name, step if step > 0 else -1)
        return self.stage.batches(self._guard.batch_at(step))


def due(step: int, every: int) -> bool:
    """Whether `step` is a multiple of `every`; never for 0."""
    return every > 0 and step % every == 0


class Profiler:
    """Traces `steps` for TensorBoard's profile viewer; a context manager.

    The trace begins and ends at a step boundary, where the device has nothing left to do.
    """

    def __init__(self, logs: epath.Path, steps: range) -> None:
        self._logs, self._steps, self._running = logs, steps, False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._running:
            jax.profiler.stop_trace()

    def step(self, number: int, state: TrainState) -> None:
        """Step `number` begins with `state`, which the step before may still compute."""
        if (number in self._steps) == self._running:
            return
        jax.block_until_ready(state)
        if self._running:
            jax.profiler.stop_trace()
        else:
            jax.profiler.start_trace(self._logs)
        self._running = not self._running
