"""Measures are kept block by block: found again, never in the place of others, never damaged."""

import dataclasses
from pathlib import Path

import numpy as np

from glober_jax.evaluation.measuring import ClipSet, FeatureExtractor, measure

COUNT = 70  # Two whole blocks and a part.


def test_measures_once_and_again_what_is_damaged(tmp_path: Path) -> None:
    """Fails when a block is lost, out of order, measured twice, or taken for another's; or when a
    flipped bit or a lost end makes other numbers, or an error."""
    pixels = np.random.default_rng(0).integers(0, 256, (COUNT, 3, 2, 2, 3), np.uint8)
    measured: list[int] = []

    def means(block: np.ndarray) -> dict[str, np.ndarray]:
        measured.append(len(block))
        return {"mean": block.mean((1, 2, 3, 4)), "first": block[:, 0, 0, 0]}

    clips = ClipSet("real", {"seed": 0}, COUNT, lambda first, count: pixels[first:][:count])
    extractor = FeatureExtractor({"means": 1}, means)

    def measures_right(*remeasured: int) -> None:
        measured.clear()
        found = measure(clips, extractor, tmp_path)
        np.testing.assert_array_equal(found["mean"], pixels.mean((1, 2, 3, 4)))
        np.testing.assert_array_equal(found["first"], pixels[:, 0, 0, 0])
        assert measured == [*remeasured]

    measures_right(32, 32, 6)
    measures_right()
    block = sorted(tmp_path.rglob("*.npz"))[-1]
    with np.load(block, allow_pickle=False) as stored:
        assert sorted(stored.files) == ["first", "mean"]
    whole = block.read_bytes()
    damages = [whole[:length] for length in (0, 20, len(whole) // 2, len(whole) - 1)]
    for position in range(0, len(whole), 59):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << position % 8
        damages.append(bytes(flipped))
    for damage in damages:
        block.write_bytes(damage)
        measures_right(6)
        assert block.read_bytes() == whole
    measured.clear()
    measure(dataclasses.replace(clips, identity={"seed": 1}), extractor, tmp_path)
    measure(clips, dataclasses.replace(extractor, identity={"means": 2}), tmp_path)
    measure(clips, extractor, None)
    assert measured == [32, 32, 6] * 3
