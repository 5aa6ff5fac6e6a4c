"""Slices by the names that people know them by."""

import re

import pytest

from glober_jax.errors import UserError
from glober_jax.planning.topology import parse_topology


@pytest.mark.parametrize(
    ("name", "slices", "generation", "shape", "chips"),
    [
        ("v5e:4x4", 1, "v5e", (4, 4), 16),
        ("v5litepod-16", 1, "v5e", (4, 4), 16),
        ("v6e-256", 2, "v6e", (16, 16), 512),
        # Types of v4 and v5p count cores, two to a chip.
        ("v4-32", 1, "v4", (2, 2, 4), 16),
        ("v4:8x8x8", 1, "v4", (8, 8, 8), 512),
        ("v5p-8", 1, "v5p", (2, 2, 1), 4),
    ],
)
def test_names(name: str, slices: int, generation: str, shape: tuple[int, ...], chips: int) -> None:
    """Fails when a type is taken for another slice (broken: cores of a v4 as chips)."""
    found = parse_topology(name, slices)
    assert (found.generation, found.shape, found.chips) == (generation, shape, chips)


@pytest.mark.parametrize(
    ("name", "slices", "says"),
    [
        ("v5e4x4", 1, "is no slice of v4, v5e, v5p, v6e; write it as v5e:4x4"),
        ("v9:2x2", 1, "is no slice of"),
        ("v5e-4x4", 1, "is no slice of"),
        ("v5e:2x2x2", 1, "a slice of v5e has 2 dimensions"),
        ("v5e:0x4", 1, "each 1 or more"),
        ("v4-16384", 1, "v4- goes with one of 8, 16, 32"),
        ("v5litepod-5", 1, "v5litepod- goes with one of 1, 4, 8"),
        ("v5e:4x4", 0, "--slices=0"),
        ("local", 2, "--slices is for TPUs"),
    ],
)
def test_other_names_are_one_sentence(name: str, slices: int, says: str) -> None:
    """Fails when a typing error ends in a stack trace, or in a slice that nobody asked for."""
    with pytest.raises(UserError, match=re.escape(says)):
        parse_topology(name, slices)
