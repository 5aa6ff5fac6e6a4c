"""A tensor in a file: shape and type are known, the numbers are read on demand."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class StoredTensor:
    """Each `np.asarray` reads it again. `dtype` is NumPy's name of the type, else the file's."""

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], np.ndarray]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.read().astype(dtype or self.dtype, copy=False)


Tensor = np.ndarray | StoredTensor
