"""Copies of a clip are found, and what only looks like one is not."""

from pathlib import Path

import numpy as np

from glober_jax.data.doctor.duplicates import index_frames
from tests.data.doctor.planting import examined, make, write_video


def test_duplicates_across_and_within_splits(tmp_path: Path) -> None:
    """Fails when a copy is missed, or black frames, still pictures or a short overlap are one."""
    rng = np.random.default_rng(1)
    noise = lambda count: rng.integers(0, 256, (count, 16, 16, 3), np.uint8)  # noqa: E731
    black = np.zeros((8, 16, 16, 3), np.uint8)
    shared, again = noise(8), noise(4)
    videos = tmp_path / "videos"
    for place, frames in {
        "train/a/copied": shared,
        "train/a/faded": np.concatenate([black, noise(8)]),
        "train/a/twin": again,
        "train/a/twin_again": again,
        "train/a/still": np.repeat(noise(1), 8, axis=0),
        "test/a/excerpt": np.concatenate([shared[2:6], noise(4)]),
        "test/a/glimpse": np.concatenate([shared[:3], noise(5)]),
        "test/a/faded_too": np.concatenate([black, noise(3)]),
        "test/a/black": black,
    }.items():
        write_video(videos / place, frames)
    findings = examined(make(videos, tmp_path / "out")).findings
    assert [(found.kind, found.video_id) for found in findings] == [
        ("duplicate", "test/a/excerpt"),
        ("repeat", "train/a/twin_again"),
    ]
    assert findings[0].what.startswith("shares 4 of its 8 frames with train/a/copied (record ")


def test_frames_that_many_records_have_do_not_count() -> None:
    """Fails when a trailer before every video makes all of them duplicates, or copies hide it."""
    trailer, copied = np.arange(4, dtype=np.uint64), np.arange(10, 18, dtype=np.uint64)
    records = [np.append(trailer, np.uint64(100 + number)) for number in range(20)]
    index = index_frames([*records, copied, copied, copied[:4]])
    assert list(index.shared_with(np.append(trailer, np.uint64(999)))) == []
    assert list(index.shared_with(np.repeat(copied, 2))) == [(20, 8), (21, 8), (22, 4)]
    assert list(index_frames([]).shared_with(trailer)) == []
