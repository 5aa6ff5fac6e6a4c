"""A run's numbers and pictures: TensorBoard events and JSON lines.

`logs/metrics.jsonl` holds one JSON object per line: "stage" (str), "step" (int), "time" (Unix
seconds) and the values by name. A value that is not finite is null: NaN and Infinity are not
JSON. Dimension key of array names: H height, W width, C = 3 channels (RGB).
"""

import contextlib
import json
import math
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Self

import numpy as np
from etils import epath

from glober_jax import media
from glober_jax.errors import UserError
from glober_jax.progress import warn
from glober_jax.training.event_files import EventFiles

METRICS_FILE = "metrics.jsonl"
_RESERVED = frozenset({"stage", "step", "time"})
_SECONDS_BETWEEN_UPLOADS = 300.0


def read_metrics(path: epath.PathLike) -> list[dict[str, Any]]:
    """The objects of a metrics file in file order; [] when there is none.

    Lines that are not whole JSON objects, left by a process that was killed while writing,
    are skipped.
    """
    path = epath.Path(path)
    if not path.exists():
        return []
    records = (_parse_line(line) for line in path.read_bytes().split(b"\n"))
    return [record for record in records if record is not None]


class MetricsWriter:
    """Appends to a run's `logs/` folder; used as a context manager.

    A local folder is written to directly, every line at once, so it survives `kill -9`. Where that
    fails, on a full disk for one, a warning says so: lines wait until they can be written, points
    and pictures for TensorBoard are lost.
    A remote one (`gs://`) cannot be appended to: its files grow in a temporary local folder and
    are uploaded every five minutes and at the end.
    """

    def __init__(self, folder: epath.PathLike, *, enabled: bool) -> None:
        """Opens the folder, made when missing, and drops a line torn by an earlier kill.

        Args:
          folder: the run's log folder.
          enabled: False on every process but the first, which alone writes; all methods then
            do nothing.

        Raises:
          UserError: the folder cannot be written.
        """
        self._enabled = enabled
        if not enabled:
            return
        self._folder = epath.Path(folder)
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._uploaded_at = time.monotonic()
        local = self._folder
        if "://" in str(folder):
            self._scratch = tempfile.TemporaryDirectory(prefix="glober_jax_logs_")
            local = epath.Path(self._scratch.name)
        self._lines_path = local / METRICS_FILE
        self._lines = self._replace_lines(read_metrics(self._folder / METRICS_FILE))
        self._unwritten = b""
        self._events = EventFiles(Path(local))
        self._failing = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def discard_after(self, stage: str, step: int) -> None:
        """Forgets what `stage` logged after `step`, the step a resumed run goes on from.

        After a kill the log is ahead of the newest checkpoint, and the steps in between are
        about to be logged again. The file is replaced atomically. TensorBoard needs nothing:
        it drops a tag's later points itself when that tag's step goes back.
        """
        if not self._enabled:
            return
        self._lines.close()
        records = read_metrics(self._lines_path)
        kept = [r for r in records if r["stage"] != stage or r["step"] <= step]
        self._lines = self._replace_lines(kept)

    def write_scalars(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Logs values: one JSON line, and TensorBoard's tag `stage/name` for each finite one.

        Args:
          stage: such as "autoencoder".
          step: the number of finished updates of this stage.
          values: name to number; anything `float` takes, so 0-d arrays too.

        Raises:
          ValueError: a name is one of "stage", "step", "time".
        """
        if not self._enabled:
            return
        if clash := _RESERVED & values.keys():
            raise ValueError(f"metrics may not be named {sorted(clash)}")
        numbers = {name: float(value) for name, value in values.items()}
        record = {"stage": stage, "step": int(step), "time": round(time.time(), 3)}
        record |= {name: x if math.isfinite(x) else None for name, x in numbers.items()}
        self._unwritten += _to_line(record)
        with self._going_on():
            self._write_lines()
            for name, number in numbers.items():
                if math.isfinite(number):
                    self._events.add_scalar(f"{stage}/{name}", number, step)
            self._upload_when_due()

    def write_image(self, stage: str, step: int, name: str, image_HWC: np.ndarray) -> None:
        """Shows a uint8 [H, W, 3] image in TensorBoard under the tag `stage/name`."""
        if not self._enabled:
            return
        with self._going_on():
            self._events.add_image(f"{stage}/{name}", image_HWC, step)
            self._upload_when_due()

    def close(self) -> None:
        """Flushes, uploads and closes everything; further writes are errors."""
        if not self._enabled:
            return
        with self._going_on():
            self._write_lines()
            self._events.close()
            if self._scratch is not None:
                self._upload()
        self._lines.close()
        if self._scratch is not None:
            self._scratch.cleanup()

    @contextlib.contextmanager
    def _going_on(self) -> Iterator[None]:
        """A log that cannot be written does not end a run; of failures in a row the first warns."""
        try:
            yield
            self._failing = False
        except (OSError, UserError) as error:
            if not self._failing:
                why = error.strerror if isinstance(error, OSError) else error
                warn(f"the log in {self._folder} cannot be written ({why}); training goes on")
            self._failing = True

    def _write_lines(self) -> None:
        while self._unwritten:
            # Unbuffered: what did not fit on the disk is still here, and written later.
            self._unwritten = self._unwritten[self._lines.write(self._unwritten) :]

    def _replace_lines(self, records: list[dict[str, Any]]) -> IO[bytes]:
        """Makes `records` the whole file, atomically, and opens it for appending."""
        media.write_file(self._lines_path, b"".join(_to_line(record) for record in records))
        return open(self._lines_path, "ab", buffering=0)

    def _upload_when_due(self) -> None:
        due = time.monotonic() - self._uploaded_at >= _SECONDS_BETWEEN_UPLOADS
        if self._scratch is not None and due:
            self._upload()

    def _upload(self) -> None:
        for file in self._lines_path.parent.iterdir():
            media.write_file(self._folder / file.name, file.read_bytes())
        self._uploaded_at = time.monotonic()


def _to_line(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record, allow_nan=False).encode() + b"\n"


def _parse_line(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    whole = isinstance(record, dict) and record.keys() >= _RESERVED
    return record if whole else None
