"""The processes of a run end together.

Left to itself JAX waits minutes for a process that has left with an error. Here the first process
that ends early tells the others why, by the store that JAX's coordinator keeps for them, and they
end as well, at once, wherever they are. One that is killed can tell nothing: the others end when a
collective fails, or when JAX misses its heartbeats.
"""

import atexit
import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import NamedTuple

import jax

# JAX has no public way to its coordinator's store.
from jax._src import distributed

from glober_jax import interruption
from glober_jax.errors import UserError

_END, _FINISHED, _LEAVING = "glober_jax/end", "glober_jax/finished", "glober_jax/leaving"
_LEAVE_SECONDS = 10
_FOREVER_SECONDS = 10**8


class EndAll(SystemExit):
    """Ends this process with status 0 and, inside `end_together`, all others of its run."""

    def __init__(self, sentence: str) -> None:
        super().__init__(0)
        self.sentence = sentence


@contextlib.contextmanager
def end_together() -> Iterator[None]:
    """What several processes do inside ends for all when it ends for one.

    An exception, or `EndAll`, in one process ends the others with the same status and a sentence
    that names it. Otherwise each waits until all are here: process 0, whom JAX needs, leaves last.
    Nothing is done where one process runs alone.

    Raises:
      UserError: in the place of an exception, where another process is gone without a word.
    """
    if distributed.global_state.client is None:
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
        others.finish()
    except BaseException as error:
        others.end_for(error)
        raise
    if stopped is not None:
        raise stopped


class _End(NamedTuple):
    """How the run ended: which process was the first, what it said, the exit status of all."""

    process: int
    sentence: str
    status: int


class _Others:
    """The other processes, as the coordinator's store connects them."""

    def __init__(self) -> None:
        self._client = distributed.global_state.client
        self._process = distributed.global_state.process_id
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        interruption.before_leaving(self._tell_interruption)

    def finish(self) -> None:
        """Returns when all processes are here."""
        self._client.wait_at_barrier(_FINISHED, 1000 * _FOREVER_SECONDS)
        if self._process == 0:
            self._client.key_value_set(_END, json.dumps(None))
        # Python may not end while a thread is inside of JAX.
        self._listener.join()

    def end_for(self, error: BaseException) -> None:
        """Tells the others what ends this process, and returns when they have left.

        Raises:
          UserError: one of them is gone, which is why something failed here.
        """
        # An exception of JAX's may be the echo of another process's end.
        sentence, status, is_echo = f"{type(error).__name__}: {error}", 1, True
        if isinstance(error, UserError):
            sentence, is_echo = str(error), False
        elif isinstance(error, EndAll):
            sentence, status, is_echo = error.sentence, 0, False
        elif isinstance(error, KeyboardInterrupt):
            sentence, status, is_echo = "interrupted", interruption.STATUS, False
        # Runs before JAX waits for processes that have gone.
        atexit.register(_leave, status)
        try:
            self._client.key_value_set(_END, json.dumps(_End(self._process, sentence, status)))
        except jax.errors.JaxRuntimeError:
            # Another process was the first: the other thread is about to end this one.
            time.sleep(2 * _LEAVE_SECONDS)
        if not self._all_leave() and is_echo:
            raise UserError(
                f"another process of this run is gone ({sentence.splitlines()[0]}); if it was not "
                "killed, its own output says why; run the same command again to go on"
            ) from error

    def _tell_interruption(self) -> None:
        """For where the main thread had no time to do it."""
        end = _End(self._process, "interrupted", interruption.STATUS)
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            self._client.key_value_set(_END, json.dumps(end))
            # Process 0 takes the store with it.
            time.sleep(0.5)

    def _listen(self) -> None:
        """Ends this process when another does: the main thread may be in a collective for ever."""
        told = json.loads(self._client.blocking_key_value_get(_END, 1000 * _FOREVER_SECONDS))
        if told is not None and (end := _End(*told)).process != self._process:
            start = "" if end.status == 0 else "error: "
            print(f"{start}process {end.process}: {end.sentence}", file=sys.stderr, flush=True)
            self._all_leave()
            _leave(end.status)

    def _all_leave(self) -> bool:
        """Whether all processes are about to leave; process 0 waits until the others have."""
        try:
            self._client.wait_at_barrier(_LEAVING, 1000 * _LEAVE_SECONDS)
        except jax.errors.JaxRuntimeError:
            return False
        if self._process == 0:
            # Without it JAX ends them less gently.
            time.sleep(1)
        return True


def _leave(status: int) -> None:
    """Ends this process without what JAX would do at its end: wait for the others."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)
