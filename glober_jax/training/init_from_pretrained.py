"""Networks that a stage begins with: `WORKDIR/initial/<network>.safetensors`, left by `convert`.

Where a stage has no checkpoint yet, each network that it trains and that has a file starts from
it, and so does its average. From the first checkpoint on the files are not needed.

A file holds float32 arrays under our parameter paths ("conv_in/conv/kernel"). It is written and
read here, array by array, and not by the format's library: that wants a local path, and a whole
network in memory twice.
"""

import contextlib
import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jax.sharding import Mesh

from glober_jax.errors import UserError
from glober_jax.models.networks import Networks, Params
from glober_jax.parallel.rules import tree_shardings
from glober_jax.training.state import TrainState

_FLOAT32 = np.dtype("<f4")


def pretrained_file(workdir: epath.PathLike, network: str) -> epath.Path:
    """Where the network's initial parameters are, or would be."""
    return epath.Path(workdir) / "initial" / f"{network}.safetensors"


def write_pretrained(
    workdir: epath.PathLike, network: str, arrays: Mapping[str, np.typing.ArrayLike]
) -> epath.Path:
    """Writes a network's parameters, by path; whole or not at all, holding one in memory at a time.

    `arrays` have a `shape`, and `np.asarray` gives their values. Returns the file.

    Raises:
      UserError: the file cannot be written.
    """
    header, offset = {}, 0
    for path, array in arrays.items():
        end = offset + math.prod(array.shape) * _FLOAT32.itemsize
        header[path] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [offset, end]}
        offset = end
    encoded = json.dumps(header).encode()
    # The format aligns what follows its header.
    encoded += b" " * (-len(encoded) % 8)
    file = pretrained_file(workdir, network)
    temporary = file.with_name(f".{file.name}.tmp")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as opened:
            opened.write(len(encoded).to_bytes(8, "little") + encoded)
            for array in arrays.values():
                opened.write(np.ascontiguousarray(array, _FLOAT32).data)
        temporary.replace(file)
    except OSError as error:
        raise UserError(
            f"cannot write {file}: {error.strerror or error}; choose another --workdir"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    return file


def check_pretrained(workdir: epath.PathLike, networks: Networks, names: Sequence[str]) -> None:
    """Raises `UserError` where the file of one of these networks is none, or has other shapes."""
    for name in names:
        if (file := pretrained_file(workdir, name)).exists():
            shapes = jax.eval_shape(lambda name=name: networks.init(name, jax.random.key(0)))
            _check(file, _entries(file), _flatten(shapes))


def init_from_pretrained(
    state: TrainState, stage: str, workdir: epath.PathLike, mesh: Mesh
) -> TrainState:
    """A fresh state with the networks that have a file taken from there, averages too.

    Says on stderr which do and which do not, if any does.
    """
    there = [name for name in state.params if pretrained_file(workdir, name).exists()]
    if not there:
        return state
    loaded = {name: _read(workdir, name, state.params[name], mesh) for name in there}
    averaged = {name: jax.tree.map(jnp.copy, loaded[name]) for name in there if name in state.ema}
    if jax.process_index() == 0:
        others = ", ".join(name for name in state.params if name not in there)
        folder = pretrained_file(workdir, there[0]).parent
        print(
            f"{stage} starts with {', '.join(there)} from {folder}"
            + (f"; at initial values: {others}" if others else ""),
            file=sys.stderr,
            flush=True,
        )
    return state.replace(params=state.params | loaded, ema=state.ema | averaged)


class _Entry(NamedTuple):
    """Where in the file an array begins, and its shape."""

    offset: int
    shape: tuple[int, ...]


def _flatten(params: Any) -> dict[str, Any]:
    return flax.traverse_util.flatten_dict(params, sep="/")


def _read(workdir: epath.PathLike, network: str, like: Params, mesh: Mesh) -> Params:
    file = pretrained_file(workdir, network)
    entries, shardings = _entries(file), _flatten(tree_shardings(like, mesh))
    _check(file, entries, _flatten(like))
    loaded = {}
    with file.open("rb") as opened:
        for path, entry in entries.items():
            opened.seek(entry.offset)
            data = opened.read(math.prod(entry.shape) * _FLOAT32.itemsize)
            array = np.frombuffer(data, _FLOAT32).reshape(entry.shape)
            loaded[path] = jax.make_array_from_callback(
                entry.shape, shardings[path], array.__getitem__
            )
    return flax.traverse_util.unflatten_dict(loaded, sep="/")


def _entries(file: epath.Path) -> dict[str, _Entry]:
    """The file's entries by path."""
    try:
        size = file.stat().length
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            header = json.loads(opened.read(min(length, size)))
        begin = 8 + length
        if size != begin + max(e["data_offsets"][1] for e in header.values()):
            raise ValueError("the file has another length than its header says")
        return {
            path: _Entry(begin + entry["data_offsets"][0], tuple(entry["shape"]))
            for path, entry in header.items()
        }
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(
            f"{file} is cut off or damaged; convert again, or remove it to start without it"
        ) from error


def _check(file: epath.Path, entries: Mapping[str, _Entry], wanted: Mapping[str, Any]) -> None:
    """Refuses a file with other paths or shapes than those of `wanted`."""
    there = {path: list(entry.shape) for path, entry in entries.items()}
    here = {path: list(leaf.shape) for path, leaf in wanted.items()}
    differing = sorted(p for p in there.keys() | here.keys() if there.get(p) != here.get(p))
    if differing:
        first, missing = differing[0], "missing"
        raise UserError(
            f"{file} was made with another config.model: {len(differing)} arrays differ "
            f"({first} is {there.get(first, missing)} there, {here.get(first, missing)} here); "
            "convert again with this config, or remove the file to start without it"
        )
