"""A tensor in a file: what it is like is known at once, its numbers are read when asked for."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class StoredTensor:
    """`np.asarray` reads it, anew each time; nothing is kept in memory.

    `dtype` is NumPy's name of the type ("float32", "bfloat16"), or the file's where NumPy has none.
    """

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], np.ndarray]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.read().astype(dtype or self.dtype, copy=False)


Tensor = np.ndarray | StoredTensor
