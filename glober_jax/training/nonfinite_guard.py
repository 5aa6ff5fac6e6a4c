"""Counts and reports skipped updates (`apply_if_finite`), and decides on rollback.

Each is a line on stderr and a JSON object in `WORKDIR/logs/skipped.jsonl`: "stage", "step",
"batch" (number in the order of the data), "time", "not_finite" (metrics by name, "nan" or "inf"),
"values" (all metrics, null where not finite) and "videos" (IDs of the whole batch). After too many
in a row the loop resumes from the newest checkpoint with later batches.
"""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from etils import epath

from glober_jax import media
from glober_jax.errors import UserError
from glober_jax.progress import Progress
from glober_jax.training.state import SKIPPED, is_guarded

SKIPPED_FILE = "skipped.jsonl"
# Videos named on stderr.
_MOST_NAMED = 3


class NonfiniteGuard:
    """Counts the skipped steps of a stage: `total` of the run, and the last `in_a_row`.

    Metrics, and so the counts, are the same on all processes.
    """

    def __init__(
        self,
        stage: str,
        most_in_a_row: int,
        videos: Callable[[int], Sequence[str]],
        workdir: epath.PathLike,
        progress: Progress,
    ) -> None:
        """`videos` returns the IDs of a batch by its number, for process 0, which reports."""
        self._stage, self._most, self._videos = stage, most_in_a_row, videos
        self._workdir, self._progress = epath.Path(workdir), progress
        self._file = self._workdir / "logs" / SKIPPED_FILE
        self._records: list[dict[str, Any]] = []
        self._data_offset = 0
        self.total = self.in_a_row = 0
        self._last: tuple[int, str] = (0, "")
        self._went_back_to: int | None = None

    def resume(self, step: int, saved: Mapping[str, int]) -> None:
        """Resumes from a checkpoint with its `record`; drops reports of later batches."""
        self._data_offset = saved.get("data_offset", 0)
        self.total = saved.get("skipped", 0)
        self.in_a_row = min(saved.get("skipped_in_a_row", 0), self._most)
        if jax.process_index() == 0 and self._file.exists():
            records = [json.loads(line) for line in self._file.read_text().splitlines()]
            next_batch = self.batch_at(step)
            self._records = [
                r for r in records if r["stage"] != self._stage or r["batch"] < next_batch
            ]
            if len(self._records) < len(records):
                self._write()

    def record(self) -> dict[str, int]:
        """What a checkpoint stores for `resume`."""
        return {
            "data_offset": self._data_offset,
            "skipped": self.total,
            "skipped_in_a_row": self.in_a_row,
        }

    def batch_at(self, step: int) -> int:
        """The number of the batch of the update from `step` to `step + 1`."""
        return step + self._data_offset

    @property
    def too_many(self) -> bool:
        """Whether the state has to be given up."""
        return self.in_a_row > self._most

    def check(self, step: int, metrics: Mapping[str, jax.Array]) -> None:
        """Counts and reports the update to `step` if it was skipped; may wait for its metrics."""
        if self.too_many:
            return
        if not int(metrics[SKIPPED]):
            self.in_a_row = 0
            return
        self.total += 1
        self.in_a_row += 1
        values = {name: float(value) for name, value in jax.device_get(dict(metrics)).items()}
        finite = {name: math.isfinite(value) for name, value in values.items()}
        broken = {n: str(v) for n, v in values.items() if is_guarded(n) and not finite[n]}
        self._last = step, ", ".join(f"{name} {value}" for name, value in broken.items())
        if jax.process_index() == 0:
            record = {
                "stage": self._stage,
                "step": step,
                "batch": self.batch_at(step - 1),
                "time": round(time.time(), 3),
                "not_finite": broken,
                "values": {n: v if finite[n] else None for n, v in values.items() if n != SKIPPED},
            }
            self._report(record)

    def go_back(self, step: int) -> None:
        """Continues from `step` with later batches; `UserError` the second time from there."""
        last, broken = self._last
        if step == self._went_back_to:
            where = f"its checkpoint of step {step}" if step else "its beginning"
            kept = f" ({self._workdir / self._stage / str(step)} is intact)" if step else ""
            raise UserError(
                f"{self._stage} diverged twice from {where}{kept}, on other batches the second "
                f"time: {self.in_a_row} steps in a row up to step {last} were skipped, {broken}; "
                f"lower config.{self._stage}.optimizer.learning_rate, or look at the videos in "
                f"{self._file}, and run the same command again"
            )
        where = f"the checkpoint of step {step}" if step else "the beginning"
        self._progress.note(
            f"skipped {self.in_a_row} steps in a row: back to {where}, and on with the batches "
            "after those"
        )
        self._went_back_to = step
        self._data_offset += last - step
        self.in_a_row = 0

    def _report(self, record: dict[str, Any]) -> None:
        try:
            videos = list(self._videos(record["batch"]))
        except Exception as error:
            # Training continues without these names.
            videos = [f"cannot be read again: {error}"]
        more = len(videos) - _MOST_NAMED
        self._progress.note(
            f"step {record['step']} skipped: {self._last[1]}; videos "
            f"{', '.join(videos[:_MOST_NAMED])}{f' and {more} more' if more > 0 else ''}, "
            f"see {self._file}"
        )
        self._records.append(record | {"videos": videos})
        self._write()

    def _write(self) -> None:
        lines = "".join(json.dumps(record) + "\n" for record in self._records)
        try:
            media.write_file(self._file, lines.encode())
        except UserError as error:
            # The next report writes all records again.
            self._progress.note(str(error))
