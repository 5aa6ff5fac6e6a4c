"""One seed of 64 bits: what small ones always gave, something else for every other one."""

import zlib
from collections.abc import Callable

import jax
import numpy as np
import pytest

from glober_jax.data.datasets.synthetic_sky import SyntheticSkyOptions
from glober_jax.errors import UserError
from glober_jax.experiment.config import parse
from glober_jax.randomness import named_key, seed_words
from glober_jax.sampling.glober import Glober
from tests.tiny import tiny_config

SEEDS = (0, 5, 2**31 + 5, 2**32 - 1, 2**32, 2**32 + 5, 2**63, 2**64 - 1)


def _bits(key: jax.Array) -> list[int]:
    return np.asarray(jax.random.key_data(key)).tolist()


def test_keys_of_64_bits() -> None:
    """Fails when a small seed has another key than ever, or a large one that of its low half."""
    traced = jax.jit(lambda seed: named_key(seed, "noise", 3))
    keys = []
    for seed in SEEDS:
        key = _bits(named_key(seed, "noise", 3))
        assert key == _bits(traced(seed_words(np.uint64(seed))))
        if seed < 2**32:
            root = jax.random.fold_in(jax.random.key(np.uint32(seed)), zlib.crc32(b"noise"))
            assert key == _bits(jax.random.fold_in(root, 3)) == _bits(traced(np.uint32(seed)))
            if seed < 2**31:
                assert key == _bits(traced(seed))
        keys.append(tuple(key))
    assert len(set(keys)) == len(SEEDS)


def test_models_take_seeds_of_64_bits(small_glober: Glober) -> None:
    """Fails when a large seed is refused, or makes the videos of its low half."""
    small, large = (small_glober.generate_globals(1, seed=seed) for seed in (5, 2**32 + 5))
    assert not np.array_equal(small, large)
    frames = [small_glober.decode(small, [0.5], seed=seed) for seed in (2**64 - 1, 2**32 - 1)]
    assert not np.array_equal(*frames)


@pytest.mark.parametrize("seed", [-1, 2**64, 10**30, 0.5, None, "5", True])
@pytest.mark.parametrize(
    "take",
    [
        lambda seed: named_key(seed, "noise"),
        lambda seed: SyntheticSkyOptions(seed=seed),
        lambda seed: parse(tiny_config().to_dict() | {"seed": seed}),
    ],
    ids=["key", "sky", "config"],
)
def test_refuses_what_is_no_seed(take: Callable[[object], object], seed: object) -> None:
    """Fails when such a seed is rounded or wrapped around, or ends in an OverflowError."""
    with pytest.raises(UserError, match=r"seed is .*, but must be "):
        take(seed)
