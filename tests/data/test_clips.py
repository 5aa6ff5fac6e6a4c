"""Which frames an example uses."""

import numpy as np
import pytest

from glober_jax.data.clips import ClipSpec, centre_clip, sample_clip
from glober_jax.errors import UserError


def test_key_frames_are_evenly_spaced_and_inside() -> None:
    spec = ClipSpec(num_frames=16, num_key_frames=8, num_target_frames=2, stride=3)
    rng = np.random.default_rng(0)
    starts = set()
    for _ in range(200):
        clip = sample_clip(rng.random(spec.num_draws), 50, spec)
        np.testing.assert_array_equal(np.diff(clip.key_ids_K), 6)
        assert clip.key_ids_K[0] + 45 <= 49
        starts.add(int(clip.key_ids_K[0]))
    # Every start must be possible, the last one too: off-by-one errors show here.
    assert starts == set(range(50 - 45))


def test_uneven_key_frames_round_down() -> None:
    np.testing.assert_array_equal(ClipSpec(16, num_key_frames=5).key_positions, [0, 3, 6, 9, 12])


def test_targets_are_distinct_ascending_and_uniform() -> None:
    spec = ClipSpec(num_frames=8, num_key_frames=0, num_target_frames=2)
    rng = np.random.default_rng(0)
    counts = np.zeros(8)
    for _ in range(2000):
        clip = sample_clip(rng.random(spec.num_draws), 8, spec)
        assert clip.target_ids_n[0] < clip.target_ids_n[1]
        np.testing.assert_array_equal(clip.target_index_n, clip.target_ids_n / np.float32(8))
        counts[clip.target_ids_n] += 1
    assert clip.target_index_n.dtype == np.float32
    # Each position is drawn with probability 1/4; five standard deviations are about 100.
    assert np.abs(counts - 500).max() < 100


def test_centre_clip_is_in_the_middle_and_complete() -> None:
    clip = centre_clip(20, ClipSpec(num_frames=4, num_key_frames=2, stride=2))
    np.testing.assert_array_equal(clip.target_ids_n, [6, 8, 10, 12])
    np.testing.assert_array_equal(clip.key_ids_K, [6, 10])
    np.testing.assert_allclose(clip.target_index_n, [0, 0.25, 0.5, 0.75])


def test_impossible_specs_are_refused() -> None:
    with pytest.raises(UserError, match="num_key_frames=9"):
        ClipSpec(num_frames=8, num_key_frames=9)
    with pytest.raises(UserError, match="stride=0"):
        ClipSpec(stride=0)
    with pytest.raises(ValueError, match="span 31"):
        sample_clip(np.zeros(17), 30, ClipSpec(num_frames=16, stride=2))
