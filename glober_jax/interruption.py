"""Ctrl-C ends a command within seconds, even during a compilation.

The main thread handles no signal while XLA compiles, and exiting the interpreter then crashes. So
another thread gives it two seconds to handle `KeyboardInterrupt`, and then ends the process, which
is safe because files are written atomically.
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

STATUS = 130  # As shells have it.
_SECONDS_TO_CLOSE = 2.0

_sentence = "interrupted"
_begun = _happened = False
_leaving = threading.Lock()


def watch() -> None:
    """From now on Ctrl-C ends this process; before `begin` at once.

    A process that was started with SIGINT ignored, as background jobs of scripts are, ignores it.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGINT, _interrupt)
    threading.Thread(target=_listen, args=(reader,), daemon=True).start()


def begin(advice: str) -> None:
    """Marks the beginning of the command; `advice` says how to continue after Ctrl-C."""
    global _begun, _sentence
    _begun, _sentence = True, f"interrupted; {advice}" if advice else "interrupted"


def happened() -> bool:
    """Whether Ctrl-C was pressed; if so, later errors are not reported."""
    return _happened


def leave() -> NoReturn:
    """Prints the message and ends this process without the interpreter's cleanup."""
    # Never released: the first thread ends the process.
    with _leaving:
        for worker in multiprocessing.active_children():
            worker.kill()
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            # Not sys.stderr, whose lock the main thread may hold.
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
    # A second Ctrl-C ends the wait.
    select.select([reader], [], [], _SECONDS_TO_CLOSE if _begun else 0)
    leave()
