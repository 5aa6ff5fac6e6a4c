"""The processes of a run end together.

Left to itself JAX waits minutes for a process that has left with an error, notices one that was
killed by missing heartbeats, and then ends the others with a stack of C++ addresses. Here each
process holds a connection to process 0. What a process says when it ends early goes to all, and so
does the news that one is gone without a word; they end too, at once, wherever they are.
"""

import atexit
import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from glober_jax.errors import UserError
from glober_jax.parallel import links

_GONE = "it is gone: killed, or its own output says why; run the same command again to go on"
# A process that hears of an end has no more to do than to end as well.
_LEAVE_SECONDS = 10
# A collective fails because another process is gone: that news is given time to come first.
_NEWS_SECONDS = 2


class EndAll(SystemExit):
    """Ends this process with status 0 and, inside `end_together`, all others of its run."""

    def __init__(self, sentence: str) -> None:
        super().__init__(0)
        self.sentence = sentence


class _End(NamedTuple):
    """How the run ended: which process was the first, what it said, the exit status of all."""

    process: int
    sentence: str
    status: int


@contextlib.contextmanager
def end_together() -> Iterator[None]:
    """What several processes do inside ends for all when it ends for one.

    An exception, or `EndAll`, in one process ends the others with the same status and a sentence
    that names it; so does the death of one. Otherwise each waits until all are here: process 0,
    whom JAX needs, leaves with the last. Nothing is done where one process runs alone.

    Raises:
      UserError: a process cannot reach process 0.
    """
    if not links.is_one_of_several():
        yield
        return
    others = _Others()
    stopped = None
    try:
        try:
            yield
        except SystemExit as stop:
            if stop.code or isinstance(stop, EndAll):
                raise
            # All have agreed to stop here.
            stopped = stop
        others.wait()
    except BaseException as error:
        others.tell(error)
        raise
    if stopped is not None:
        raise stopped


class _Others:
    """Connections to the other processes: of process 0 to all, of the others to process 0."""

    def __init__(self) -> None:
        self._process = links.process_index()
        self._changed = threading.Condition()
        self._ending = False
        self._finished: set[int] = set()
        self._gone: set[int] = set()
        self._links = links.open_links()
        for process in self._links:
            threading.Thread(target=self._listen, args=(process,), daemon=True).start()

    def wait(self) -> None:
        """Returns when all processes are here."""
        if self._process == 0:
            self._wait_until(lambda: self._finished == self._links.keys())
            self._send(None)
        else:
            self._send(None)
            self._wait_until(lambda: bool(self._finished))

    def tell(self, error: BaseException) -> None:
        """Ends the others for what ends this process, which then has to let itself end."""
        sentence, status = f"{type(error).__name__}: {error}", 1
        if isinstance(error, UserError):
            sentence = str(error)
        elif isinstance(error, EndAll):
            sentence, status = error.sentence, 0
        elif isinstance(error, KeyboardInterrupt):
            sentence, status = "interrupted", 130
        else:
            time.sleep(_NEWS_SECONDS)
        # Runs before JAX waits for processes that have gone.
        atexit.register(_leave, status)
        if not self._is_first():
            # The other thread is about to end this process.
            time.sleep(2 * _LEAVE_SECONDS)
        self._end(_End(self._process, sentence, status))

    def _listen(self, process: int) -> None:
        with contextlib.suppress(OSError), self._links[process].makefile() as lines:
            for line in lines:
                if (end := json.loads(line)) is None:
                    with self._changed:
                        self._finished.add(process)
                        self._changed.notify_all()
                else:
                    self._hear(_End(*end))
        with self._changed:
            self._gone.add(process)
            self._changed.notify_all()
        if process not in self._finished:
            self._hear(_End(process, _GONE, 1))

    def _hear(self, end: _End) -> None:
        """Lets this process end, while the thread that calls sees the connection close."""
        if self._is_first():
            threading.Thread(target=self._follow, args=(end,), daemon=True).start()

    def _follow(self, end: _End) -> None:
        """Ends this process, from a thread: the main one may be in a collective for ever."""
        start = "" if end.status == 0 else "error: "
        print(f"{start}process {end.process}: {end.sentence}", file=sys.stderr, flush=True)
        self._end(end)
        _leave(end.status)

    def _is_first(self) -> bool:
        """Whether nothing else was about to end this process."""
        with self._changed:
            first, self._ending = not self._ending, True
        return first

    def _end(self, end: _End) -> None:
        self._send(end)
        if self._process == 0:
            # JAX ends the others less gently when process 0 is gone.
            self._wait_until(lambda: self._gone == self._links.keys(), _LEAVE_SECONDS)

    def _send(self, end: _End | None) -> None:
        for connection in self._links.values():
            with contextlib.suppress(OSError):
                connection.sendall(json.dumps(end).encode() + b"\n")

    def _wait_until(self, true: Callable[[], bool], seconds: float | None = None) -> None:
        with self._changed:
            self._changed.wait_for(true, seconds)


def _leave(status: int) -> None:
    """Ends this process without what JAX would do at its end: wait for the others."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)
