"""The one loop that all stages share.

Its order is fixed: restore -> [preview -> grade, save -> next batch -> step -> log]. State and data
position are therefore always saved together, and a resumed run repeats an uninterrupted one bit
for bit. Where too many steps in a row were skipped, it begins again from restore, with other data.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from etils import epath
from jax.sharding import Mesh

from glober_jax.models.networks import Params
from glober_jax.parallel.agreement import AnyProcess
from glober_jax.parallel.compiler import compiler_options
from glober_jax.parallel.mesh import batch_sharding, replicated
from glober_jax.parallel.rules import tree_shardings
from glober_jax.progress import Progress
from glober_jax.training.checkpoint import StageCheckpoints
from glober_jax.training.device_batch import device_batch
from glober_jax.training.init_from_pretrained import init_from_pretrained
from glober_jax.training.metric_writer import MetricsWriter
from glober_jax.training.nonfinite_guard import SkippedSteps
from glober_jax.training.preemption import StopRequest
from glober_jax.training.state import TrainState
from glober_jax.training.step_log import Grading, Preview, StepLog, due
from glober_jax.training.watchdog import Watchdog

Batch = dict[str, jax.Array]
StepFunction = Callable[[TrainState, Any, Batch], tuple[TrainState, dict[str, jax.Array]]]


@dataclasses.dataclass(frozen=True)
class LoopOptions:
    """How often, in steps, the loop logs, previews and saves; 0 means only at the end.

    The newest `keep_checkpoints` are kept, and the best one where they are graded.

    An update whose loss or gradient is not finite is skipped. Where more than `max_skipped` in a
    row were, the stage goes back to its newest checkpoint, once, and on with the batches after
    those; where that helps no further than to the same place, it stops. A step that takes
    `slow_step` times the running median (0: never) is told on stderr, with what the host did.
    """

    log_every: int = 50
    preview_every: int = 1000
    checkpoint_every: int = 1000
    keep_checkpoints: int = 2
    max_skipped: int = 10
    slow_step: float = 10.0


@dataclasses.dataclass(frozen=True)
class Stage:
    """What the loop needs to know of a stage.

    `create(constants, given)` is pure and makes a fresh state, with the networks in `given()` as
    they are and the others drawn; `measure()` computes the constants from data, once per run;
    `constant_shapes` are their abstract values. `programs` are pure functions
    (state, frozen, batch) -> (state, metrics), each in force from its step on, ascending from 0;
    `frozen` are parameters that the stage reads and never changes. `batches(start)` yields this
    process's rows of the global batches from number `start` on, `videos(number)` the IDs of the
    videos of one, all rows. `preview` looks at a state, for people; `grading` tells which
    checkpoint is best.
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
    stop: StopRequest,
) -> TrainState:
    """Trains a stage to its last step, from its newest checkpoint if there is one.

    Raises:
      UserError: too many steps were skipped twice, or the checkpoints cannot be used.
      SystemExit: with status 0, after saving, when SIGTERM arrived.
    """
    with StageCheckpoints(workdir, stage.name, config, options.keep_checkpoints) as checkpoints:
        state, start = _restore_or_create(stage, workdir, checkpoints, mesh)
        if start >= stage.total_steps:
            if checkpoints.latest_step is None:
                checkpoints.save(start, state)
            return state
        program_at = compile_programs(stage, mesh)
        # The steps at which another program is in force.
        changes = {first_step for first_step, _ in stage.programs}
        frozen = jax.device_put(stage.frozen, tree_shardings(stage.frozen, mesh))
        any_process = AnyProcess(mesh)
        enabled = jax.process_index() == 0
        progress = Progress(stage.name, stage.total_steps, start, enabled=enabled)
        skipped = SkippedSteps(stage.name, options.max_skipped, stage.videos, workdir, progress)
        watchdog = Watchdog(stage.name, options.slow_step)
        log = StepLog(stage.name, options.log_every, writer, progress, skipped)
        with stop, progress, skipped, watchdog:
            skipped.resume(start, checkpoints.loop_record)
            log.forget(start)
            step, batches = start, stage.batches(skipped.batch_at(start))
            while step < stage.total_steps:
                watchdog.step(step)
                if step == 0 or (step > start and due(step, options.preview_every)):
                    watchdog.doing("previewing")
                    log.preview(step, stage.preview(state))
                watchdog.doing("waiting for the device")
                stopping = any_process.lately(stop.requested)
                if stopping or (step > start and due(step, options.checkpoint_every)):
                    log.flush()
                    # Where steps are being skipped the state may be why: kept only if it has to be.
                    if stopping or skipped.in_a_row == 0:
                        watchdog.doing("grading")
                        grade = None if stopping else log.grade(step, stage.grading, state)
                        watchdog.doing("saving")
                        checkpoints.save(step, state, grade, skipped.record())
                    if stopping:
                        checkpoints.wait()
                        stop.exit(f"SIGTERM: {stage.name} saved at step {step}")
                watchdog.doing("waiting for data")
                batch = device_batch(next(batches), mesh)
                watchdog.doing("compiling" if step in {start, *changes} else "dispatching")
                with jax.transfer_guard("disallow"):
                    state, metrics = program_at(step)(state, frozen, batch)
                step += 1
                watchdog.doing("waiting for the device")
                log.step(step, metrics)
                if step == stage.total_steps:
                    log.flush()
                if skipped.too_many:
                    watchdog.doing("restoring")
                    # There is no room for two states.
                    del state, batches
                    state, start = _restore_or_create(stage, workdir, checkpoints, mesh)
                    skipped.go_back(start)
                    log.forget(start)
                    step, batches = start, stage.batches(skipped.batch_at(start))
            watchdog.step(step)
            watchdog.doing("previewing")
            log.preview(step, stage.preview(state))
            watchdog.doing("grading")
            grade = log.grade(step, stage.grading, state, last=True)
            watchdog.doing("saving")
            checkpoints.save(step, state, grade, skipped.record())
            # Who ends here ends the others as well.
            checkpoints.wait()
            stop.requested = any_process.now(stop.requested)
    return state


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
