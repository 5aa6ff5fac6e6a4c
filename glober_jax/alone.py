"""One process at a time writes to a folder."""

import contextlib
import fcntl
import os
from collections.abc import Iterator

from glober_jax.errors import UserError


@contextlib.contextmanager
def alone_in(folder: os.PathLike[str]) -> Iterator[None]:
    """Keeps other processes that ask for it out of a local folder, and leaves no file there.

    The system forgets it when the process ends, however that does. Buckets, and network disks that
    know no locks, let everybody in.

    Raises:
      UserError: another process is in it.
    """
    with contextlib.ExitStack() as stack:
        if "://" not in os.fspath(folder):
            held = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, held)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(
                    f"another command is writing to {folder}: wait until it is done, end it, or "
                    "choose another folder"
                ) from None
            except OSError:
                pass
        yield
