"""Metrics of finished steps: checked at every step, written where that is due."""

import collections
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import numpy as np

from glober_jax.progress import Progress
from glober_jax.training.best_checkpoint import Grade
from glober_jax.training.metric_writer import MetricsWriter
from glober_jax.training.nonfinite_guard import NonfiniteGuard
from glober_jax.training.state import SKIPPED, TrainState

# Steps between dispatching an update and reading its metrics.
_LAG = 2


def due(step: int, every: int) -> bool:
    """Whether something done every `every` steps, never for 0, is done at this one."""
    return every > 0 and step % every == 0


class Preview(NamedTuple):
    """Scores of the current state, and uint8 [H, W, 3] images, by name."""

    scalars: dict[str, float]
    images: dict[str, np.ndarray]


class Grading(NamedTuple):
    """How often, in steps, a checkpoint is graded, and by what; saving has to be due as well."""

    every: int
    grade: Callable[[TrainState], Grade]


class StepLog:
    """Buffers metrics for two steps, so that logging never blocks on the device."""

    def __init__(
        self,
        stage: str,
        every: int,
        writer: MetricsWriter,
        progress: Progress,
        guard: NonfiniteGuard,
    ) -> None:
        """Every `every` steps metrics are written; `guard` checks all."""
        self._stage, self._every = stage, every
        self._writer, self._progress, self._guard = writer, progress, guard
        self._pending: collections.deque[tuple[int, Mapping[str, jax.Array]]] = collections.deque()

    def step(self, step: int, metrics: Mapping[str, jax.Array]) -> None:
        """Takes the metrics of the update that leads to `step`, which may be under way."""
        metrics[SKIPPED].copy_to_host_async()
        self._pending.append((step, metrics))
        while len(self._pending) > _LAG:
            self._handle(*self._pending.popleft())

    def flush(self) -> None:
        """Waits for all steps; writes the newest, whether that is due or not."""
        while self._pending:
            self._handle(*self._pending.popleft(), newest=not self._pending)

    def forget(self, step: int) -> None:
        """Drops the steps after `step`, which are trained anew."""
        self._pending.clear()
        self._writer.discard_after(self._stage, step if step > 0 else -1)

    def preview(self, step: int, preview: Preview) -> None:
        """Writes and shows a preview of the state after `step`."""
        if preview.scalars:
            self._writer.write_scalars(self._stage, step, preview.scalars)
            listed = ", ".join(f"{name} {value:.4g}" for name, value in preview.scalars.items())
            self._progress.note(f"after step {step}: {listed}")
        for name, image in preview.images.items():
            self._writer.write_image(self._stage, step, name, image)

    def grade(
        self, step: int, grading: Grading | None, state: TrainState, last: bool = False
    ) -> Grade | None:
        """The state's grade, written and shown; None where none is due."""
        if grading is None or not (last or due(step, grading.every)):
            return None
        grade = grading.grade(state)
        self._writer.write_scalars(self._stage, step, {grade.name: grade.value})
        self._progress.note(f"after step {step}: graded {grade.name} {grade.value:.4g}")
        return grade

    def _handle(self, step: int, metrics: Mapping[str, jax.Array], newest: bool = False) -> None:
        self._guard.check(step, metrics)
        if not (newest or due(step, self._every)):
            return
        values = {name: float(value) for name, value in jax.device_get(dict(metrics)).items()}
        del values[SKIPPED]
        if self._guard.total:
            values["skipped_steps"] = self._guard.total
        self._writer.write_scalars(self._stage, step, values)
        self._progress.update(step, values)
