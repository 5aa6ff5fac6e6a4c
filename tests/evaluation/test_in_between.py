"""Frames on the training grid and between: told apart, and interpolated from decoded ones."""

import numpy as np
import pytest

from glober_jax.evaluation import in_between
from glober_jax.evaluation.metrics.frame_quality import frame_measures

T = 3
# Levels of the frames of one clip; each decoded frame is off by another amount.
REAL = np.array([10, 40, 100, 60, 30])
MADE = REAL + np.array([1, 20, 2, 30, 4])


def clip(levels: np.ndarray) -> np.ndarray:
    return np.broadcast_to(levels.astype(np.uint8)[:, None, None, None], (len(levels), 4, 4, 3))


def test_interpolates_decoded_neighbours() -> None:
    """Fails when frames between are weighed wrongly, or taken from their own decoded ones."""
    between = in_between.interpolate_between(clip(MADE)[None])
    assert between.shape == (1, T - 1, 4, 4, 3) and between.dtype == np.uint8
    assert between[0, :, 0, 0, 0].tolist() == [(11 + 102) // 2, (102 + 34) // 2]


def test_groups_are_told_apart() -> None:
    """Fails when grid and between are swapped, or the interpolation knows real frames."""
    extractor = in_between.instrument(frame_measures(4, ["psnr"]))
    pair = np.stack([clip(MADE), clip(REAL)])
    found = in_between.record(extractor.measure(np.stack([pair, pair])))
    expected = {
        "grid": [1, 2, 4],
        "between": [20, 30],
        # 56.5 is rounded to the even 56; real frames are 40 and 60.
        "interpolated": [56 - 40, 68 - 60],
    }
    for name, errors in expected.items():
        by_index = 20 * np.log10(255 / np.array(errors))
        assert found[name]["psnr_db"]["by_index"] == pytest.approx(by_index)
        assert found[name]["psnr_db"]["value"] == pytest.approx(by_index.mean())
    lines = in_between.for_people(found).splitlines()
    values = [f"{found[name]['psnr_db']['value']:.2f}" for name in expected]
    assert lines[0].endswith("  PSNR in dB")
    assert [line.split("  ")[-1].strip() for line in lines[1:]] == [
        f"{value} ± 0.00" for value in values
    ]
    assert [line.split()[0] for line in lines[1:]] == ["on", "between,", "between,"]
