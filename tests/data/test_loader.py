"""Batches: a pure function of (seed, step), whoever asks and from wherever."""

import itertools
import multiprocessing
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from glober_jax.data.clips import ClipSpec
from glober_jax.data.datasets.make import make_dataset
from glober_jax.data.datasets.synthetic_sky import SyntheticSkyOptions
from glober_jax.data.loader import Batch, eval_clips, training_batches
from glober_jax.data.source import VideoSource, open_videos
from glober_jax.errors import UserError
from tests.data.watched_sources import CountingSource, LoggedSource, assert_same, joined

SPEC = ClipSpec(num_frames=8, num_key_frames=4, num_target_frames=2)
# Of videos of eight frames there is one clip, and its key frames tell the video.
WHOLE = ClipSpec(num_frames=8, num_key_frames=8, num_target_frames=2)
READING = [sys.executable, "-m", "tests.data.reading_script"]
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> VideoSource:
    """24 videos of 8 frames, on disk."""
    folder = tmp_path_factory.mktemp("stored")
    make_dataset(
        SyntheticSkyOptions(num_videos=24, num_test_videos=1, num_frames=8, size=16), folder
    )
    return open_videos(folder, "train")


def _take(
    count: int, source: VideoSource | None = None, spec: ClipSpec = SPEC, **options
) -> list[Batch]:
    defaults = {"batch_size": 4, "seed": 1}
    source = CountingSource(10) if source is None else source
    batches = training_batches(source, spec, **(defaults | options))
    return list(itertools.islice(batches, count))


def _parts(source: VideoSource, process_count: int, start: int, count: int) -> list[list[Batch]]:
    """What each of the processes gets of global batches of 12."""
    return [
        _take(
            count, source, WHOLE, batch_size=12, start_step=start,
            process_index=index, process_count=process_count,
        )
        for index in range(process_count)
    ]  # fmt: skip


def _settled(log: Path) -> int:
    """The length of the file when it has not grown for a second."""
    size, since = -1, time.monotonic()
    while time.monotonic() < since + 1:
        if (now := log.stat().st_size) != size:
            size, since = now, time.monotonic()
        time.sleep(0.05)
    return size


def test_batch_holds_what_it_says() -> None:
    # Fails if targets and their indices, or frames and labels, come from different clips.
    for batch in _take(5):
        assert batch["key_frames"].shape == (4, 4, 2, 3, 2)
        assert batch["target_frames"].shape == (4, 2, 2, 3, 2)
        assert batch["key_frames"].dtype == np.float32
        assert batch["label"].dtype == np.int32
        frame_ids = batch["key_frames"][:, :, 0, 1, 1]
        np.testing.assert_array_equal(frame_ids - frame_ids[:, :1], [[0, 2, 5, 7]] * 4)
        target_ids = frame_ids[:, :1] + 8 * batch["target_index"]
        np.testing.assert_array_equal(batch["target_frames"][:, :, 0, 1, 1], target_ids)
        video_ids = batch["target_frames"][:, :, 0, 1, 0]
        np.testing.assert_array_equal(video_ids, np.stack([batch["label"]] * 2, axis=1))


def test_batches_hold_frames_between_those_of_the_clip() -> None:
    """Fails when targets are not the frames that their indices say, at strides that are drawn."""
    spec = replace(SPEC, max_stride=2)
    between = 0
    for batch in _take(30, CountingSource(10, num_frames=20), spec):
        frame_ids = batch["key_frames"][:, :, 0, 1, 1]
        strides = (frame_ids[:, -1:] - frame_ids[:, :1]) / 7
        target_ids = frame_ids[:, :1] + 8 * strides * batch["target_index"]
        np.testing.assert_allclose(batch["target_frames"][:, :, 0, 1, 1], target_ids, atol=1e-4)
        between += (8 * batch["target_index"] % 1 == 0.5).sum()
    # A quarter of all targets, give or take a half of it.
    assert 30 < between < 90


def test_seek_equals_running_through() -> None:
    """Fails if the position is kept in state, or threads change the sequence, over epochs too."""
    straight = _take(9, flip=True, threads=0)
    assert_same(straight[4:], _take(5, flip=True, start_step=4, threads=3, prefetch=4))


def test_far_seek_is_immediate() -> None:
    assert len(_take(1, CountingSource(3), batch_size=12, start_step=10**12)) == 1


def test_every_epoch_visits_each_video_once_in_a_new_order() -> None:
    labels = np.concatenate([batch["label"] for batch in _take(15)]).reshape(6, 10)
    np.testing.assert_array_equal(np.sort(labels, axis=1), np.tile(np.arange(10), (6, 1)))
    assert len({tuple(epoch) for epoch in labels}) == 6


def test_clips_change_by_epoch_and_seed() -> None:
    def starts(seed: int) -> np.ndarray:
        return np.stack([b["key_frames"][0, 0, 0, 1, 1] for b in _take(30, seed=seed)])

    assert not np.array_equal(starts(1)[:15], starts(1)[15:])
    assert not np.array_equal(starts(1), starts(2))


def test_no_frame_is_read_twice() -> None:
    # Key and target frames overlap often here; fails if they are read separately.
    source = CountingSource(6)
    _take(10, source, threads=0)
    assert len(source.reads) == 40
    assert all(len(read) == len(set(read)) for read in source.reads)
    assert min(map(len, source.reads)) < 6


def test_flip_mirrors_whole_clips_about_half_the_time() -> None:
    marked = np.stack([batch["key_frames"][..., 0] % 1 > 0 for batch in _take(50, flip=True)])
    left = marked[..., 0].reshape(200, -1)
    assert (left.all(axis=1) | ~left.any(axis=1)).all()
    assert 60 < left.all(axis=1).sum() < 140


def test_pixels_are_marked_to_be_mirrored(stored: VideoSource) -> None:
    """Fails when other clips are drawn, or flipped twice, or not those that latents flip."""
    for plain, marked in zip(_take(6, stored), _take(6, stored, flip=True), strict=True):
        assert marked.pop("mirrored").dtype == bool
        assert_same([plain], [marked])
    latents = np.concatenate([b["key_frames"][:, 0, 0, 0, 0] % 1 == 0 for b in _take(9, flip=True)])
    source = replace(CountingSource(10), has_mirrored=False)
    marks = np.concatenate([batch["mirrored"] for batch in _take(9, source, flip=True)])
    np.testing.assert_array_equal(marks, latents)


def test_unwanted_frames_are_absent() -> None:
    only_keys = ClipSpec(8, num_key_frames=4, num_target_frames=0)
    only_targets = ClipSpec(8, num_key_frames=0, num_target_frames=1)
    source = CountingSource(4)
    keys = next(training_batches(source, only_keys, batch_size=2, seed=0))
    targets = next(training_batches(source, only_targets, batch_size=2, seed=0))
    assert keys.keys() == {"key_frames", "label"}
    assert targets.keys() == {"target_frames", "target_index", "label"}


def test_mistakes_are_named() -> None:
    with pytest.raises(UserError, match="batch_size=4 must be a positive multiple of the 3"):
        _take(1, process_count=3)
    with pytest.raises(UserError, match="no videos"):
        _take(1, CountingSource(0))
    # These two rise in a worker thread and must arrive as they are.
    with pytest.raises(UserError, match=r"video_\d: it has 5 frames.*needs 8.*--min_frames=8"):
        _take(1, CountingSource(3, num_frames=5))
    with pytest.raises(UserError, match=r"video video_\d are 2x3, .* 64x64: .*--size=64"):
        _take(1, frame_size=64)


def test_going_on_with_other_processes(stored: VideoSource) -> None:
    """Fails when a clip is lost or repeated where 2 processes become 3, and then 4."""
    stretches = [joined(_parts(stored, *stretch)) for stretch in ((2, 0, 3), (3, 3, 4), (4, 7, 2))]
    assert_same(list(itertools.chain(*stretches)), _take(9, stored, WHOLE, batch_size=12))


@pytest.mark.parametrize(("workers", "prefetch"), [(0, 3), (2, 2)])
def test_memory_is_bounded(
    stored: VideoSource, tmp_path: Path, workers: int, prefetch: int
) -> None:
    """Fails when more is read ahead than the docstring of training_batches says."""
    source = LoggedSource(stored, tmp_path / "reads")
    options = {"batch_size": 3, "workers": workers, "prefetch": prefetch}
    batches = training_batches(source, WHOLE, seed=0, **options)
    for _ in range(4):
        next(batches)
    bound = 2 + (workers * (5 + prefetch) if workers else prefetch)
    # Three are done with; the one that the caller holds counts.
    read = _settled(source.log) - 3 * 3
    batches.close()
    assert 3 * prefetch * max(workers, 1) < read <= 3 * bound


@pytest.mark.parametrize("workers", [0, 2])
def test_abandoned_iterator_lets_the_process_end(sky_folder: Path, workers: int) -> None:
    """Fails when reading in the background keeps the interpreter alive, or its end is noisy."""
    done = subprocess.run(
        [*READING, str(sky_folder), str(workers)],
        cwd=REPOSITORY, timeout=60, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "ready\n", "")


def test_workers_end_with_a_killed_parent(sky_folder: Path) -> None:
    """Fails when `kill -9` leaves processes behind."""
    process = subprocess.Popen(
        [*READING, str(sky_folder), "2", "stay"],
        cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout.readline() == b"ready\n"
    process.kill()
    # Ends when the last process that could write there has ended, workers among them.
    process.communicate(timeout=60)


def test_a_killed_worker_is_an_error(sky_folder: Path) -> None:
    """Fails when a worker that the system killed leaves training waiting, or ends in a trace."""
    batches = training_batches(
        open_videos(sky_folder, "train"), SPEC, batch_size=2, seed=0, workers=1
    )
    next(batches)
    (worker,) = multiprocessing.active_children()
    worker.kill()
    with pytest.raises(UserError, match=r"worker process .* exit code -9.*config\.data\.workers"):
        for _ in batches:
            pass


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
    """Fails when videos are taken at even distances, which finds one or two classes only."""
    for num_videos, num_clips in ((64, 32), (64, 8), (768, 128)):
        assert set(_places(num_videos, num_clips) % 4) == {0, 1, 2, 3}
