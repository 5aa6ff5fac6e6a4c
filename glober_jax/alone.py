"""A lock, so that one process at a time writes to a folder."""

import contextlib
import fcntl
import os
from collections.abc import Iterator

from glober_jax.errors import UserError


@contextlib.contextmanager
def alone_in(folder: os.PathLike[str]) -> Iterator[None]:
    """Locks a local folder against other callers; raises `UserError` where it is locked.

    The system releases the lock when the process ends. Buckets, and network disks without locks,
    are not protected.
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
