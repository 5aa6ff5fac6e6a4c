"""How processes that see different things do the same thing at the same step."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from glober_jax.parallel.mesh import replicated

# Steps that the host may be ahead of the devices while it asks.
_LAG = 2
_MESSAGE_BYTES = 512


def first_message(mine: str | None) -> str | None:
    """The message of the first process that has one, on all of them, which have to call this.

    None where nobody has one. A long one is cut. Nobody returns before all have called.
    """
    if jax.process_count() == 1:
        return mine
    row = np.zeros(_MESSAGE_BYTES, np.uint8)
    encoded = (mine or "").encode()[:_MESSAGE_BYTES]
    row[: len(encoded)] = list(encoded)
    rows = multihost_utils.process_allgather(row)
    messages = [bytes(row).rstrip(b"\0").decode(errors="ignore") for row in rows]
    return next((message for message in messages if message), None)


class AnyProcess:
    """Whether any process says yes, answered alike on all of them.

    The answer is made by the devices, between one training step and the next. All processes have
    to call the same methods in the same order.
    """

    def __init__(self, mesh: Mesh) -> None:
        self._sharding = NamedSharding(mesh, PartitionSpec(mesh.axis_names))
        self._devices = mesh.size
        self._any = jax.jit(jnp.any, out_shardings=replicated(mesh))
        self._asked: collections.deque[jax.Array] = collections.deque()

    def lately(self, mine: bool) -> bool:
        """Whether any said yes a few calls ago; that answer is there already, nobody waits."""
        if jax.process_count() == 1:
            return mine
        self._asked.append(self._ask(mine))
        return len(self._asked) > _LAG and bool(self._asked.popleft())

    def now(self, mine: bool) -> bool:
        """Whether any says yes now, or did in calls of `lately` that have not told it yet."""
        if jax.process_count() == 1:
            return mine
        answers = [*self._asked, self._ask(mine)]
        self._asked.clear()
        return any(bool(answer) for answer in answers)

    def _ask(self, mine: bool) -> jax.Array:
        flags = np.full(len(self._sharding.addressable_devices), mine)
        return self._any(
            jax.make_array_from_process_local_data(self._sharding, flags, (self._devices,))
        )
