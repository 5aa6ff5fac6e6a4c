"""Motion and warping error: where they are known, and what they make of damaged skies."""

import sys
from collections.abc import Callable

import cv2
import numpy as np
import pytest

from glober_jax.errors import UserError
from glober_jax.evaluation import evaluating
from glober_jax.evaluation.metrics.motion import OF_PIXELS, compare, measure_flow, measure_pixels
from tests.evaluation import corruptions


def grey(levels: list[int]) -> np.ndarray:
    """A clip of evenly grey frames."""
    return np.broadcast_to(np.array(levels, np.uint8)[:, None, None, None], (len(levels), 8, 8, 3))


@pytest.mark.parametrize(
    ("levels", "difference", "roughness", "flicker", "frozen"),
    [
        ([7, 7, 7, 7], 0, 0, 0, 1),
        ([0, 255, 0, 255], 1, 2, 2, 0),
        ([0, 20, 40, 60], 20 / 255, 0, 0, 0),
        ([9, 10, 9, 49], 14 / 255, 21.5 / 14, 21.5 / 255, 2 / 3),
    ],
)
def test_values_of_simple_clips(
    levels: list[int], difference: float, roughness: float, flicker: float, frozen: float
) -> None:
    """Fails when a formula is another, uint8 wraps around, or a frozen clip is not a number."""
    measured = measure_pixels(grey(levels))
    expected = dict(zip(OF_PIXELS, (difference, roughness, flicker, frozen), strict=True))
    by_index = measured.pop("difference_by_index")
    assert measured == pytest.approx(expected)
    np.testing.assert_allclose(by_index, np.abs(np.diff(levels)) / 255)
    with pytest.raises(UserError, match="2 frames is too short"):
        measure_pixels(grey([1, 2]))


def test_one_value_in_a_hundred_may_move_in_a_frozen_pair() -> None:
    """Fails when a single pixel hides that nothing else moves, or a moving corner is overlooked."""
    clip = np.zeros((3, 20, 20, 3), np.uint8)
    clip[1:, :2, :2] = 200
    assert measure_pixels(clip)["frozen"] == 1
    clip[2, :2, :3] = 100
    assert measure_pixels(clip)["frozen"] == 0.5


def test_distance_of_two_sets() -> None:
    """Fails when sets of unlike size are not compared by their distributions."""
    same = compare(np.array([1.0, 3.0]), np.array([3.0, 1.0, 3.0, 1.0]))
    assert same == {"real": 2.0, "generated": 2.0, "distance": 0.0, "share": 1.0}
    # One half of the real values is 1 too low, the other 1 too high: equal means hide it.
    found = compare(np.array([1.0, 3.0]), np.array([2.0]))
    assert found["distance"] == pytest.approx(1.0)


# What has to be told from real clips, and by which measures.
CAUGHT_BY = {
    measure_pixels: {
        "noise": ("difference", "roughness"),
        "blur": ("difference", "roughness"),
        "flicker": ("difference", "roughness", "flicker"),
        "shuffled": ("difference", "roughness", "flicker"),
        "frozen": OF_PIXELS,
        "replaced": ("roughness", "flicker"),
        "unrelated": ("difference", "roughness", "flicker"),
    },
    measure_flow: {
        "noise": ("warping_error",),
        "flicker": ("warping_error",),
        "replaced": ("warping_error",),
        "shuffled": ("flow_magnitude",),
        "frozen": ("flow_magnitude",),
    },
}


@pytest.mark.parametrize(
    ("of_clip", "count", "num_frames", "levels", "times"),
    [(measure_pixels, 24, 16, 5, 2.5), (measure_flow, 6, 8, 10, 2)],
)
def test_damaged_skies_are_further_from_real_ones_than_other_skies(
    of_clip: Callable, count: int, num_frames: int, levels: int, times: float
) -> None:
    """Fails when a measure is blind to what it is for (broken: first differences only)."""
    real, other = (
        corruptions.sky_clips(range(first, first + count), num_frames=num_frames)
        for first in (0, 24)
    )
    damaged = {
        "noise": corruptions.noise(other, levels),
        "blur": corruptions.blur(other, 1),
        "flicker": corruptions.flicker(other, 0.04),
        "shuffled": evaluating.shuffled(other),
        "frozen": evaluating.frozen(other),
        "replaced": corruptions.replaced(other),
        "unrelated": corruptions.unrelated(other),
    }
    expected, again = (corruptions.measure(of_clip, clips) for clips in (real, other))
    for name, caught_by in CAUGHT_BY[of_clip].items():
        made = corruptions.measure(of_clip, damaged[name])
        for measure in caught_by:
            floor = compare(expected[measure], again[measure])["distance"]
            found = compare(expected[measure], made[measure])["distance"]
            assert found > max(times * floor, 1e-4), (measure, name, found, floor)


def test_half_speed_is_told_from_full_speed() -> None:
    """Fails when a measure does not see how fast things move."""
    fast, others, slow = (
        corruptions.measure(measure_pixels, corruptions.sky_clips(scenes, stride=stride))
        for scenes, stride in ((range(24), 2), (range(24, 48), 2), (range(24, 48), 1))
    )
    for measure in ("difference", "flicker"):
        floor = compare(fast[measure], others[measure])["distance"]
        assert compare(fast[measure], slow[measure])["distance"] > 2.5 * floor, measure


def test_a_cut_shows_at_its_place_and_a_frozen_clip_has_no_error() -> None:
    """Fails when places are mixed up; and says why the warping error is never shown alone."""
    skies = corruptions.sky_clips(range(6))
    replaced = corruptions.measure(measure_pixels, corruptions.replaced(skies))
    cut = replaced["difference_by_index"].mean(axis=0)
    assert cut.argmax() == 7 and cut[7] > 5 * np.delete(cut, 7).max(), cut
    assert measure_flow(evaluating.frozen(skies[:1])[0])["warping_error"] == 0
    assert measure_flow(skies[0])["warping_error"] > 0


def moving_texture(size: int, step: tuple[int, int]) -> np.ndarray:
    """A soft texture that moves by `step` pixels (down, right) a frame: 6 frames."""
    cells = np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8)
    side = size * 3 // 2
    texture = cv2.resize(cells, (side, side), interpolation=cv2.INTER_CUBIC)
    corners = [(i * step[0], i * step[1]) for i in range(5, -1, -1)]
    return np.stack([texture[y : y + size, x : x + size] for y, x in corners])


@pytest.mark.parametrize(("size", "step"), [(32, (1, 0)), (64, (1, 2)), (160, (4, 3))])
def test_motion_is_found_and_undone(size: int, step: tuple[int, int]) -> None:
    """Fails when the flow is not in the clip's own pixels, is warped the wrong way or unseen."""
    clip = moving_texture(size, step)
    measured = measure_flow(clip)
    assert measured["flow_magnitude"] == pytest.approx(np.hypot(*step), rel=0.1)
    changes = np.square(np.diff(clip / 255.0, axis=0)).mean()
    assert measured["warping_error"] < 0.02 * changes, (measured, changes)
    assert measured["occluded"] < 0.2, measured


def test_pixels_are_those_of_the_clip_as_it_was_given() -> None:
    """Fails when enlarging small frames shows: in the flow, or in how far flows may disagree."""
    small = corruptions.noise(corruptions.sky_clips([1], size=64, num_frames=4), 10)[0]
    large = np.stack([cv2.resize(x, (128, 128), interpolation=cv2.INTER_LINEAR) for x in small])
    by_small, by_large = measure_flow(small), measure_flow(large)
    assert by_large["flow_magnitude"] == pytest.approx(2 * by_small["flow_magnitude"])
    assert by_large["occluded"] > 1.2 * by_small["occluded"] > 0, (by_small, by_large)


def test_clips_without_flow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails when frames that share nothing give no number, or what is missing is a stack trace."""
    chaos = np.random.default_rng(0).integers(0, 256, (3, 32, 48, 3), np.uint8)
    measured = measure_flow(chaos)
    assert np.isfinite(list(measured.values())).all() and measured["occluded"] > 0.5, measured
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(UserError, match=r"opencv-python-headless.*requirements-eval\.txt"):
        measure_flow(chaos)
