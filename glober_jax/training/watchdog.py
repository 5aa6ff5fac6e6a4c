"""Reports slow or hung steps, with phase and stack, from a background thread of each process."""

import collections
import statistics
import sys
import threading
import time
import traceback
from typing import Self

import jax

from glober_jax.progress import say

# The first steps fill the device's queue, and are not representative.
_WARM_UP = 5
_REMEMBERED = 100
_LEAST_SECONDS = 1.0
# Phases that do not count as part of a step, unless one takes this long.
_LONG_PHASES = frozenset({"compiling", "previewing", "grading", "saving", "restoring"})
_LONG_SECONDS = 600.0
_STACK_LINES = 5


class Watchdog:
    """Watches the steps of a stage; a context manager of the thread that trains."""

    def __init__(self, stage: str, slow_step: float) -> None:
        """A slow step takes `slow_step` times the running median; 0: none is reported."""
        self._stage, self._slow_step = stage, slow_step
        self._number: int | None = None
        # Finished phases of this step, the one under way, and when the next report is due.
        self._seconds: dict[str, float] = {}
        self._phase, self._since = "", 0.0
        self._report_after = self._limit = _LONG_SECONDS
        self._recent: collections.deque[float] = collections.deque(maxlen=_REMEMBERED)
        self._seen = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._watched = threading.get_ident()
        if self._slow_step > 0:
            self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def step(self, number: int) -> None:
        """Step `number` begins; the previous one is complete, and reported if it was slow."""
        self.doing("")
        if self._number is not None:
            seconds = self._counted(self._seconds)
            if self._slow_step > 0 and seconds > self._limit:
                self._report(f"took {seconds:.1f} s", self._seconds)
            self._seen += 1
            if self._seen > _WARM_UP:
                self._recent.append(seconds)
            if len(self._recent) >= _WARM_UP:
                usual = statistics.median(self._recent)
                self._limit = max(self._slow_step * usual, _LEAST_SECONDS)
        self._number, self._seconds, self._report_after = number, {}, self._limit

    def doing(self, phase: str) -> None:
        """Sets the host's phase, until the next call or the next step."""
        now = time.monotonic()
        spent = self._seconds.get(self._phase, 0.0) + now - self._since
        self._seconds = self._seconds | {self._phase: spent}
        self._phase, self._since = phase, now

    def _watch(self) -> None:
        while not self._ended.wait(min(self._limit / 4, 1.0)):
            phase, spent = self._phase, time.monotonic() - self._since
            seconds = self._seconds | {phase: self._seconds.get(phase, 0.0) + spent}
            long = phase in _LONG_PHASES
            counted = spent if long else self._counted(seconds)
            if self._number is None or counted <= max(self._report_after, long * _LONG_SECONDS):
                continue
            # Again when it has taken twice as long.
            self._report_after = 2 * counted
            frame = sys._current_frames().get(self._watched)
            stack = "".join(traceback.format_stack(frame)[-_STACK_LINES:]).rstrip()
            self._report(f"has taken {counted:.1f} s and is not done", seconds, f", at\n{stack}")

    def _counted(self, seconds: dict[str, float]) -> float:
        return sum(value for phase, value in seconds.items() if phase not in _LONG_PHASES)

    def _report(self, what: str, seconds: dict[str, float], where: str = "") -> None:
        spent = ", ".join(
            f"{value:.1f} s {phase}"
            for phase, value in sorted(seconds.items(), key=lambda item: -item[1])
            if value >= 0.05
        )
        usual = f", the median is {statistics.median(self._recent):.2f} s" if self._recent else ""
        now = f"; now {self._phase}" if where else ""
        say(
            f"{self._stage} step {self._number} on process {jax.process_index()} of "
            f"{jax.process_count()} {what}{usual}: {spent}{now}{where}"
        )
