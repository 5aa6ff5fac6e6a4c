"""Says on stderr when a step takes far longer than the others, also while it still does.

Every process watches itself, so of a pod that hangs each host says where it is. What the host does
is told in phases; a thread looks at them, for whoever hangs cannot tell. (The timer of Python's
`faulthandler` knows no phases, and starts a thread for every step.)
"""

import collections
import dataclasses
import statistics
import sys
import threading
import time
import traceback
from typing import Self

import jax
from tqdm import tqdm

# The first steps fill the device's queue, and are no measure.
_WARM_UP = 5
_REMEMBERED = 100
# No step is slow that takes less, however fast the others are.
_LEAST_SECONDS = 1.0
# These may take so long, each, and do not count as part of a step; so long may the first steps be.
_LONG_PHASES = frozenset({"compiling", "previewing", "grading", "saving", "restoring"})
_LONG_SECONDS = 600.0
_STACK_LINES = 5


@dataclasses.dataclass
class _Step:
    """A step in progress: seconds of finished phases, and the phase that it is in, if any."""

    number: int
    began: float
    report_after: float = 0.0
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)
    exempt: float = 0.0
    phase: tuple[str, float] | None = None

    def end_phase(self, now: float) -> None:
        if self.phase is None:
            return
        name, since = self.phase
        self.seconds[name] = self.seconds.get(name, 0.0) + now - since
        if name in _LONG_PHASES:
            self.exempt += now - since
        self.phase = None

    def overdue(self, limit: float, now: float) -> float:
        """How many seconds too long it has taken; long phases have their own limit."""
        counted, phase = now - self.began - self.exempt, self.phase
        if phase is None or phase[0] not in _LONG_PHASES:
            return counted - limit
        spent = now - phase[1]
        return max(counted - spent - limit, spent - _LONG_SECONDS)


class Watchdog:
    """Watches the steps of a stage; used as a context manager, by the thread that trains."""

    def __init__(self, stage: str, slow_step: float) -> None:
        """A step is slow that takes `slow_step` times the running median; 0: none is."""
        self._stage, self._slow_step = stage, slow_step
        self._step: _Step | None = None
        self._recent: collections.deque[float] = collections.deque(maxlen=_REMEMBERED)
        self._seen = 0
        self._limit = _LONG_SECONDS
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
        """Step `number` begins; the one before, now complete, is judged."""
        now, done = time.monotonic(), self._step
        self._step = _Step(number, now)
        if done is None:
            return
        done.end_phase(now)
        if self._slow_step > 0 and done.overdue(self._limit, now) > 0:
            self._say(done, f"took {now - done.began:.1f} s")
        self._seen += 1
        if self._seen > _WARM_UP:
            self._recent.append(now - done.began - done.exempt)
        if len(self._recent) >= _WARM_UP:
            median = statistics.median(self._recent)
            self._limit = max(self._slow_step * median, _LEAST_SECONDS)

    def doing(self, phase: str) -> None:
        """From now on the host does this, until it does something else or the next step."""
        now = time.monotonic()
        self._step.end_phase(now)
        self._step.phase = phase, now

    def _watch(self) -> None:
        """Looks a few times within the time that a step may take."""
        while not self._ended.wait(min(self._limit / 4, 1.0)):
            now, step = time.monotonic(), self._step
            if step is None or step.overdue(self._limit, now) <= step.report_after:
                continue
            spent = now - step.began
            # Again when it has taken twice as long.
            step.report_after = max(step.overdue(self._limit, now), 0.0) + spent
            frame = sys._current_frames().get(self._watched)
            stack = "".join(traceback.format_stack(frame)[-_STACK_LINES:]) if frame else ""
            self._say(step, f"has taken {spent:.1f} s and is not done", f", at\n{stack.rstrip()}")

    def _say(self, step: _Step, what: str, where: str = "") -> None:
        seconds = dict(step.seconds)
        if phase := step.phase:
            seconds[phase[0]] = seconds.get(phase[0], 0.0) + time.monotonic() - phase[1]
        spent = ", ".join(
            f"{value:.1f} s {name}"
            for name, value in sorted(seconds.items(), key=lambda item: -item[1])
            if value >= 0.05
        )
        usual = f", the median is {statistics.median(self._recent):.2f} s" if self._recent else ""
        tqdm.write(
            f"{self._stage} step {step.number} on process {jax.process_index()} of "
            f"{jax.process_count()} {what}{usual}: {spent}"
            f"{f'; now {phase[0]}' if phase else ''}{where}",
            file=sys.stderr,
        )
