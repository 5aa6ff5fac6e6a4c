"""Which frames a request means."""

from typing import Any

import numpy as np
import pytest

from glober_jax.errors import UserError
from glober_jax.sampling.indices import frame_indices


def test_default_is_the_training_grid() -> None:
    np.testing.assert_array_equal(frame_indices(16), np.arange(16) / 16)


def test_a_part_is_a_slice_of_the_whole() -> None:
    whole = frame_indices(16, rate=3)
    part = frame_indices(16, rate=3, start=0.25, end=0.5)
    np.testing.assert_allclose(part, whole[12:24], atol=1e-12)


@pytest.mark.parametrize(("rate", "count"), [(1, 16), (2.5, 40), (0.5, 8), (1 / 3, 6), (7, 112)])
def test_rate_is_frames_per_training_frame(rate: float, count: int) -> None:
    """Fails when rounding adds a frame at the end of the clip, or loses one."""
    index = frame_indices(16, rate=rate)
    assert len(index) == count and index[-1] < 1
    np.testing.assert_allclose(np.diff(index), 1 / (16 * rate))


def test_number_of_frames_and_explicit_indices() -> None:
    np.testing.assert_allclose(frame_indices(16, start=0.5, num_frames=2), [0.5, 0.75])
    np.testing.assert_array_equal(frame_indices(16, indices=[0.9, 0.1, 1.0]), [0.9, 0.1, 1.0])


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ({"start": -0.1}, "--start=-0.1 must be below --end=1"),
        ({"start": 0.5, "end": 0.2}, "--start=0.5 must be below --end=0.2"),
        ({"end": 1.5}, "and both between 0"),
        ({"num_frames": 0}, "a video of 0 frames"),
        ({"num_frames": 10**9}, "1,000,000,000 frames .* from 1 to 100,000"),
        ({"rate": 1e12}, "frames is not possible"),
        ({"rate": 0.0}, "--rate=0 must be above 0"),
        ({"rate": float("nan")}, "--rate=nan"),
        ({"rate": 2.0, "num_frames": 8}, "--num_frames or --rate, not both"),
        ({"indices": [0.5], "rate": 2.0}, "--indices says it all"),
    ],
)
def test_nonsense_is_one_sentence(flags: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        frame_indices(16, **flags)
