"""How a run is stopped from outside, by SIGTERM."""

import signal
import sys
from types import FrameType
from typing import NoReturn

from glober_jax.parallel.together import EndAll


class StopRequest:
    """Turns SIGTERM (a preempted machine, a scheduler) into an orderly end with exit status 0.

    Inside the loop the state is saved first, on all processes even if only one was told.
    Elsewhere there is nothing to save, and all end at once: the command can be run again and goes
    on from the last checkpoint.
    """

    def __init__(self) -> None:
        self.requested = False
        self._can_save = False
        signal.signal(signal.SIGTERM, self._handle)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        del signum, frame
        self.requested = True
        if not self._can_save:
            self._end_all("SIGTERM: nothing to save")

    def __enter__(self) -> "StopRequest":
        self._can_save = True
        return self

    def __exit__(self, *exception: object) -> None:
        self._can_save = False
        if self.requested and exception[0] is None:
            # It came during the last step, after which the state is saved anyway.
            self._end_all("SIGTERM: the stage is finished and saved")

    def exit(self, reason: str) -> NoReturn:
        """Ends this process; the others have to agree, and do the same."""
        print(_go_on(reason), file=sys.stderr, flush=True)
        sys.exit(0)

    def _end_all(self, reason: str) -> NoReturn:
        print(_go_on(reason), file=sys.stderr, flush=True)
        raise EndAll(_go_on(reason))


def _go_on(reason: str) -> str:
    return f"{reason}; run the same command again to go on"
