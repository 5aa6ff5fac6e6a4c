"""How a run is stopped from outside, by SIGTERM."""

import signal
import sys
from types import FrameType


class StopRequest:
    """Turns SIGTERM (a preempted machine, a scheduler) into an orderly end with exit status 0.

    Inside the loop the state is saved first, on all processes even if only one was told.
    Elsewhere there is nothing to save: the command can be run again and goes on from the last
    checkpoint.
    """

    def __init__(self) -> None:
        self.requested = False
        self._can_save = False
        signal.signal(signal.SIGTERM, self._handle)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        del signum, frame
        self.requested = True
        if not self._can_save:
            self.exit("SIGTERM: nothing to save")

    def __enter__(self) -> "StopRequest":
        self._can_save = True
        return self

    def __exit__(self, *exception: object) -> None:
        self._can_save = False
        if self.requested and exception[0] is None:
            # It came during the last step, after which the state is saved anyway.
            self.exit("SIGTERM: the stage is finished and saved")

    def exit(self, reason: str) -> None:
        print(f"{reason}; run the same command again to go on", file=sys.stderr, flush=True)
        sys.exit(0)
