"""Frames on the training grid and between: told apart, and interpolated from decoded ones."""

import numpy as np
import pytest

from glober_jax.evaluation.metrics.frame_quality import frame_measures
from glober_jax.reporting import in_between

# Levels of the frames of one clip; each decoded frame is off by another amount.
REAL = np.array([10, 40, 100, 60, 30])
MADE = REAL + np.array([1, 20, 2, 30, 4])


def test_groups_are_told_apart() -> None:
    """Fails when grid and between are swapped, or the interpolation knows real frames."""
    extractor = in_between.quality_extractor(frame_measures(["psnr"]))
    pair = np.stack([MADE, REAL]).astype(np.uint8)[..., None, None, None]
    pairs = np.broadcast_to(pair, (2, 2, 5, 4, 4, 3))
    found = in_between.by_group(extractor.measure(pairs))
    expected = {
        "grid": [1, 2, 4],
        "between": [20, 30],
        # The means are 56.5, rounded to the even 56, and 68; real frames are 40 and 60.
        "interpolated": [56 - 40, 68 - 60],
    }
    for name, errors in expected.items():
        by_index = 20 * np.log10(255 / np.array(errors))
        assert found[name]["psnr_db"]["by_index"] == pytest.approx(by_index)
        assert found[name]["psnr_db"]["value"] == pytest.approx(by_index.mean())
    first, *lines = in_between.groups_text(found).splitlines()
    assert first.endswith("  PSNR in dB")
    for line, name in zip(lines, expected, strict=True):
        assert line.endswith(f"  {found[name]['psnr_db']['value']:.2f} ± 0.00")
