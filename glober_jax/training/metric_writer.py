"""A run's metrics and images: JSON lines and TensorBoard events.

Each line of `logs/metrics.jsonl` has "stage" (str), "step" (int), "time" (Unix seconds) and values
by name, null where not finite. tensorboardX's own writer blocks for ever after a failed write.
"""

import contextlib
import json
import math
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from etils import epath
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event

from glober_jax import media
from glober_jax.errors import UserError
from glober_jax.progress import warn

METRICS_FILE = "metrics.jsonl"
_SECONDS_BETWEEN_FLUSHES = 10.0
_SECONDS_BETWEEN_UPLOADS = 300.0


def read_metrics(path: epath.PathLike) -> list[dict[str, Any]]:
    """The objects of a metrics file, without a line torn by a kill; [] if there is no file."""
    path, records = epath.Path(path), []
    for line in path.read_bytes().splitlines() if path.exists() else ():
        with contextlib.suppress(ValueError):
            records.append(json.loads(line))
    return records


class MetricsWriter:
    """Appends to a run's `logs/` folder; a context manager.

    A local folder is written to at once, so that lines survive `kill -9`. Where that fails (a full
    disk), it warns once and keeps lines for later, but drops TensorBoard's events. Files of a
    remote folder (`gs://`) are uploaded every five minutes and at the end.
    """

    def __init__(self, folder: epath.PathLike, *, enabled: bool) -> None:
        """Raises `UserError` if the folder cannot be written; unless `enabled`, does nothing."""
        self._enabled = enabled
        if not enabled:
            return
        self._folder = epath.Path(folder)
        self._scratch = tempfile.TemporaryDirectory() if "://" in str(folder) else None
        self._local = Path(self._scratch.name if self._scratch else folder)
        self._unwritten = b""
        self._events: EventsWriter | None = None
        self._flushed_at = self._uploaded_at = time.monotonic()
        self._failing = False
        self._replace_lines(read_metrics(self._folder / METRICS_FILE))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if not self._enabled:
            return
        self._flushed_at = self._uploaded_at = -math.inf
        self._write(())
        self._close_events()
        if self._scratch is not None:
            self._scratch.cleanup()

    def discard_after(self, stage: str, step: int) -> None:
        """Drops, atomically, the lines of `stage` after `step`, from which a run resumes.

        TensorBoard itself drops a tag's later points when its step goes back.
        """
        if self._enabled:
            records = read_metrics(self._local / METRICS_FILE)
            self._replace_lines([r for r in records if r["stage"] != stage or r["step"] <= step])

    def write_scalars(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Logs values after `step` updates: a JSON line, and TensorBoard's tags `stage/name`."""
        if not self._enabled:
            return
        numbers = {name: float(value) for name, value in values.items()}
        record = {"stage": stage, "step": int(step), "time": round(time.time(), 3)}
        record |= {name: x if math.isfinite(x) else None for name, x in numbers.items()}
        self._unwritten += _to_line(record)
        self._write(
            Event(step=step, summary=summary.scalar(f"{stage}/{name}", number))
            for name, number in numbers.items()
            if math.isfinite(number)
        )

    def write_image(self, stage: str, step: int, name: str, image_HWC: np.ndarray) -> None:
        """Shows a uint8 [H, W, 3] image in TensorBoard under the tag `stage/name`."""
        if self._enabled:
            image = summary.image(f"{stage}/{name}", image_HWC, dataformats="HWC")
            self._write([Event(step=step, summary=image)])

    def _write(self, events: Iterable[Event]) -> None:
        """Writes waiting lines and these events; reports the first of failures in a row."""
        now = time.monotonic()
        try:
            with open(self._local / METRICS_FILE, "ab", buffering=0) as lines:
                while self._unwritten:
                    self._unwritten = self._unwritten[lines.write(self._unwritten) :]
            for event in events:
                event.wall_time = time.time()
                if self._events is None:
                    # The default suffix, in seconds, may be that of the run before.
                    prefix, suffix = str(self._local / "events"), f".{time.time_ns()}"
                    self._events = EventsWriter(prefix, suffix)
                self._events.write_event(event)
            if self._events is not None and now - self._flushed_at > _SECONDS_BETWEEN_FLUSHES:
                self._events.flush()
                self._flushed_at = now
            if self._scratch is not None and now - self._uploaded_at > _SECONDS_BETWEEN_UPLOADS:
                for file in self._local.iterdir():
                    media.write_file(self._folder / file.name, file.read_bytes())
                self._uploaded_at = now
            self._failing = False
        except (OSError, UserError) as error:
            # TensorBoard reads a file up to a torn record: the next event begins a new file.
            self._close_events()
            if not self._failing:
                why = error.strerror if isinstance(error, OSError) else error
                warn(f"the log in {self._folder} cannot be written ({why}); training goes on")
            self._failing = True

    def _close_events(self) -> None:
        if self._events is not None:
            with contextlib.suppress(OSError):
                self._events.close()
            self._events = None

    def _replace_lines(self, records: list[dict[str, Any]]) -> None:
        media.write_file(self._local / METRICS_FILE, b"".join(map(_to_line, records)))


def _to_line(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record, allow_nan=False).encode() + b"\n"
