"""Which clips of a split are looked at when it is evaluated."""

import numpy as np

from glober_jax.data.held_out import eval_clips
from tests.data.test_loader import SPEC
from tests.data.watched_sources import CountingSource


def _places(num_videos: int, num_clips: int) -> np.ndarray:
    return eval_clips(CountingSource(num_videos), SPEC, num_clips)["label"]


def test_clips_are_whole_and_in_the_middle() -> None:
    """Fails when frames, key frames or indices are not those of the centre clip."""
    clips = eval_clips(CountingSource(10), SPEC, 4)
    assert clips["frames"].shape == (4, 8, 2, 3, 2)
    assert clips["video_id"] == [f"video_{place}" for place in clips["label"]]
    np.testing.assert_array_equal(clips["frames"][0, :, 0, 1, 1], np.arange(2, 10))
    np.testing.assert_array_equal(clips["key_frames"], clips["frames"][:, [0, 2, 5, 7]])
    np.testing.assert_array_equal(clips["index"], np.arange(8) / 8)
    np.testing.assert_array_equal(_places(3, 100), [0, 1, 2])


def test_they_are_the_same_every_time_one_of_each_part() -> None:
    """Fails when clips change from run to run, or a part of the split is left out."""
    places = _places(40, 8)
    np.testing.assert_array_equal(places, _places(40, 8))
    np.testing.assert_array_equal(places // 5, np.arange(8))


def test_classes_that_take_turns_are_all_seen() -> None:
    """Fails when videos are taken at even distances (broken: every second of 64), which in the
    synthetic skies, whose four classes take turns, finds one or two classes only."""
    for num_videos, num_clips in ((64, 32), (64, 8), (768, 128)):
        assert set(_places(num_videos, num_clips) % 4) == {0, 1, 2, 3}
