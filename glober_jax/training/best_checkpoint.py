"""Grades of checkpoints, and the policy by which the newest and the best are kept.

`WORKDIR/grades.json` holds {stage: {step: {"name", "value"}}}.
"""

import dataclasses
import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import jax
from etils import epath
from orbax.checkpoint.checkpoint_managers import preservation_policy

from glober_jax import media
from glober_jax.errors import UserError
from glober_jax.progress import warn


class Grade(NamedTuple):
    """How good a checkpoint is; lower is better."""

    name: str
    value: float


class Grades:
    """The grades of one stage; a step that is saved again replaces its grade."""

    def __init__(self, workdir: epath.PathLike, stage: str) -> None:
        self._file, self._stage = epath.Path(workdir) / "grades.json", stage
        stored = self._read().get(stage, {})
        self._by_step = {int(step): Grade(g["name"], g["value"]) for step, g in stored.items()}

    def put(self, step: int, grade: Grade | None) -> None:
        """Sets a step's grade, or removes it, and writes the file; warns where that fails."""
        if grade == self._by_step.get(step):
            return
        if grade is None:
            del self._by_step[step]
        else:
            self._by_step[step] = grade
        if jax.process_index() == 0:
            grades = {str(step): grade._asdict() for step, grade in self._by_step.items()}
            content = self._read() | {self._stage: grades}
            try:
                media.write_file(self._file, json.dumps(content, indent=2).encode())
            except UserError as error:
                warn(f"the grade of step {step} is not stored: {error}")

    def best(self, steps: Iterable[int]) -> int | None:
        """The best of these steps among grades named like the newest; None if none was graded."""
        graded = {step: self._by_step[step] for step in steps if step in self._by_step}
        # Distances of other numbers of clips do not compare.
        alike = [step for step in graded if graded[step].name == graded[max(graded)].name]
        return min(alike, key=lambda step: graded[step].value, default=None)

    def _read(self) -> dict[str, Any]:
        return json.loads(self._file.read_text()) if self._file.exists() else {}


@dataclasses.dataclass(frozen=True)
class NewestAndBest(preservation_policy.PreservationPolicy):
    """Keeps the newest `count` checkpoints, and the best graded one.

    Orbax's own policy for the best fails where any checkpoint is damaged.
    """

    count: int
    grades: Grades

    def should_preserve(
        self, checkpoints: Sequence[preservation_policy.PolicyCheckpointInfo], **_: Any
    ) -> Sequence[bool]:
        """Whether each checkpoint, oldest first, is kept."""
        steps = [checkpoint.step for checkpoint in checkpoints]
        kept = {*steps[-self.count :], self.grades.best(steps)}
        return [step in kept for step in steps]
