"""Files of data, local or at an address that epath knows: gs://, s3://, az:// or hf://."""

import contextlib
import os
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
from etils import epath

from glober_jax.errors import Unfinished, UserError

_SCHEMES = ("gs", "s3", "az", "hf")
# What the names of unfinished files begin with.
DRAFT = ".draft-"


def is_remote(path: epath.PathLike) -> bool:
    """Whether a path is an address and not of this machine."""
    return "://" in os.fspath(path)


def data_path(path: epath.PathLike) -> epath.Path:
    """An absolute local path, or an address; raises UserError where that cannot be reached."""
    name = os.fspath(path)
    if not is_remote(name):
        return epath.Path(os.path.abspath(name))
    scheme, _, _ = name.partition("://")
    if scheme not in _SCHEMES:
        known = ", ".join(f"{known}://" for known in _SCHEMES)
        raise UserError(f"cannot reach {name}: use a local or mounted folder, or {known}")
    try:
        fsspec.get_filesystem_class(scheme)
    except ImportError as error:
        raise UserError(f"cannot reach {name}: {error}") from error
    return epath.Path(name)


@contextlib.contextmanager
def bucket_errors(*paths: epath.PathLike) -> Iterator[None]:
    """Makes errors of a bucket's client UserErrors; others, which are bugs, keep their trace."""
    try:
        yield
    except Exception as error:
        remote = ", ".join(os.fspath(path) for path in paths if is_remote(path))
        is_bug = type(error).__module__ == "builtins" and not isinstance(error, OSError)
        if isinstance(error, UserError) or is_bug or not remote:
            raise
        shown = " ".join(str(error).split())[:200]
        raise UserError(
            f"cannot use {remote} ({type(error).__name__}: {shown}): check the name, the network "
            "and the credentials (gcloud auth application-default login)"
        ) from error


def walk(
    root: epath.Path, on_error: Callable[[OSError], None]
) -> Iterator[tuple[Path | epath.Path, list[str], list[str]]]:
    """`os.walk` that follows links, for buckets too; folders taken from the list are left out."""
    if not is_remote(root):
        for folder, folders, names in os.walk(root, onerror=on_error, followlinks=True):
            yield Path(folder), folders, names
        return
    # epath's own walk loses the scheme.
    system, start = fsspec.url_to_fs(os.fspath(root))
    for folder, folders, names in system.walk(start, on_error=on_error):
        yield epath.Path(system.unstrip_protocol(folder)), folders, names


def size_and_version(path: epath.PathLike) -> tuple[int, object]:
    """Bytes of a file, and a value that changes when the file does; raises OSError."""
    if not is_remote(path):
        found = os.stat(path)
        return found.st_size, found.st_mtime_ns
    # Both come from the listing, where `walk` has seen the file.
    system, name = fsspec.url_to_fs(os.fspath(path))
    return system.info(name)["size"], system.ukey(name)


def forget_listings(folder: epath.Path) -> None:
    """Lets this process see what others have written to a bucket since it looked."""
    if is_remote(folder):
        system, _ = fsspec.url_to_fs(os.fspath(folder))
        system.invalidate_cache()


@contextlib.contextmanager
def local_file(path: epath.PathLike) -> Iterator[Path]:
    """The file itself, or a local copy of one in a bucket; Unfinished if the network fails."""
    if not is_remote(path):
        yield Path(path)
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / epath.Path(path).name
        try:
            epath.Path(path).copy(copy)
        except (FileNotFoundError, PermissionError):
            raise
        except Exception as error:
            shown = " ".join(repr(error).split())[:200]
            raise Unfinished(f"cannot read {path} ({shown}): run the same command again") from error
        yield copy


@contextlib.contextmanager
def whole_file(path: epath.Path) -> Iterator[Path]:
    """A local file to write, which is moved to `path` at the end, unless there was an error."""
    with contextlib.ExitStack() as stack:
        remote = is_remote(path)
        folder = stack.enter_context(tempfile.TemporaryDirectory()) if remote else path.parent
        # Two machines may write the same file, where one was taken for dead.
        draft = Path(folder) / f"{DRAFT}{uuid.uuid4().hex}"
        stack.callback(draft.unlink, missing_ok=True)
        yield draft
        if remote:
            epath.Path(draft).copy(path, overwrite=True)
        else:
            draft.replace(path)
