"""Ctrl-C ends a command within seconds, whatever it is doing.

Python answers a signal between two instructions of the main thread, but XLA compiles for minutes
within one, and an interpreter that ends while XLA works crashes. So another thread hears Ctrl-C
too. It leaves the main thread some time to close its files, by `KeyboardInterrupt`, and then ends
the process as a kill would: files are whole or not there, so that costs what was not saved yet.
"""

import contextlib
import multiprocessing
import os
import select
import signal
import sys
import threading
from types import FrameType
from typing import NoReturn

STATUS = 130  # What shells give it.
_SECONDS_TO_CLOSE = 2.0

_sentence = "interrupted"
_begun = _happened = False
_leaving = threading.Lock()


def watch() -> None:
    """From now on Ctrl-C ends this process, until `begin` without leaving it time for anything.

    A process that was started to ignore it, as scripts start their background jobs, still does.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGINT, _interrupt)
    threading.Thread(target=_listen, args=(reader,), daemon=True).start()


def begin(advice: str) -> None:
    """The command begins; `advice` says how to go on with it once it was interrupted."""
    global _begun, _sentence
    _begun, _sentence = True, f"interrupted; {advice}" if advice else "interrupted"


def happened() -> bool:
    """Whether Ctrl-C was pressed: what the main thread does from then on is of no account."""
    return _happened


def leave() -> NoReturn:
    """Says so, and ends this process without what the interpreter does at its end."""
    # Never released: the first thread that comes here ends all.
    with _leaving:
        for worker in multiprocessing.active_children():
            worker.kill()
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            # Not by sys.stderr: the main thread may hold it, or what was written to it.
            os.write(2, f"{_sentence}\n".encode())
        os._exit(STATUS)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    del signum, frame
    global _happened
    _happened = True
    if _begun:
        raise KeyboardInterrupt


def _listen(reader: int) -> None:
    while os.read(reader, 1)[0] != signal.SIGINT:
        pass
    # Until another signal: who presses Ctrl-C twice is in a hurry.
    select.select([reader], [], [], _SECONDS_TO_CLOSE if _begun else 0)
    leave()
