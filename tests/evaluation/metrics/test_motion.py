"""Motion and warping error: where they are known, and what they make of damaged skies."""

import sys
from types import ModuleType

import cv2
import numpy as np
import pytest

from glober_jax.errors import UserError
from glober_jax.evaluation import controls
from glober_jax.evaluation.metrics import motion, optical_flow
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
    measured = motion.measure_clip(grey(levels))
    expected = dict(zip(motion.MEASURES, (difference, roughness, flicker, frozen), strict=True))
    by_index = measured.pop("difference_by_index")
    assert measured == pytest.approx(expected)
    np.testing.assert_allclose(by_index, np.abs(np.diff(levels)) / 255)
    with pytest.raises(UserError, match="2 frames is too short"):
        motion.measure_clip(grey([1, 2]))


def test_one_value_in_a_hundred_may_move_in_a_frozen_pair() -> None:
    """Fails when a single pixel hides that nothing else moves, or a moving corner is overlooked."""
    clip = np.zeros((3, 20, 20, 3), np.uint8)
    clip[1:, :2, :2] = 200
    assert motion.measure_clip(clip)["frozen"] == 1
    clip[2, :2, :3] = 100
    assert motion.measure_clip(clip)["frozen"] == 0.5


def test_distance_of_two_sets() -> None:
    """Fails when sets of unlike size are not compared by their distributions."""
    same = motion.compare(np.array([1.0, 3.0]), np.array([3.0, 1.0, 3.0, 1.0]))
    assert same == {"real": 2.0, "generated": 2.0, "distance": 0.0, "share": 1.0}
    # One half of the real values is 1 too low, the other 1 too high: equal means hide it.
    found = motion.compare(np.array([1.0, 3.0]), np.array([2.0]))
    assert found["distance"] == pytest.approx(1.0)


# What has to be told from real clips, and by which measures.
CAUGHT_BY = {
    motion: {
        "noise": ("difference", "roughness"),
        "blur": ("difference", "roughness"),
        "flicker": ("difference", "roughness", "flicker"),
        "shuffled": ("difference", "roughness", "flicker"),
        "frozen": motion.MEASURES,
        "replaced": ("roughness", "flicker"),
        "unrelated": ("difference", "roughness", "flicker"),
        "half speed": ("difference", "flicker"),
    },
    optical_flow: {
        "noise": ("warping_error",),
        "flicker": ("warping_error",),
        "replaced": ("warping_error",),
        "shuffled": ("flow_magnitude",),
        "frozen": ("flow_magnitude",),
    },
}


@pytest.mark.parametrize(
    ("measures", "count", "num_frames", "levels", "times"),
    [(motion, 24, 16, 5, 2.5), (optical_flow, 6, 8, 10, 2)],
)
def test_damaged_skies_are_further_from_real_ones_than_other_skies(
    measures: ModuleType, count: int, num_frames: int, levels: int, times: float
) -> None:
    """Fails when a measure is blind to what it is for (broken: first differences only)."""

    def skies(first: int, stride: int = 1) -> np.ndarray:
        scenes = range(first, first + count)
        return corruptions.sky_clips(scenes, num_frames=num_frames, stride=stride)

    other = skies(24)
    sets = {
        "real": skies(0),
        "other": other,
        "noise": corruptions.noise(other, levels),
        "blur": corruptions.blur(other, 1),
        "flicker": corruptions.flicker(other, 0.04),
        "shuffled": controls.shuffled(other),
        "frozen": controls.frozen(other),
        "replaced": corruptions.replaced(other),
        "unrelated": corruptions.unrelated(other),
    }
    cases = {name: ("real", "other", name) for name in CAUGHT_BY[measures]}
    if "half speed" in cases:
        sets |= {"real, fast": skies(0, 2), "other, fast": skies(24, 2)}
        cases["half speed"] = ("real, fast", "other, fast", "other")
    measured = {
        name: corruptions.measure(measures.measure_clip, sets[name])
        for name in dict.fromkeys(name for names in cases.values() for name in names)
    }
    for name, names in cases.items():
        expected, again, made = (measured[one] for one in names)
        for measure in CAUGHT_BY[measures][name]:
            floor = motion.compare(expected[measure], again[measure])["distance"]
            distance = motion.compare(expected[measure], made[measure])["distance"]
            assert distance > max(times * floor, 1e-4), (
                f"{measure}: {name} clips are {distance:.5f} from real ones, "
                f"other real ones {floor:.5f}"
            )
    if measures is motion:
        cut = measured["replaced"]["difference_by_index"].mean(axis=0)
        assert cut.argmax() == 7 and cut[7] > 5 * np.delete(cut, 7).max(), cut
    else:
        # Why the error is never shown alone.
        frozen, other = (measured[name]["warping_error"] for name in ("frozen", "other"))
        assert frozen.max() == 0 < other.min()


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
    measured = optical_flow.measure_clip(clip)
    assert measured["flow_magnitude"] == pytest.approx(np.hypot(*step), rel=0.1)
    changes = np.square(np.diff(clip / 255.0, axis=0)).mean()
    assert measured["warping_error"] < 0.02 * changes, (measured, changes)
    assert measured["occluded"] < 0.2, measured


def test_pixels_are_those_of_the_clip_as_it_was_given() -> None:
    """Fails when enlarging small frames shows: in the flow, or in how far flows may disagree."""
    small = corruptions.noise(corruptions.sky_clips([1], size=64, num_frames=4), 10)[0]
    large = np.stack([cv2.resize(x, (128, 128), interpolation=cv2.INTER_LINEAR) for x in small])
    by_small, by_large = optical_flow.measure_clip(small), optical_flow.measure_clip(large)
    assert by_large["flow_magnitude"] == pytest.approx(2 * by_small["flow_magnitude"])
    assert by_large["occluded"] > 1.2 * by_small["occluded"] > 0, (by_small, by_large)


def test_clips_without_flow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails when frames that share nothing give no number, or what is missing is a stack trace."""
    chaos = np.random.default_rng(0).integers(0, 256, (3, 32, 48, 3), np.uint8)
    measured = optical_flow.measure_clip(chaos)
    assert np.isfinite(list(measured.values())).all() and measured["occluded"] > 0.5, measured
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(UserError, match=r"opencv-python-headless.*requirements-eval\.txt"):
        optical_flow.measure_clip(chaos)
