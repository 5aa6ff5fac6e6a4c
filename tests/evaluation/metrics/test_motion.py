"""Motion measures: their values where these are known, and what they make of damaged skies."""

import numpy as np
import pytest

from glober_jax.errors import UserError
from glober_jax.evaluation.metrics import motion
from tests.evaluation import corruptions

# Which measures have to tell each corruption from real clips.
CAUGHT_BY = {
    "noise": ("difference", "roughness"),
    "blur": ("difference", "roughness"),
    "flicker": ("difference", "roughness", "flicker"),
    "shuffled": ("difference", "roughness", "flicker"),
    "frozen": motion.MEASURES,
    "replaced": ("roughness", "flicker"),
    "unrelated": ("difference", "roughness", "flicker"),
    "half speed": ("difference", "flicker"),
}


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


def test_damaged_skies_are_further_from_real_ones_than_other_skies() -> None:
    """Fails when a measure is blind to what it is for (broken: first differences only)."""
    halves = range(24), range(24, 48)
    real, other = (
        {stride: corruptions.sky_clips(scenes, stride=stride) for stride in (1, 2)}
        for scenes in halves
    )
    clips = other[1]
    damaged = {
        "noise": corruptions.noise(clips, 5),
        "blur": corruptions.blur(clips, 1),
        "flicker": corruptions.flicker(clips, 0.04),
        "shuffled": corruptions.shuffled(clips),
        "frozen": corruptions.frozen(clips),
        "replaced": corruptions.replaced(clips),
        "unrelated": corruptions.unrelated(clips),
    }
    cases = {name: (real[1], clips, made) for name, made in damaged.items()}
    cases["half speed"] = (real[2], other[2], other[1])
    for name, sets in cases.items():
        expected, again, made = (corruptions.measure(motion.measure_clip, clips) for clips in sets)
        for measure in CAUGHT_BY[name]:
            floor = motion.compare(expected[measure], again[measure])["distance"]
            distance = motion.compare(expected[measure], made[measure])["distance"]
            assert distance > max(2.5 * floor, 1e-4), (
                f"{measure}: {name} clips are {distance:.5f} from real ones, "
                f"other real ones {floor:.5f}"
            )
    replaced = corruptions.measure(motion.measure_clip, damaged["replaced"])
    cut = replaced["difference_by_index"].mean(axis=0)
    assert cut.argmax() == 7 and cut[7] > 5 * np.delete(cut, 7).max(), cut
