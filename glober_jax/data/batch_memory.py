"""Memory for large arrays, used again when nobody holds what was in it.

Fresh memory has to be cleared by the system, page by page: of a machine that does other things too,
that takes a good part of the time of filling it with frames.
"""

import math
import weakref
from collections import defaultdict

import numpy as np

_HUGE_PAGE = 2**21


class BatchMemory:
    """Keeps as much as was in use at once. Any thread may ask; a pickled one arrives empty."""

    def __init__(self) -> None:
        # By size. Lists are safe to share: arrays may end in any thread, at any moment.
        self._free: dict[int, list[np.ndarray]] = defaultdict(list)

    def array(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """An uninitialised array, whose memory is its own as long as it or a view of it exists."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if size < _HUGE_PAGE:
            return np.empty(shape, dtype)
        free = self._free[size]
        try:
            block = free.pop()
        except IndexError:
            block = np.empty(size + 2 * _HUGE_PAGE, np.uint8)
        # In whole huge pages: the rest of one comes in hundreds of small ones.
        begin = -block.ctypes.data % _HUGE_PAGE
        array = np.frombuffer(memoryview(block)[begin : begin + size], dtype)
        # The memoryview that NumPy made of this one: every view of the array refers to it.
        weakref.finalize(array.base, free.append, block).atexit = False
        return array.reshape(shape)

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return BatchMemory, ()
