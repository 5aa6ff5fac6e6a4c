"""Measures are kept block by block: found again, never in the place of others, never damaged."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from glober_jax.evaluation.measuring import ClipSet, FeatureExtractor, measure

COUNT = 70  # Two whole blocks and a part.


@pytest.fixture
def counted() -> Iterator[tuple[ClipSet, FeatureExtractor, list[int]]]:
    """Clips, what measures them, and the sizes of the blocks that were measured."""
    clips = np.random.default_rng(0).integers(0, 256, (COUNT, 3, 2, 2, 3), np.uint8)
    measured: list[int] = []

    def means(block: np.ndarray) -> dict[str, np.ndarray]:
        measured.append(len(block))
        return {"mean": block.mean((1, 2, 3, 4)), "first": block[:, 0, 0, 0]}

    clip_set = ClipSet("real", {"seed": 0}, COUNT, lambda first, count: clips[first:][:count])
    yield clip_set, FeatureExtractor({"means": 1}, means), measured


def test_measures_once(
    counted: tuple[ClipSet, FeatureExtractor, list[int]], tmp_path: Path
) -> None:
    """Fails when a block is lost, out of order, measured twice, or taken for another's."""
    clips, extractor, measured = counted
    first = measure(clips, extractor, tmp_path)
    expected = clips.read(0, COUNT)
    np.testing.assert_array_equal(first["mean"], expected.mean((1, 2, 3, 4)))
    np.testing.assert_array_equal(first["first"], expected[:, 0, 0, 0])
    assert measured == [32, 32, 6]
    again = measure(clips, extractor, tmp_path)
    assert measured == [32, 32, 6]
    for name in first:
        np.testing.assert_array_equal(again[name], first[name])
    measure(dataclasses.replace(clips, identity={"seed": 1}), extractor, tmp_path)
    measure(clips, dataclasses.replace(extractor, identity={"means": 2}), tmp_path)
    measure(clips, extractor, None)
    assert measured == [32, 32, 6] * 4


def test_damaged_blocks_are_measured_again(
    counted: tuple[ClipSet, FeatureExtractor, list[int]], tmp_path: Path
) -> None:
    """Fails when any flipped bit or lost end makes other numbers, or an error."""
    clips, extractor, measured = counted
    first = measure(clips, extractor, tmp_path)
    block = sorted(tmp_path.rglob("*.npz"))[-1]
    whole = block.read_bytes()
    with np.load(block, allow_pickle=False) as stored:
        assert sorted(stored.files) == ["first", "mean"]
    damages = [whole[:length] for length in (0, 20, len(whole) // 2, len(whole) - 1)]
    for position in range(0, len(whole), 23):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << position % 8
        damages.append(bytes(flipped))
    for damage in damages:
        block.write_bytes(damage)
        measured.clear()
        again = measure(clips, extractor, tmp_path)
        assert measured == [6]
        for name in first:
            np.testing.assert_array_equal(again[name], first[name])
        assert block.read_bytes() == whole
