"""Skipped steps: those whose loss or gradient was not finite, see `TrainState.apply_if_finite`.

Each is told on stderr and written to `WORKDIR/logs/skipped.jsonl`, one JSON object a line: "stage",
"step" (as in the metrics), "batch" (its number in the order of the data), "time", "not_finite" (the
guarded metrics that were not, by name, as "nan" or "inf"), "values" (all metrics, null where not
finite) and "videos" (the IDs of the whole batch, of all processes). When too many in a row are
skipped, the fault may be the state's as well as the data's: then the loop goes back to the newest
checkpoint, and on with the batches that come after those that were skipped.
"""

import concurrent.futures
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import jax
from etils import epath

from glober_jax import media
from glober_jax.errors import UserError
from glober_jax.progress import Progress
from glober_jax.training.state import SKIPPED, is_guarded

SKIPPED_FILE = "skipped.jsonl"
# Videos named on stderr.
_MOST_NAMED = 3


class SkippedSteps:
    """Counts the skipped steps of a stage; used as a context manager, closing ends all reports.

    A function of the metrics, which are the same on all processes: all decide alike.

    Attributes:
      total: how many steps were skipped, in the run's whole history.
      in_a_row: how many of the last steps.
    """

    def __init__(
        self,
        stage: str,
        most_in_a_row: int,
        videos: Callable[[int], Sequence[str]],
        workdir: epath.PathLike,
        progress: Progress,
    ) -> None:
        """`videos` gives the IDs of a batch by its number; process 0 asks for them and reports."""
        self._stage, self._most, self._videos = stage, most_in_a_row, videos
        self._workdir, self._progress = epath.Path(workdir), progress
        self._file = self._workdir / "logs" / SKIPPED_FILE
        # Videos are read again to be named, and nobody has to wait for that.
        self._reports = concurrent.futures.ThreadPoolExecutor(max_workers=1)
        self._lines: list[str] = []
        self._data_offset = 0
        self.total = self.in_a_row = 0
        self._last: tuple[int, dict[str, str]] = (0, {})
        self._went_back_to: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._reports.shutdown()

    def resume(self, step: int, saved: Mapping[str, int]) -> None:
        """Goes on from the checkpoint of `step`, with which `saved`, its `record`, was kept.

        What an earlier process wrote about later batches is dropped: they come again.
        """
        self._data_offset = saved.get("data_offset", 0)
        self.total = saved.get("skipped", 0)
        self.in_a_row = min(saved.get("skipped_in_a_row", 0), self._most)
        if jax.process_index() == 0 and self._file.exists():
            lines = self._file.read_text().splitlines(keepends=True)
            self._lines = [line for line in lines if self._is_past(line, self.batch_at(step))]
            if len(self._lines) < len(lines):
                media.write_file(self._file, "".join(self._lines).encode())

    def record(self) -> dict[str, int]:
        """What has to be kept with a checkpoint, for a run that goes on to do the same.

        What came before is reported when this returns: it does not come again.
        """
        self._finish_reports()
        return {
            "data_offset": self._data_offset,
            "skipped": self.total,
            "skipped_in_a_row": self.in_a_row,
        }

    def batch_at(self, step: int) -> int:
        """The number of the batch that the update from `step` to `step + 1` learns from."""
        return step + self._data_offset

    @property
    def too_many(self) -> bool:
        """Whether the state has to be given up."""
        return self.in_a_row > self._most

    def saw(self, step: int, metrics: Mapping[str, jax.Array]) -> None:
        """Looks at the metrics of the update that led to `step`; waits for them if need be."""
        if self.too_many:
            return
        if not int(metrics[SKIPPED]):
            self.in_a_row = 0
            return
        self.total += 1
        self.in_a_row += 1
        values = {name: float(value) for name, value in jax.device_get(dict(metrics)).items()}
        broken = {
            name: str(value)
            for name, value in values.items()
            if is_guarded(name) and not math.isfinite(value)
        }
        self._last = step, broken
        if jax.process_index() == 0:
            record = {
                "stage": self._stage,
                "step": step,
                "batch": self.batch_at(step - 1),
                "time": round(time.time(), 3),
                "not_finite": broken,
                "values": {
                    name: value if math.isfinite(value) else None
                    for name, value in values.items()
                    if name != SKIPPED
                },
            }
            self._reports.submit(self._report, record)

    def go_back(self, step: int) -> None:
        """Forgets the updates after `step`, whose state is restored; other batches come next.

        Raises:
          UserError: so it was before, and no later state was saved since.
        """
        last, broken = self._last
        self._finish_reports()
        if step == self._went_back_to:
            where = f"its checkpoint of step {step}" if step else "its beginning"
            kept = f" ({self._workdir / self._stage / str(step)} is intact)" if step else ""
            raise UserError(
                f"{self._stage} diverged twice from {where}{kept}, on other batches the second "
                f"time: {self.in_a_row} steps in a row up to step {last} were skipped, "
                f"{_listed(broken)}; lower config.{self._stage}.optimizer.learning_rate, or look "
                f"at the videos in {self._file}, and run the same command again"
            )
        self._progress.note(
            f"skipped {self.in_a_row} steps in a row: back to "
            f"{f'the checkpoint of step {step}' if step else 'the beginning'}, and on with the "
            "batches after those"
        )
        self._went_back_to = step
        self._data_offset += last - step
        self.in_a_row = 0

    def _finish_reports(self) -> None:
        self._reports.submit(lambda: None).result()

    def _report(self, record: dict[str, Any]) -> None:
        try:
            videos = list(self._videos(record["batch"]))
        except Exception as error:
            # No reason to end a run: it reads these videos no more.
            videos = [f"cannot be read again: {error}"]
        named = ", ".join(videos[:_MOST_NAMED])
        more = len(videos) - _MOST_NAMED
        self._progress.note(
            f"step {record['step']} skipped: {_listed(record['not_finite'])}; videos {named}"
            f"{f' and {more} more' if more > 0 else ''}, see {self._file}"
        )
        self._lines.append(json.dumps(record | {"videos": videos}) + "\n")
        try:
            media.write_file(self._file, "".join(self._lines).encode())
        except UserError as error:
            # A full disk, for one: all lines are kept, and written with the next.
            self._progress.note(str(error))

    def _is_past(self, line: str, batch: int) -> bool:
        record = json.loads(line)
        return record["stage"] != self._stage or record["batch"] < batch


def _listed(broken: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in broken.items())
