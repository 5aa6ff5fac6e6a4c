"""Frames for the networks of evaluation, against bilinear interpolation spelled out."""

import jax
import numpy as np
import pytest

from glober_jax.evaluation.preprocess import Resize, preprocess


def interpolated(image_HWC: np.ndarray, height: int, width: int) -> np.ndarray:
    """Output pixel i looks at (i + 1/2) * from / to - 1/2, between its two neighbours."""
    image = image_HWC.astype(np.float64)
    for axis, target in ((0, height), (1, width)):
        length = image.shape[axis]
        place = ((np.arange(target) + 0.5) * length / target - 0.5).clip(0, length - 1)
        before = np.floor(place).astype(int)
        after = np.minimum(before + 1, length - 1)
        weight = (place - before).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        image = image.take(before, axis) * (1 - weight) + image.take(after, axis) * weight
    return image


@pytest.mark.parametrize(
    ("shape", "resize", "whole", "corner"),
    [
        pytest.param((32, 32), "stretch", (56, 56), (0, 0), id="enlarged"),
        pytest.param((64, 96), "stretch", (56, 56), (0, 0), id="shrunk"),
        pytest.param((24, 32), "crop", (56, 75), (0, 9), id="wide"),
        pytest.param((101, 70), "crop", (81, 56), (12, 0), id="tall"),
        pytest.param((56, 56), "crop", (56, 56), (0, 0), id="as-it-is"),
    ],
)
def test_interpolates_and_cuts(
    shape: tuple[int, int], resize: Resize, whole: tuple[int, int], corner: tuple[int, int]
) -> None:
    """Fails when shrinking filters, pixels are looked up by their corners, or a crop is off.

    Broken: antialias left on; the longer side rounded down; the crop taken from the start.
    """
    frames = np.random.default_rng(0).integers(0, 256, (2, 3, *shape, 3), np.uint8)
    made = np.asarray(jax.jit(preprocess, static_argnums=(1, 2))(frames, 56, resize))
    assert made.shape == (2, 3, 56, 56, 3) and made.dtype == np.float32
    top, left = corner
    for index in np.ndindex(2, 3):
        expected = interpolated(frames[index], *whole)[top : top + 56, left : left + 56]
        # Within 0.003 of 255 grey levels: places are float32.
        np.testing.assert_allclose(made[index], expected / 127.5 - 1, atol=0.003 / 127.5)
