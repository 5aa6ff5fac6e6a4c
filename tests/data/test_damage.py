"""Damaged data: found, counted once, named, survived as far as allowed, refused beyond.

The data set has 24 videos in four shards: the second shard is cut short, a frame of video 3 and
the last record of video 20 are overwritten. That makes 8 videos that cannot be used. Every clip
takes all frames of its video, which are two records.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from glober_jax.data.clips import ClipSpec
from glober_jax.data.damage import DamageLog
from glober_jax.data.datasets.make import make_dataset
from glober_jax.data.datasets.synthetic_sky import SyntheticSkyOptions
from glober_jax.data.loader import Batch, batch_videos, eval_clips, training_batches
from glober_jax.data.source import open_videos
from glober_jax.errors import UserError
from tests.data.shards import reshard, without_jpeg_start
from tests.data.watched_sources import (
    CountingSource,
    CountingVideo,
    LoggedSource,
    assert_same,
    joined,
)

SPEC = ClipSpec(num_frames=12, num_key_frames=12, num_target_frames=2)
BAD = {3, *range(6, 12), 20}


def _plant(index: int, record: bytes) -> bytes:
    video, number = divmod(index, 2)
    if (video, number) == (3, 1):
        return without_jpeg_start(record, 2)
    return b"\xff" * len(record) if (video, number) == (20, 1) else record


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    make_dataset(
        SyntheticSkyOptions(num_videos=24, num_test_videos=4, num_frames=12, size=16), folder
    )
    return folder


@pytest.fixture(scope="module")
def damaged(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("damaged") / "data"
    shard = reshard(whole, folder, "train", 4, _plant)[1]
    shard.write_bytes(shard.read_bytes()[:1000])
    return folder


def _log(folder: Path, fraction: float) -> DamageLog:
    return DamageLog(24, fraction, str(folder))


def _batches(folder: Path, fraction: float = 0.4, **options) -> Iterator[Batch]:
    videos = open_videos(folder, "train", fraction)
    options = {"batch_size": 12, "seed": 5, "damage": _log(folder, fraction)} | options
    return training_batches(videos, SPEC, **options)


def _take(count: int, *arguments, **options) -> list[Batch]:
    return list(itertools.islice(_batches(*arguments, **options), count))


def _said(capsys: pytest.CaptureFixture) -> list[str]:
    return [line for line in capsys.readouterr().err.splitlines() if "cannot be used" in line]


def test_each_damaged_video_is_said_once(damaged: Path, capsys: pytest.CaptureFixture) -> None:
    """Fails when a second epoch counts a video anew, or one is passed over in silence."""
    _take(6, damaged)
    lines = _said(capsys)
    assert len(lines) == 8
    names = {line.split(": ")[1].split(" cannot")[0] for line in lines}
    wanted = {f"video {index} of the train split" for index in BAD - {3}}
    assert names == wanted | {f"video {open_videos(damaged, 'train')[3].video_id}"}
    assert any("its frame 10 is damaged" in line for line in lines)
    assert lines[-1].startswith("damaged video 8, of at most 9: ")


def test_only_damaged_videos_lose_their_places(whole: Path, damaged: Path) -> None:
    """Fails when a whole video loses its place, or a substitute depends on who met what before."""
    videos = open_videos(whole, "train")
    place = {videos[index].read(range(12)).tobytes(): index for index in range(24)}
    intact, patched = (
        [place[clip.tobytes()] for batch in _take(6, folder) for clip in batch["key_frames"]]
        for folder in (whole, damaged)
    )
    for wanted, found in zip(intact, patched, strict=True):
        assert found not in BAD if wanted in BAD else found == wanted
    parts = [_take(4, damaged, process_index=index, process_count=2) for index in range(2)]
    assert_same(_take(4, damaged), joined(parts))


def test_workers_change_nothing(damaged: Path, capsys: pytest.CaptureFixture) -> None:
    """Fails when worker processes give other batches or lose the damage they meet."""
    options = {"start_step": 3, "flip": True}
    here = _take(5, damaged, threads=0, **options)
    said_here = _said(capsys)
    there = _take(5, damaged, workers=2, threads=2, prefetch=3, **options)
    assert_same(here, there)
    assert all(type(rows) is np.ndarray for batch in there for rows in batch.values())
    assert _said(capsys) == said_here


def test_videos_of_a_batch_are_those_that_were_read(whole: Path, damaged: Path) -> None:
    """Fails when a batch is said to hold others: a damaged one, or those of another step."""

    intact, videos = open_videos(whole, "train"), open_videos(damaged, "train", 0.4)
    names = {v.read(range(12)).tobytes(): v.video_id for v in map(intact.__getitem__, range(24))}
    options = {"batch_size": 12, "seed": 5, "damage": _log(damaged, 0.4)}
    batches = training_batches(videos, SPEC, flip=True, start_step=2, **options)
    for step, batch in zip((2, 3), batches, strict=False):
        read = [names[clip.tobytes()] for clip in batch["key_frames"]]
        assert batch_videos(videos, SPEC, step=step, **options) == read


@pytest.mark.parametrize(("fraction", "first"), [(0.0, "1 of 24 videos"), (0.3, "8 of 24 videos")])
@pytest.mark.parametrize("workers", [0, 1])
def test_too_much_damage_is_one_message(
    damaged: Path, fraction: float, first: str, workers: int
) -> None:
    """Fails when training goes on, or it is not said which videos, which key and which command."""
    with pytest.raises(UserError) as caught:
        _take(6, damaged, fraction, workers=workers)
    message = str(caught.value)
    assert message.startswith(f"{first} in {damaged} cannot be used, config.data.max_damaged=")
    assert f"python -m glober_jax.prepare doctor --input={damaged}" in message
    listed = [line for line in message.splitlines() if line.startswith("  ")]
    assert len(listed) == (1 if fraction == 0 else 6)
    assert all("damaged or gone" in line or "frame 10" in line for line in listed[:5])


@pytest.mark.parametrize("harm", [Path.unlink, lambda shard: shard.write_bytes(bytes(9000))])
def test_a_lost_shard_is_survived_or_refused(
    whole: Path, tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    """Fails when a lost shard ends an allowed run, or a run that allows nothing survives it."""
    shard = reshard(whole, tmp_path / "data", "train", 4)[2]
    harm(shard)
    survived = np.concatenate([b["key_frames"] for b in _take(4, tmp_path / "data", 0.25)])
    videos = open_videos(whole, "train")
    lost = {videos[index].read(range(12)).tobytes() for index in range(12, 18)}
    assert not lost & {clip.tobytes() for clip in survived}
    for fraction in (0.0, 0.2):
        with pytest.raises(UserError, match=r"of 24 videos.*allows [04]\b") as caught:
            _take(4, tmp_path / "data", fraction)
        assert shard.name in str(caught.value)


def test_held_out_clips_survive(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Fails when one bad test record ends a run that allows it, or a video is shown twice."""
    reshard(
        whole, tmp_path / "data", "test", 1,
        lambda index, record: without_jpeg_start(record, 0) if index == 2 else record,
    )  # fmt: skip
    videos = open_videos(tmp_path / "data", "test")
    names = [videos[index].video_id for index in range(4)]
    all_but_one = eval_clips(videos, SPEC, 4, damage=DamageLog(4, 0.25))
    assert all_but_one["video_id"] == [names[0], names[2], names[3]]
    assert len(all_but_one["frames"]) == len(all_but_one["label"]) == 3
    assert f"video {names[1]} cannot be used" in "".join(_said(capsys))
    # Spread over the split: 0, 1, 2 are wanted, and 2 makes room.
    assert (
        eval_clips(videos, SPEC, 3, damage=DamageLog(4, 0.25))["video_id"] == names[:1] + names[2:]
    )
    with pytest.raises(UserError, match="1 of 4 videos"):
        eval_clips(videos, SPEC, 4)


def test_a_data_set_that_is_gone_is_noticed_soon(tmp_path: Path) -> None:
    """Fails when thousands of videos are tried for one row."""
    videos = LoggedSource(CountingSource(10_000, num_frames=11), tmp_path / "tried")
    log = DamageLog(10_000, 0.9)
    with pytest.raises(UserError, match=r"64 videos in a row .*\n  video .* has 11 frames, a clip"):
        next(training_batches(videos, SPEC, batch_size=4, seed=0, threads=0, damage=log))
    assert (tmp_path / "tried").stat().st_size == 4 * 64


def test_a_wrong_frame_size_is_no_damage(whole: Path) -> None:
    """Fails when a mistake in the config eats the allowance for damage."""
    with pytest.raises(UserError, match=r"^the frames .* are 16x16, the config wants 32x32"):
        _take(1, whole, 0.9, frame_size=32)


def test_short_videos_are_not_called_damaged(capsys: pytest.CaptureFixture) -> None:
    """Fails when whole videos are said to be damaged, or the clip that would fit is not named."""
    videos = CountingSource(4, num_frames=12)
    for spec, fits in ((replace(SPEC, num_frames=13), 12), (replace(SPEC, stride=2), 6)):
        with pytest.raises(
            UserError, match=rf"longest of 4 has 12 .*num_frames={fits}\b"
        ) as caught:
            eval_clips(videos, spec, 4)
        assert "damage" not in str(caught.value)

    class Mixed(CountingSource):
        def __getitem__(self, index: int) -> CountingVideo:
            return CountingVideo(index, (12, 9)[index], self.reads)

    with pytest.raises(UserError, match="1 of 2 videos in DIR are too short") as caught:
        eval_clips(Mixed(2), SPEC, 2)
    message = str(caught.value)
    assert "it has 9 frames" in message and "config.clip.num_frames" in message
    assert "doctor" not in message
    assert len(eval_clips(Mixed(2), SPEC, 2, damage=DamageLog(2, 0.5))["frames"]) == 1
    assert "short video 1, of at most 1: " in capsys.readouterr().err
