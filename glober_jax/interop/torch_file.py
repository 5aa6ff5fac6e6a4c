"""Reading torch's files (.ckpt, .bin, .pt, .pth) without torch, and without running anything.

A torch file is a zip archive: the numbers of every storage lie in a record of their own, and a
pickle says which tensors they make. Pickles are programs; this one is read as data. Its opcodes
are listed by `pickletools` and evaluated here as far as tensors need them: a global is only ever a
name, and a call is done for the three functions that describe tensors. Any other call refuses the
file.
"""

import dataclasses
import functools
import pickletools
import zipfile
from pathlib import Path
from typing import Any

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
# Calls that training runs leave beside the weights; nothing is made of them.
_PASSED_OVER = {
    "torch.Size",
    "torch.device",
    "numpy.dtype",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "_codecs.encode",
    "__builtin__.set",
    "builtins.set",
}
_LITERALS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
# What malformed pickles and records raise while they are read.
_MALFORMED = (zipfile.BadZipFile, ValueError, TypeError, AttributeError, LookupError, OSError)
_NAMES_SHOWN = 5


@dataclasses.dataclass(frozen=True)
class _Global:
    """A function or class that the pickle mentions by its name."""

    name: str


@dataclasses.dataclass(frozen=True)
class _Storage:
    record: str
    dtype: str


@dataclasses.dataclass(frozen=True)
class _Tensor:
    """A view of a storage; offset and strides in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _CodeError(Exception):
    """The pickle would run the global that the message names."""


def open_tensors(file: Path) -> dict[str, StoredTensor]:
    """The tensors of a file by name, unread: those at the top or, if there is one, in "state_dict".

    Raises:
      UserError: not torch's zip archive or only a part of one, something in it that would run
        code, or no tensors with names.
    """
    try:
        # Stays open as long as tensors refer to it.
        archive = zipfile.ZipFile(file)
        indices = [name for name in archive.namelist() if name.rpartition("/")[2] == _INDEX]
        if len(indices) != 1:
            raise UserError(f"{file} is a zip archive, but not one that torch saved weights in")
        content = _evaluate(archive.read(indices[0]))
    except _CodeError as error:
        raise UserError(
            f"{file} contains code ({error}), and nothing in a file of weights is ever run; "
            "give a file with nothing but weights, best as .safetensors"
        ) from error
    except _MALFORMED as error:
        raise _damaged(file) from error
    folder = indices[0].removesuffix(_INDEX)
    tensors = {
        name: StoredTensor(
            value.shape, value.storage.dtype, functools.partial(_read, file, archive, folder, value)
        )
        for name, value in _weights(content).items()
        if isinstance(name, str) and isinstance(value, _Tensor)
    }
    if not tensors:
        there = list(content)[:_NAMES_SHOWN] if isinstance(content, dict) else []
        entries = f"; its entries are {', '.join(map(str, there))}" if there else ""
        raise UserError(f'{file} has no tensors by name, at its top or in "state_dict"{entries}')
    return tensors


def _weights(content: Any) -> dict[Any, Any]:
    while isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    return content if isinstance(content, dict) else {}


def _read(file: Path, archive: zipfile.ZipFile, folder: str, tensor: _Tensor) -> np.ndarray:
    try:
        dtype = np.dtype(tensor.storage.dtype)
        reach = sum((n - 1) * s for n, s in zip(tensor.shape, tensor.strides, strict=True))
        count = 0 if 0 in tensor.shape else reach + 1
        with archive.open(f"{folder}data/{tensor.storage.record}") as record:
            record.seek(tensor.offset * dtype.itemsize)
            numbers = record.read(count * dtype.itemsize)
        # Refuses views that reach beyond what was read.
        strides = [stride * dtype.itemsize for stride in tensor.strides]
        return np.ndarray(tensor.shape, dtype, numbers, strides=strides)
    except _MALFORMED as error:
        raise _damaged(file) from error


def _damaged(file: Path) -> UserError:
    return UserError(f"{file} is cut off, damaged or not a torch file of weights; get it again")


def _evaluate(pickled: bytes) -> Any:
    """What a pickle describes: dicts, lists, tuples, literals, `_Global`s and `_Tensor`s."""
    stack: list[Any] = []
    below: list[list[Any]] = []
    memo: dict[int, Any] = {}

    def since_mark() -> list[Any]:
        nonlocal stack
        items, stack = stack, below.pop()
        return items

    for opcode, argument, _ in pickletools.genops(pickled):
        match opcode.name:
            case "PROTO" | "FRAME":
                pass
            case "STOP":
                return stack.pop()
            case name if name in _LITERALS:
                stack.append(argument)
            case name if name in _CONSTANTS:
                stack.append(_CONSTANTS[name])
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "MARK":
                below.append(stack)
                stack = []
            case "TUPLE":
                items = tuple(since_mark())
                stack.append(items)
            case "TUPLE1" | "TUPLE2" | "TUPLE3" as name:
                length = int(name[-1])
                stack[-length:] = [tuple(stack[-length:])]
            case "EMPTY_LIST" | "EMPTY_SET":
                stack.append([])
            case "APPEND":
                item = stack.pop()
                stack[-1].append(item)
            case "APPENDS" | "ADDITEMS":
                items = since_mark()
                stack[-1].extend(items)
            case "EMPTY_DICT":
                stack.append({})
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                stack[-1][key] = value
            case "SETITEMS":
                items = since_mark()
                stack[-1].update(zip(items[::2], items[1::2], strict=True))
            case "GLOBAL":
                stack.append(_Global(argument.replace(" ", ".")))
            case "STACK_GLOBAL":
                name, module = stack.pop(), stack.pop()
                stack.append(_Global(f"{module}.{name}"))
            case "BINPERSID":
                stack.append(_storage(stack.pop()))
            case "REDUCE":
                arguments, function = stack.pop(), stack.pop()
                stack.append(_call(function, arguments))
            case "BUILD":
                stack.pop()
                # Attributes of a dict of weights, or of something that is passed over.
                if not isinstance(stack[-1], dict) and stack[-1] is not None:
                    raise _CodeError(_name_of(stack[-1]))
            case "NEWOBJ" | "NEWOBJ_EX" | "OBJ" as name:
                made = since_mark()[0] if name == "OBJ" else stack[-2 - (name == "NEWOBJ_EX")]
                raise _CodeError(_name_of(made))
            case "INST":
                raise _CodeError(argument.replace(" ", "."))
            case name:
                raise ValueError(f"{name} in a file of weights")
    raise ValueError("no end")


def _storage(identity: Any) -> _Storage:
    kind, storage_type, record, _device, _length = identity
    if kind != "storage":
        raise ValueError(f"a reference to {kind}")
    return _Storage(str(record), _DTYPES.get(_name_of(storage_type), _name_of(storage_type)))


def _call(function: Any, arguments: Any) -> Any:
    """Does the calls that describe tensors; None for those that are passed over."""
    match _name_of(function):
        case "collections.OrderedDict":
            return dict(*arguments)
        case "torch._utils._rebuild_tensor" | "torch._utils._rebuild_tensor_v2":
            storage, offset, shape, strides, *_ = arguments
            if not isinstance(storage, _Storage):
                raise ValueError("a tensor of no storage")
            return _Tensor(storage, offset, tuple(shape), tuple(strides))
        case "torch._utils._rebuild_parameter":
            return arguments[0]
        case name if name in _PASSED_OVER:
            return None
        case name:
            raise _CodeError(name)


def _name_of(function: Any) -> str:
    return function.name if isinstance(function, _Global) else type(function).__name__
