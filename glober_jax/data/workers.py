"""Worker processes leave signals to their parent, and end with it.

Grain starts workers anew (spawn), so each imports the program's main file: what a script of one's
own does belongs under `if __name__ == "__main__":`.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from multiprocessing import resource_tracker

_NO_WARNING = "ignore:resource_tracker"


def start_worker(index: int, count: int) -> None:
    """Grain calls this in every worker process before it reads anything."""
    del index, count
    # Both reach the whole process group. On SIGTERM the parent saves first, and needs batches for
    # the step it is in; Ctrl-C it alone answers. Grain stops workers by other means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    end_with_parent()


@contextlib.contextmanager
def without_interrupts() -> Iterator[None]:
    """Blocks Ctrl-C in processes that are started inside, which would be interrupted in imports."""
    # The process that frees forgotten shared memory, with none of its warnings: the first process
    # would start it, and undo this.
    sys.warnoptions.append(_NO_WARNING)
    resource_tracker.ensure_running()
    sys.warnoptions.remove(_NO_WARNING)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_parent() -> None:
    """From now on this worker process ends when its parent does, even if that was killed."""

    def wait_and_exit() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=wait_and_exit, daemon=True).start()
