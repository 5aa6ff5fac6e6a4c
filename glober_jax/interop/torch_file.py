"""Reads torch files (.ckpt, .bin, .pt, .pth) without torch and without executing their code.

A torch file is a zip archive of storages and a pickle of the tensors in them. The unpickler imports
no names: each becomes a dummy class, whose construction (how a pickle calls a function) runs an
entry of `_CALLS` or refuses the file.
"""

import functools
import io
import operator
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from glober_jax.errors import UserError
from glober_jax.interop.stored_tensor import StoredTensor

_INDEX = "data.pkl"
_DTYPES = {
    "torch.DoubleStorage": "float64",
    "torch.FloatStorage": "float32",
    "torch.HalfStorage": "float16",
    "torch.BFloat16Storage": "bfloat16",
}
# Raised while malformed pickles and records are read.
_MALFORMED = (
    *(zipfile.BadZipFile, pickle.UnpicklingError, EOFError, ValueError, TypeError, OSError),
    *(AttributeError, LookupError, RecursionError, MemoryError),
)


class _Storage(NamedTuple):
    record: str
    dtype: str


class _Tensor(NamedTuple):
    """A view of a storage; offset and strides in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _CodeError(Exception):
    """The pickle would call the global in the message."""


class _Dict(dict):
    # Ignored objects may be keys.
    __hash__ = object.__hash__

    def __setstate__(self, state: Any) -> None:
        """Ignores attributes."""


def _rebuild_tensor(storage: Any, offset: int, shape: Any, strides: Any, *rest: Any) -> _Tensor:
    if not isinstance(storage, _Storage):
        raise ValueError("a tensor of no storage")
    shape, strides = (tuple(map(operator.index, numbers)) for numbers in (shape, strides))
    return _Tensor(storage, operator.index(offset), shape, strides)


def _ignore(*arguments: Any) -> _Dict:
    return _Dict()


_CALLS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _Dict,
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_parameter": lambda tensor, *rest: tensor,
    # Other objects in checkpoints.
    "torch.Size": _ignore,
    "torch.device": _ignore,
    "numpy.dtype": _ignore,
    "numpy.core.multiarray.scalar": _ignore,
    "numpy._core.multiarray.scalar": _ignore,
    "_codecs.encode": _ignore,
    "__builtin__.set": _ignore,
    "builtins.set": _ignore,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type:
        name = f"{module}.{name}"

        def call(cls: type, *arguments: Any) -> Any:
            if name not in _CALLS:
                raise _CodeError(name)
            return _CALLS[name](*arguments)

        def set_state(state: Any) -> None:
            raise _CodeError(name)

        return type(name, (), {"__new__": call, "__setstate__": staticmethod(set_state)})

    def persistent_load(self, identity: Any) -> _Storage:
        kind, storage_type, record, _device, _length = identity
        if kind != "storage":
            raise ValueError(f"a reference to {kind}")
        name = storage_type.__name__
        return _Storage(str(record), _DTYPES.get(name, name))


def open_tensors(file: Path) -> dict[str, StoredTensor]:
    """The tensors by name, not read yet: those of "state_dict" if there is one, else at the top.

    Raises `UserError` for a damaged or other file, one that would run code, or one without tensors.
    """
    try:
        # Open until no tensor refers to it.
        archive = zipfile.ZipFile(file)
        indices = [name for name in archive.namelist() if name.rpartition("/")[2] == _INDEX]
        if len(indices) != 1:
            raise UserError(f"{file} is a zip archive, but not one that torch saved weights in")
        content = _Unpickler(io.BytesIO(archive.read(indices[0]))).load()
    except _CodeError as error:
        raise UserError(
            f"{file} contains code ({error}), and nothing in a file of weights is ever run; "
            "give a file with nothing but weights, best as .safetensors"
        ) from error
    except _MALFORMED as error:
        raise _damaged(file) from error
    while isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    entries = content if isinstance(content, dict) else {}
    read = functools.partial(_read, file, archive, indices[0].removesuffix(_INDEX))
    tensors = {
        name: StoredTensor(value.shape, value.storage.dtype, functools.partial(read, value))
        for name, value in entries.items()
        if isinstance(name, str) and isinstance(value, _Tensor)
    }
    if not tensors:
        there = f"; its entries are {', '.join(map(str, list(entries)[:5]))}" if entries else ""
        raise UserError(f'{file} has no tensors by name, at its top or in "state_dict"{there}')
    return tensors


def _read(file: Path, archive: zipfile.ZipFile, folder: str, tensor: _Tensor) -> np.ndarray:
    try:
        dtype = np.dtype(tensor.storage.dtype)
        reach = sum((n - 1) * s for n, s in zip(tensor.shape, tensor.strides, strict=True))
        count = 0 if 0 in tensor.shape else reach + 1
        with archive.open(f"{folder}data/{tensor.storage.record}") as record:
            record.seek(tensor.offset * dtype.itemsize)
            numbers = record.read(count * dtype.itemsize)
        # NumPy refuses views that reach beyond the bytes.
        strides = [stride * dtype.itemsize for stride in tensor.strides]
        return np.ndarray(tensor.shape, dtype, numbers, strides=strides)
    except _MALFORMED as error:
        raise _damaged(file) from error


def _damaged(file: Path) -> UserError:
    return UserError(f"{file} is cut off, damaged or not a torch file of weights; get it again")
