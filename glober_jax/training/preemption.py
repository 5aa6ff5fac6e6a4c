"""Orderly ends of a run on SIGTERM."""

import signal
import sys
from types import FrameType
from typing import NoReturn

import jax
from jax.experimental import multihost_utils


class Preemption:
    """Turns SIGTERM (a preempted machine, a scheduler) into an exit with status 0.

    Inside the loop the state is saved first. Of several processes one SIGTERM suffices: JAX's
    preemption service makes all save the same step. A single process with nothing to save ends at
    once.
    """

    def __init__(self) -> None:
        self.requested = self._can_save = False
        self._steps = 0
        # Of several processes the handler is JAX's.
        if jax.process_count() == 1:
            signal.signal(signal.SIGTERM, self._handle)

    def __enter__(self) -> "Preemption":
        self._can_save = True
        return self

    def __exit__(self, *exception: object) -> None:
        self._can_save = False
        if self.requested and exception[0] is None:
            # It came during the last step, after which the state is saved anyway.
            self.exit("SIGTERM: the stage is finished and saved")

    def reached(self) -> bool:
        """Whether to save and end now, alike on all processes; called once before every step."""
        self._steps += 1
        return self.requested or multihost_utils.reached_preemption_sync_point(self._steps)

    def exit(self, reason: str) -> NoReturn:
        """Ends this process with status 0."""
        print(f"{reason}; run the same command again to go on", file=sys.stderr, flush=True)
        sys.exit(0)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        del signum, frame
        self.requested = True
        if not self._can_save:
            self.exit("SIGTERM: nothing to save")
