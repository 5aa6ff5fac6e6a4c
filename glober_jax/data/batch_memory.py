"""Memory for large arrays, used again when nobody holds what was in it.

Fresh memory has to be cleared by the system, page by page: of a machine that does other things too,
that takes a good part of the time of filling it with frames.
"""

import math
import sys
import threading

import numpy as np

_HUGE_PAGE = 2**21


class BatchMemory:
    """Keeps as much as was in use at once. Any thread may ask; a pickled one arrives empty."""

    def __init__(self) -> None:
        self._blocks: list[np.ndarray] = []
        self._lock = threading.Lock()

    def array(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """An uninitialised array, whose memory is its own as long as it or a view of it exists."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if size < _HUGE_PAGE:
            return np.empty(shape, dtype)
        with self._lock:
            block = self._free_block(size)
            # In whole huge pages: the rest of one comes in hundreds of small ones.
            begin = -block.ctypes.data % _HUGE_PAGE
            return block[begin : begin + size].view(dtype).reshape(shape)

    def _free_block(self, size: int) -> np.ndarray:
        for block in self._blocks:
            # Every array in it refers to the block; else the list does, this loop and this call.
            if len(block) == size + 2 * _HUGE_PAGE and sys.getrefcount(block) == 3:
                return block
        self._blocks.append(np.empty(size + 2 * _HUGE_PAGE, np.uint8))
        return self._blocks[-1]

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return BatchMemory, ()
