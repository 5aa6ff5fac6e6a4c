"""How a worker process behaves: signals are its parent's business, and so is its end.

Grain starts workers anew (spawn), so each imports the program's main file: what a script of one's
own does belongs under `if __name__ == "__main__":`.
"""

import multiprocessing
import os
import signal
import threading


def start_worker(index: int, count: int) -> None:
    """Grain calls this in every worker process before it reads anything."""
    del index, count
    # Both reach the whole process group. On SIGTERM the parent saves first, and needs batches for
    # the step it is in; Ctrl-C it alone answers. Grain stops workers by other means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    end_with_parent()


def end_with_parent() -> None:
    """From now on this worker process ends when its parent does.

    A parent that was killed tells nobody, and a worker would wait for it for ever.
    """
    threading.Thread(target=_wait_and_exit, daemon=True).start()


def _wait_and_exit() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)
