"""TensorBoard's event files, written so that a full disk costs points of a curve and no more.

tensorboardX's own writer has a thread that a failed write ends; whoever logs then waits for ever.
"""

import contextlib
import time
from pathlib import Path

import numpy as np
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event

_SECONDS_BETWEEN_FLUSHES = 10.0


class EventFiles:
    """Appends to an event file in a local folder, or, after a write that failed, to a new one.

    What is not flushed yet, at most ten seconds, is lost when the process is killed. All methods
    raise OSError where the disk fails; they can be called again.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: EventsWriter | None = None
        self._flushed_at = 0.0

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        self._add(Event(step=step, summary=summary.scalar(tag, value)))

    def add_image(self, tag: str, image_HWC: np.ndarray, step: int) -> None:
        """Adds a uint8 [H, W, 3] image."""
        self._add(Event(step=step, summary=summary.image(tag, image_HWC, dataformats="HWC")))

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _add(self, event: Event) -> None:
        event.wall_time = time.time()
        try:
            if self._file is None:
                # tensorboardX names a file by the second: a quick restart would overwrite it.
                prefix, suffix = str(self._folder / "events"), f".{time.time_ns()}"
                self._file = EventsWriter(prefix, suffix)
            self._file.write_event(event)
            if time.monotonic() - self._flushed_at > _SECONDS_BETWEEN_FLUSHES:
                self._file.flush()
                self._flushed_at = time.monotonic()
        except OSError:
            # TensorBoard reads a file up to the first record that is torn.
            if self._file is not None:
                with contextlib.suppress(OSError):
                    self._file.close()
            self._file = None
            raise
