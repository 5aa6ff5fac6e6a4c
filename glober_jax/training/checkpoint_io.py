"""Reading and describing one checkpoint so that damage is found.

A checkpoint is a folder: `state` holds the arrays (Orbax, on TensorStore), `meta` JSON with
"step", "config", "loop" (what the loop needs to resume), "arrays" (name to type, shape and
checksum) and "digest" of all the rest. TensorStore itself keeps no checksums of array data.
"""

import errno
import hashlib
import json
import os
import re
import textwrap
from collections.abc import Callable, Mapping
from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath
from jax.sharding import Mesh

from glober_jax.errors import UserError
from glober_jax.parallel.multihost import first_message
from glober_jax.parallel.rules import tree_shardings
from glober_jax.training import log_filters
from glober_jax.training.checksum import checksums

# TensorStore's errors where the storage, or the way to it, fails; and how it quotes the system's.
_UNREACHABLE = re.compile(
    "UNAVAILABLE|DEADLINE_EXCEEDED|PERMISSION_DENIED|UNAUTHENTICATED|RESOURCE_EXHAUSTED|ABORTED"
)
_OS_ERROR = re.compile(r"os_error_code='(\d+)'")
_MISSING = (errno.ENOENT, errno.EISDIR, errno.ENOTDIR)
# Begins the message by which one process tells the others that the storage does not answer.
_STORAGE = "storage: "


class DamagedError(Exception):
    """A checkpoint cannot be restored, on any process; says why."""


def stored_steps(folder: epath.Path) -> list[int]:
    """Steps of a stage's complete checkpoints, ascending; makes no folder."""
    return sorted(found.step for found in ocp.path.step.standard_name_format().find_all(folder))


def describe(
    step: int, config: dict[str, Any], loop_record: dict[str, int], state: Any
) -> dict[str, Any]:
    """The `meta` of a checkpoint of `state`, as values for JSON."""
    sums = jax.tree.leaves(checksums(state))
    arrays = {
        name: f"{kind} {checksum:08x}"
        for (name, kind), checksum in zip(_kinds(state).items(), sums, strict=True)
    }
    meta = {"step": step, "config": config, "loop": loop_record, "arrays": arrays}
    return meta | {"digest": _digest(meta)}


def read_meta(checkpoint: epath.Path) -> dict[str, Any]:
    """The `meta` of a checkpoint; raises as `read_arrays` does."""

    def read() -> dict[str, Any]:
        meta = ocp.JsonCheckpointHandler().restore(checkpoint / "meta", ocp.args.JsonRestore())
        # Before there were digests there were no checksums either.
        if "arrays" in meta and _digest(meta) != meta["digest"]:
            raise DamagedError("its meta is not what was written")
        return meta

    return _on_all(checkpoint, read)


def read_arrays(
    checkpoint: epath.Path, meta: dict[str, Any], abstract: Any, mesh: Mesh, *, whole: bool
) -> Any:
    """Arrays on `mesh`, whatever mesh they were saved from: those of `abstract`, part or `whole`.

    Raises:
      DamagedError: on all processes, where any cannot read its shards or finds other values.
      UserError: other arrays were saved than `abstract` has, or the storage does not answer.
    """
    _check_kinds(checkpoint, meta, abstract, whole)
    restore_args = jax.tree.map(
        lambda leaf, sharding: ocp.ArrayRestoreArgs(
            sharding=sharding, global_shape=leaf.shape, dtype=leaf.dtype
        ),
        abstract,
        tree_shardings(abstract, mesh),
    )
    args = ocp.args.PyTreeRestore(
        item=abstract, restore_args=restore_args, partial_restore=not whole
    )
    # Without a manager: that one waits for the others, also where one of them has failed.
    handler = ocp.PyTreeCheckpointHandler()
    arrays = _on_all(checkpoint, lambda: handler.restore(checkpoint / "state", args=args))
    if "arrays" in meta:
        sums = jax.tree.leaves(checksums(arrays))
        for name, checksum in zip(_kinds(abstract), sums, strict=True):
            if meta["arrays"][name].split()[-1] != f"{checksum:08x}":
                raise DamagedError(f"{name} is not what was written")
    return arrays


def _check_kinds(checkpoint: epath.Path, meta: dict[str, Any], abstract: Any, whole: bool) -> None:
    """Refuses arrays of other names, types or shapes: a mistake of the config, and no damage."""
    if "arrays" not in meta:
        return
    there = {name: kind.rsplit(" ", 1)[0] for name, kind in meta["arrays"].items()}
    here = _kinds(abstract)
    if differing := difference(there if whole else {n: there.get(n) for n in here}, here):
        raise UserError(
            f"{checkpoint} holds other arrays than this config trains: {differing}; use the config "
            "it was made with, its optimizers included, or another --workdir"
        )


def difference(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """How many entries of two tables differ, and the first of them; "" where none does."""
    differing = sorted(n for n in there.keys() | here.keys() if there.get(n) != here.get(n))
    if not differing:
        return ""
    first = differing[0]
    values = (table.get(first) or "missing" for table in (there, here))
    return f"{len(differing)} differ ({first} is {next(values)} there, {next(values)} here)"


def _kinds(tree: Any) -> dict[str, str]:
    """Name to type and shape, such as "float32[3,3,8,16]", in the order of the leaves."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): (
            f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]"
        )
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def _digest(meta: dict[str, Any]) -> str:
    content = {name: value for name, value in meta.items() if name != "digest"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _on_all(checkpoint: epath.Path, read: Callable[[], Any]) -> Any:
    """What `read` returns, or the same error on all processes where it failed on any of them."""
    log_filters.silence()
    value = problem = None
    try:
        value = read()
    except Exception as error:
        causes = _causes(error)
        if interruptions := [cause for cause in causes if not isinstance(cause, Exception)]:
            # Raised by a signal's handler inside of Orbax, which makes another exception of it.
            raise interruptions[0] from None
        if any(isinstance(cause, MemoryError | jax.errors.JaxRuntimeError) for cause in causes):
            raise
        problem = f"{_STORAGE if _is_unreachable(causes[-1]) else ''}{reason(error)}"
    if (problem := first_message(problem)) is None:
        return value
    if problem.startswith(_STORAGE):
        raise UserError(
            f"{checkpoint} cannot be read now ({problem.removeprefix(_STORAGE)}); run the same "
            "command again when its storage answers"
        )
    raise DamagedError(problem)


def _is_unreachable(cause: BaseException) -> bool:
    if (code := _os_error(cause)) is not None:
        return code not in _MISSING
    return _UNREACHABLE.match(str(cause)) is not None


def reason(error: BaseException) -> str:
    """Why reading or writing failed, in few words."""
    cause = _causes(error)[-1]
    if (code := _os_error(cause)) is not None:
        return os.strerror(code)
    # TensorStore appends the specification of the array.
    return textwrap.shorten(str(cause).split(" [")[0], 200, placeholder=" …")


def _os_error(cause: BaseException) -> int | None:
    if isinstance(cause, OSError):
        return cause.errno
    found = _OS_ERROR.search(str(cause))
    return int(found[1]) if found else None


def _causes(error: BaseException) -> list[BaseException]:
    """The error and what led to it, outermost first."""
    causes = [error]
    while (error := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(error)
    return causes
