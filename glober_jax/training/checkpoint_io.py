"""Reading and describing one checkpoint so that damage is found.

A checkpoint is a folder: `state` holds the arrays (Orbax, on TensorStore), `meta` JSON with
"step", "config", "loop" (what the loop needs to resume), "arrays" (name to type, shape and
checksum) and "digest" of all the rest. TensorStore itself keeps no checksums of array data.
"""

import errno
import hashlib
import json
import logging
import math
import os
import re
import sys
import textwrap
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from etils import epath
from jax.sharding import Mesh

from glober_jax.errors import UserError
from glober_jax.parallel.multihost import first_message
from glober_jax.parallel.rules import tree_shardings

# TensorStore's errors where the storage does not answer; and how it quotes the system's.
_UNREACHABLE = re.compile(
    "UNAVAILABLE|DEADLINE_EXCEEDED|PERMISSION_DENIED|UNAUTHENTICATED|RESOURCE_EXHAUSTED|ABORTED"
)
_OS_ERROR = re.compile(r"os_error_code='(\d+)'")
_MISSING = (errno.ENOENT, errno.EISDIR, errno.ENOTDIR)
# Marks the message of a process to the others that the storage does not answer.
_STORAGE = "storage: "
# Errors in threads of TensorStore, which begin so.
_OF_THREADS = ("Event loop is closed", "Encountered error while reading array")
# The golden ratio's 32 bits: neighbouring places get words far apart.
_STRIDE = 0x9E3779B9


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
    # Without a manager, which would wait for a process that has failed.
    handler = ocp.PyTreeCheckpointHandler()
    arrays = _on_all(checkpoint, lambda: handler.restore(checkpoint / "state", args=args))
    if "arrays" in meta:
        sums = jax.tree.leaves(checksums(arrays))
        for name, checksum in zip(_kinds(abstract), sums, strict=True):
            if meta["arrays"][name].split()[-1] != f"{checksum:08x}":
                raise DamagedError(f"{name} is not what was written")
    return arrays


def _check_kinds(checkpoint: epath.Path, meta: dict[str, Any], abstract: Any, whole: bool) -> None:
    """Refuses arrays of other names, types or shapes: the config's mistake, not damage."""
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
    """The number of entries in which two tables differ, and the first; "" if there is none."""
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
    """What `read` returns; where it failed on any process, the same error on all of them."""
    silence_orbax()
    value = problem = None
    try:
        value = read()
    except Exception as error:
        causes = _causes(error)
        if interruptions := [cause for cause in causes if not isinstance(cause, Exception)]:
            # Raised by a signal handler, and wrapped by Orbax.
            raise interruptions[0] from None
        if any(isinstance(cause, MemoryError | jax.errors.JaxRuntimeError) for cause in causes):
            raise
        if (code := _os_error(causes[-1])) is not None:
            unreachable = code not in _MISSING
        else:
            unreachable = _UNREACHABLE.match(str(causes[-1])) is not None
        problem = f"{_STORAGE if unreachable else ''}{reason(error)}"
    if (problem := first_message(problem)) is None:
        return value
    if problem.startswith(_STORAGE):
        raise UserError(
            f"{checkpoint} cannot be read now ({problem.removeprefix(_STORAGE)}); run the same "
            "command again when its storage answers"
        )
    raise DamagedError(problem)


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


def checksums(tree: Any) -> Any:
    """A checksum in [0, 2^32) for each array of a tree, independent of its sharding.

    All processes that hold shards have to call this.
    """
    return jax.tree.map(int, jax.device_get(_checksums(tree)))


@jax.jit
def _checksums(tree: Any) -> Any:
    return jax.tree.map(_checksum, tree)


@jax.jit  # Traced once for all arrays of a shape.
def _checksum(array: jax.Array) -> jax.Array:
    """The sum modulo 2^32, in any order, of a word for each element: its bits and place, mixed.

    One changed element is always found, other changes all but once in 2^32 times.
    """
    if array.dtype == jnp.bool_:
        bits = array.astype(jnp.uint32)
    else:
        # An element of 64 bits becomes two of 32.
        width = min(8 * array.dtype.itemsize, 32)
        bits = jax.lax.bitcast_convert_type(array, f"uint{width}").astype(jnp.uint32)
    place = jnp.zeros(bits.shape, jnp.uint32)
    for axis in range(bits.ndim):
        stride = math.prod(bits.shape[axis + 1 :]) * _STRIDE % 2**32
        index = jax.lax.broadcasted_iota(jnp.uint32, bits.shape, axis)
        place += index * jnp.uint32(stride)
    return jnp.sum(_mix(bits + place), dtype=jnp.uint32)


def _mix(word: jax.Array) -> jax.Array:
    """The finaliser of MurmurHash3, a bijection (Austin Appleby, public domain)."""
    word = (word ^ (word >> 16)) * jnp.uint32(0x85EBCA6B)
    word = (word ^ (word >> 13)) * jnp.uint32(0xC2B2AE35)
    return word ^ (word >> 16)


def silence_orbax() -> None:
    """Drops Orbax's and TensorStore's stack traces of failures that this module reports."""
    logging.getLogger("absl").addFilter(_is_wanted)
    logging.getLogger("asyncio").addFilter(_is_wanted_of_asyncio)
    sys.unraisablehook = _report_unraisable
    warnings.filterwarnings("ignore", message="coroutine '(_read_array|async_serialize)")


def _is_wanted(record: logging.LogRecord) -> bool:
    return record.levelno < logging.ERROR or "orbax" not in record.pathname


def _is_wanted_of_asyncio(record: logging.LogRecord) -> bool:
    message = record.getMessage()
    return "never retrieved" not in message or not ("orbax" in message or "tensorstore" in message)


def _report_unraisable(unraisable: Any) -> None:
    if not str(unraisable.exc_value).startswith(_OF_THREADS):
        sys.__unraisablehook__(unraisable)
