"""Reads files of weights: safetensors, and torch's (.ckpt, .bin, .pt, .pth) without torch.

The content decides the format, not the name. A torch file is a zip archive of storages and a pickle
of the tensors in them. None of its code is executed: the unpickler imports no names; each becomes a
dummy class, whose construction (how a pickle calls a function) runs an entry of `_CALLS` or refuses
the file.
"""

import dataclasses
import functools
import io
import operator
import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

# Importing it gives NumPy the type bfloat16, which safetensors then finds by its name.
import ml_dtypes  # noqa: F401
import numpy as np
from safetensors import SafetensorError, safe_open

from glober_jax.errors import UserError

_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"
_SAFETENSORS_TYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
# The file of a torch archive that holds the pickle.
_INDEX = "data.pkl"
_TORCH_TYPES = {
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


@dataclasses.dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file: each `np.asarray` reads it again.

    `dtype` is NumPy's name of the type, else the file's.
    """

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], np.ndarray]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.read().astype(dtype or self.dtype, copy=False)


Tensor = np.ndarray | StoredTensor


def open_tensors(file: Path) -> dict[str, StoredTensor]:
    """The tensors of a safetensors or torch file by name, not read yet.

    Raises `UserError` for a file that is missing, damaged, of another kind, or has code in it.
    """
    try:
        with file.open("rb") as opened:
            start = opened.read(9)
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else "cannot be read"
        raise UserError(f"{file}: {reason}; give the path of a file of weights") from error
    # Its header begins after eight bytes with the header's length.
    if start.endswith(b"{"):
        return _open_safetensors(file)
    if start.startswith(_ZIP):
        return _open_torch(file)
    if start.startswith(_PICKLE):
        raise UserError(
            f"{file} is a torch file in the format before torch 1.6; where you trust it, load it "
            "with a recent torch and save it again: torch.save(torch.load(FILE, "
            "weights_only=True), NEW_FILE)"
        )
    raise UserError(
        f"{file} is neither a safetensors file nor a torch file of weights; give the path of one"
    )


def inside(tensors: Mapping[str, StoredTensor], prefix: str) -> dict[str, StoredTensor]:
    """The tensors under `prefix`, where whole models keep a network; all if no name has it."""
    found = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
    return found or dict(tensors)


def _open_safetensors(file: Path) -> dict[str, StoredTensor]:
    try:
        with safe_open(file, framework="np") as stored:
            slices = {name: stored.get_slice(name) for name in stored.keys()}  # noqa: SIM118
            return {
                name: StoredTensor(
                    tuple(view.get_shape()),
                    _SAFETENSORS_TYPES.get(view.get_dtype(), view.get_dtype()),
                    functools.partial(_read_tensor, file, name),
                )
                for name, view in slices.items()
            }
    except SafetensorError as error:
        raise UserError(
            f"{file} is cut off or damaged ({error}); download the .safetensors file again"
        ) from error


def _read_tensor(file: Path, name: str) -> np.ndarray:
    # Opened for every tensor: the pages that were read of a mapped file count as memory.
    with safe_open(file, framework="np") as stored:
        return stored.get_tensor(name)


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
        return _Storage(str(record), _TORCH_TYPES.get(name, name))


def _open_torch(file: Path) -> dict[str, StoredTensor]:
    """The tensors of "state_dict" if there is one, else at the top."""
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
    read = functools.partial(_read_view, file, archive, indices[0].removesuffix(_INDEX))
    tensors = {
        name: StoredTensor(value.shape, value.storage.dtype, functools.partial(read, value))
        for name, value in entries.items()
        if isinstance(name, str) and isinstance(value, _Tensor)
    }
    if not tensors:
        there = f"; its entries are {', '.join(map(str, list(entries)[:5]))}" if entries else ""
        raise UserError(f'{file} has no tensors by name, at its top or in "state_dict"{there}')
    return tensors


def _read_view(file: Path, archive: zipfile.ZipFile, folder: str, tensor: _Tensor) -> np.ndarray:
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
