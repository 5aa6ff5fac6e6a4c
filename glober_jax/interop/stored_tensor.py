"""A tensor in a file: what it is like is known at once, its numbers are read when asked for."""

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np


class Tensor(Protocol):
    """What converters take: arrays, and tensors that are still in their file."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> Any: ...

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray: ...


@dataclasses.dataclass(frozen=True)
class StoredTensor:
    """`np.asarray` reads it, anew each time; nothing is kept in memory.

    `dtype` is NumPy's name of the type ("float32", "bfloat16"), or the file's where NumPy has none.
    """

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], np.ndarray]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        del copy  # What was read belongs to the caller.
        return self.read().astype(dtype or self.dtype, copy=False)
