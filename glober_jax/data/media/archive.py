"""Files, and members of .zip files as if they were unpacked."""

import functools
import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def list_members(path: Path) -> list[str]:
    """Names of all members, of folders with a slash at the end.

    Raises:
      OSError: it is not a readable .zip file.
    """
    with _damage_as_os_error():
        return _opened(path, os.getpid()).namelist()


def file_size(archive: Path | None, path: Path) -> int:
    """Bytes of a file, or where there is an `archive`, of that member of it, unpacked.

    Raises:
      OSError: the file, archive or member is missing.
    """
    if archive is None:
        return path.stat().st_size
    with _damage_as_os_error():
        return _opened(archive, os.getpid()).getinfo(path.as_posix()).file_size


def read_file(archive: Path | None, path: Path) -> bytes:
    """A file, or where there is an `archive`, that member of it, unpacked.

    Raises:
      OSError: it is missing, damaged, encrypted, or packed in a way that Python does not know.
    """
    if archive is None:
        return path.read_bytes()
    with _damage_as_os_error():
        return _opened(archive, os.getpid()).read(path.as_posix())


@functools.lru_cache(maxsize=1)
def _opened(path: Path, process: int) -> zipfile.ZipFile:
    # Reading the table of contents takes long in large archives, so the file stays open. A forked
    # process needs its own: two that share a file's position would read each other's bytes.
    del process
    return zipfile.ZipFile(path)


@contextmanager
def _damage_as_os_error() -> Iterator[None]:
    try:
        yield
    # RuntimeError: encrypted; its subclass NotImplementedError: an unknown compression.
    except (zipfile.BadZipFile, zlib.error, KeyError, RuntimeError, EOFError) as error:
        raise OSError(str(error)) from error
