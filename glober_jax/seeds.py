"""What counts as a seed: any integer of 64 bits that is not negative. Knows nothing of JAX."""

import operator
from typing import Any

from glober_jax.errors import UserError

MAX_SEED = 2**64 - 1


def check_seed(seed: Any, name: str = "seed") -> int:
    """The seed as Python's own integer; `UserError`, which calls it `name`, where it is none."""
    try:
        number = operator.index(seed)
    except TypeError:
        number = None
    if number is None or isinstance(seed, bool) or not 0 <= number <= MAX_SEED:
        raise UserError(f"{name} is {seed!r}, but must be a whole number from 0 to {MAX_SEED}")
    return number
