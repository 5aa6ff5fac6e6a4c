"""A run's numbers and pictures: TensorBoard events and JSON lines.

`logs/metrics.jsonl` holds one JSON object per line: "stage" (str), "step" (int), "time" (Unix
seconds) and the values by name. A value that is not finite is null: NaN and Infinity are not
JSON. Dimension key of array names: H height, W width, C = 3 channels (RGB).
"""

import json
import math
import tempfile
import time
from collections.abc import Mapping
from typing import IO, Any, Self

import numpy as np
from etils import epath
from tensorboardX import SummaryWriter

from glober_jax import media

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

    A local folder is written to directly and every line is flushed, so it survives `kill -9`.
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
        # tensorboardX names the file by the second: a quick restart would overwrite it.
        suffix = f".{time.time_ns()}"
        self._events = SummaryWriter(str(local), flush_secs=10, filename_suffix=suffix)

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
        self._lines.write(_to_line(record))
        self._lines.flush()
        for name, number in numbers.items():
            if math.isfinite(number):
                self._events.add_scalar(f"{stage}/{name}", number, step)
        self._upload_when_due()

    def write_image(self, stage: str, step: int, name: str, image_HWC: np.ndarray) -> None:
        """Shows a uint8 [H, W, 3] image in TensorBoard under the tag `stage/name`."""
        if not self._enabled:
            return
        self._events.add_image(f"{stage}/{name}", image_HWC, step, dataformats="HWC")
        self._upload_when_due()

    def close(self) -> None:
        """Flushes, uploads and closes everything; further writes are errors."""
        if not self._enabled:
            return
        self._lines.close()
        self._events.close()
        if self._scratch is not None:
            self._upload()
            self._scratch.cleanup()

    def _replace_lines(self, records: list[dict[str, Any]]) -> IO[str]:
        """Makes `records` the whole file, atomically, and opens it for appending."""
        text = "".join(_to_line(record) for record in records)
        media.write_file(self._lines_path, text.encode())
        return self._lines_path.open("a")

    def _upload_when_due(self) -> None:
        due = time.monotonic() - self._uploaded_at >= _SECONDS_BETWEEN_UPLOADS
        if self._scratch is not None and due:
            self._upload()

    def _upload(self) -> None:
        for file in self._lines_path.parent.iterdir():
            media.write_file(self._folder / file.name, file.read_bytes())
        self._uploaded_at = time.monotonic()


def _to_line(record: Mapping[str, Any]) -> str:
    return json.dumps(record, allow_nan=False) + "\n"


def _parse_line(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    whole = isinstance(record, dict) and record.keys() >= _RESERVED
    return record if whole else None
