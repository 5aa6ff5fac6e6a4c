"""Which frames an example uses."""

import numpy as np
import pytest

from glober_jax.data.clips import ClipSpec, centre_clip, sample_clip
from glober_jax.errors import UserError


def test_key_frames_reach_from_the_first_frame_to_the_last() -> None:
    """Fails when frames lie beyond the last key frame, or halves are rounded to even."""
    for frames in range(1, 40):
        for keys in range(frames + 1):
            positions = ClipSpec(frames, keys, num_target_frames=0).key_positions
            exact = np.linspace(0, frames - 1, keys)
            assert len(set(positions)) == keys and (np.abs(positions - exact) < 0.501).all()
            assert positions.dtype == np.int64
    np.testing.assert_array_equal(ClipSpec(10, num_key_frames=3).key_positions, [0, 5, 9])
    np.testing.assert_array_equal(ClipSpec(8, num_key_frames=3).key_positions, [0, 4, 7])
    np.testing.assert_array_equal(ClipSpec(8, num_key_frames=1).key_positions, [0])


def test_published_key_frames_round_down() -> None:
    """Fails when the published rule is not floor(k T / K)."""
    for keys, positions in {5: [0, 3, 6, 9, 12], 8: list(range(0, 16, 2))}.items():
        spec = ClipSpec(16, num_key_frames=keys, published_keys=True)
        np.testing.assert_array_equal(spec.key_positions, positions)


def test_targets_are_distinct_ascending_and_uniform() -> None:
    spec = ClipSpec(num_frames=8, num_key_frames=2, num_target_frames=2, stride=3)
    rng = np.random.default_rng(0)
    counts, starts = np.zeros(8), set()
    for _ in range(2000):
        clip = sample_clip(rng, 24, spec)
        first, last = clip.key_ids_K
        positions = (clip.target_ids_n - first) // 3
        assert last - first == 21 and positions[0] < positions[1]
        np.testing.assert_array_equal(clip.target_index_n, positions / np.float32(8))
        counts[positions] += 1
        starts.add(int(first))
    # Every start is possible, the last one too.
    assert starts == {0, 1, 2}
    assert clip.target_index_n.dtype == np.float32
    # Each position is drawn with probability 1/4; five standard deviations are about 100.
    assert np.abs(counts - 500).max() < 100


def test_centre_clip_is_in_the_middle_and_complete() -> None:
    """Fails when clips that are judged have the strides of training clips."""
    clip = centre_clip(20, ClipSpec(num_frames=4, num_key_frames=2, stride=2, max_stride=4))
    np.testing.assert_array_equal(clip.target_ids_n, [6, 8, 10, 12])
    np.testing.assert_array_equal(clip.key_ids_K, [6, 12])
    np.testing.assert_allclose(clip.target_index_n, [0, 0.25, 0.5, 0.75])


def test_targets_lie_between_the_frames_of_slower_clips() -> None:
    """Fails when times between a clip's frames are no targets, or have another index."""
    spec = ClipSpec(num_frames=8, num_key_frames=4, num_target_frames=3, stride=2, max_stride=4)
    rng = np.random.default_rng(0)
    seen: dict[int, set[float]] = {2: set(), 3: set(), 4: set()}
    starts: dict[int, set[int]] = {2: set(), 3: set(), 4: set()}
    for _ in range(3000):
        clip = sample_clip(rng, 32, spec)
        first, last = clip.key_ids_K[[0, -1]]
        stride = (last - first) // 7
        np.testing.assert_array_equal(clip.key_ids_K - first, stride * spec.key_positions)
        offsets = clip.target_ids_n - first
        assert first >= 0 and last < 32
        assert (np.diff(offsets) > 0).all() and offsets[0] >= 0 and offsets[-1] <= 7 * stride
        np.testing.assert_array_equal(clip.target_index_n, np.float32(offsets / (8 * stride)))
        seen[stride].update(offsets)
        starts[stride].add(int(first))
    for stride in seen:
        assert seen[stride] == set(range(7 * stride + 1))
        assert starts[stride] == set(range(32 - 7 * stride))


def test_clips_of_short_videos_have_the_strides_that_fit() -> None:
    """Fails when a video is refused for the longest stride, or a stride that fits is not drawn."""
    spec = ClipSpec(num_frames=8, num_key_frames=8, num_target_frames=2, stride=1, max_stride=3)
    rng = np.random.default_rng(0)
    for length, longest in {8: 1, 14: 1, 15: 2, 21: 2, 22: 3, 99: 3}.items():
        clips = [sample_clip(rng, length, spec) for _ in range(300)]
        strides = [int(np.diff(clip.key_ids_K)[0]) for clip in clips]
        drawn, counts = np.unique(strides, return_counts=True)
        np.testing.assert_array_equal(drawn, np.arange(1, longest + 1))
        assert (np.abs(counts - 300 / longest) < 60).all()
        assert max(max(clip.target_ids_n) for clip in clips) < length
    with pytest.raises(ValueError, match="span 8"):
        sample_clip(rng, 7, spec)


def test_impossible_specs_are_refused() -> None:
    with pytest.raises(UserError, match="num_key_frames=9"):
        ClipSpec(num_frames=8, num_key_frames=9)
    with pytest.raises(UserError, match="stride=0"):
        ClipSpec(stride=0)
    for max_stride in (-1, 3):
        with pytest.raises(UserError, match=f"max_stride={max_stride} must be 0 .* or at least"):
            ClipSpec(stride=4, max_stride=max_stride)
