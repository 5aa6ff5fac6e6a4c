"""Memory that is used again, but never while somebody looks at it."""

import pickle

import jax
import numpy as np

from glober_jax.data.batch_memory import BatchMemory

SHAPE = (3, 1024, 1024)


def test_memory_is_used_again_when_nobody_holds_it() -> None:
    """Fails when fresh memory is taken each time, or what is still held is written over.

    (broken: the end of a view watched instead of that of them all.)
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


def test_memory_that_jax_shares_is_held() -> None:
    """Fails when a batch that is on its way to the devices, or there as it is, is written over.

    (broken: the end of another memoryview watched than the arrays refer to.)
    """
    memory = BatchMemory()
    rows = memory.array(SHAPE, np.uint8)
    rows[...] = 7
    on_device = jax.device_put(rows)
    del rows
    memory.array(SHAPE, np.uint8)[...] = 1
    assert (np.asarray(on_device) == 7).all()
