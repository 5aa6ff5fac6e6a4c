"""Memory that is used again, but never while somebody looks at it."""

import pickle

import numpy as np

from glober_jax.data.batch_memory import BatchMemory

SHAPE = (3, 1024, 1024)


def test_memory_is_used_again_when_nobody_holds_it() -> None:
    """Fails when fresh memory is taken each time, or what is still held is written over.

    (broken: no look at references; one counted too few.)
    """
    memory = BatchMemory()
    first, second = memory.array(SHAPE, np.uint8), memory.array(SHAPE, np.uint8)
    assert not np.shares_memory(first, second)
    place = first.ctypes.data
    assert place % 2**21 == 0
    row = first[1].view(np.float16)
    del first
    third = memory.array(SHAPE, np.uint8)
    assert not np.shares_memory(third, row)
    del row
    fourth = memory.array(SHAPE, np.uint8)
    assert fourth.ctypes.data == place
    assert memory.array((3, 1024, 512), np.float16).shape == (3, 1024, 512)
    assert pickle.loads(pickle.dumps(memory)).array((2,), np.float32).shape == (2,)
