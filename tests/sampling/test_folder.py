"""Folders of videos: interrupted and gone on with, they are what they would have been."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from etils import epath

from glober_jax import media
from glober_jax.errors import UserError
from glober_jax.sampling.folder import Videos, begin_folder, join_arrays, show, write_videos
from glober_jax.sampling.from_videos import between, retime
from glober_jax.sampling.glober import Glober

COUNT, BATCH = 7, 3
INDEX = np.array([0.1, 0.4, 0.7])


class Interrupted(Exception):
    pass


def videos_of(model: Glober, asked: list[int], stop_at: int = COUNT) -> Videos:
    """Seven videos of three frames, whose making ends at the batch that begins at `stop_at`."""

    def features(first: int, count: int) -> np.ndarray:
        if first >= stop_at:
            raise Interrupted
        asked.append(first)
        return model.generate_globals(count, seed=4, first_video=first)

    return Videos(COUNT, features, INDEX, [], {"seed": 4})


def make(model: Glober, folder: Path, resume: bool, stop_at: int = COUNT) -> list[int]:
    """One run of the command; the first videos of the batches it made."""
    asked: list[int] = []
    videos = videos_of(model, asked, stop_at)
    place = epath.Path(folder)
    begin_folder(place, videos.record, resume=resume)
    write_videos(model, videos, 4, place, batch=BATCH, arrays=True)
    join_arrays(place, videos.count)
    show(place, videos, fps=8.0)
    return asked


def content(folder: Path) -> dict[str, Any]:
    """Every file's bytes; of the archive, its array."""
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".npz"}
    with np.load(folder / "frames.npz") as arrays:
        return files | {"frames": arrays["frames"].tobytes()}


@pytest.fixture(scope="module")
def model(small_glober: Glober) -> Glober:
    """Pieces of four frames: a video and a part of the next do not fit."""
    return small_glober.with_options(chunk_frames=4)


@pytest.fixture(scope="module")
def whole(model: Glober, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run leaves that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    make(model, folder, resume=False)
    return folder


def test_leaves_every_video_as_decoded(model: Glober, whole: Path) -> None:
    """Fails when videos are numbered anew in every batch, or frames lie in another's file."""
    names = {f"video_{number:04d}.mp4" for number in range(COUNT)}
    overview = {"frames.npz", "samples.json", "sheet.png", "grid.gif"}
    assert {path.name for path in whole.iterdir()} == names | overview
    with np.load(whole / "frames.npz") as arrays:
        frames = arrays["frames"]
    features = model.generate_globals(COUNT, seed=4)
    expected = model.decode(features, INDEX, seed=4)
    # Another batch may sum in another order, which rounds a pixel differently.
    assert np.abs(frames.astype(int) - expected).max() <= 1
    assert media.read_mp4(whole / "video_0006.mp4", 99).shape == (3, 8, 8, 3)


def test_interrupted_twice_equals_uninterrupted(model: Glober, whole: Path, tmp_path: Path) -> None:
    """Fails when a video is repeated, lost or another."""
    with pytest.raises(Interrupted):
        make(model, tmp_path, resume=False, stop_at=3)
    # One of a batch is lost, as where it ended between two videos.
    (tmp_path / "video_0002.mp4").unlink()
    kept = (tmp_path / "video_0001.mp4").stat().st_mtime_ns
    with pytest.raises(Interrupted):
        make(model, tmp_path, resume=True, stop_at=6)
    assert make(model, tmp_path, resume=True) == [6]
    assert (tmp_path / "video_0001.mp4").stat().st_mtime_ns == kept
    assert content(tmp_path) == content(whole)
    assert make(model, tmp_path, resume=True) == []


def test_going_on_with_another_run_is_refused(model: Glober, tmp_path: Path) -> None:
    """Fails when videos of two seeds end up side by side; without --resume old ones go."""
    place = epath.Path(tmp_path)
    begin_folder(place, {"seed": 1, "command": "a"}, resume=False)
    (tmp_path / "video_0009.mp4").touch()
    begin_folder(place, {"seed": 1, "command": "b"}, resume=True)
    with pytest.raises(UserError, match=r"another run \(seed differ\)"):
        begin_folder(place, {"seed": 2, "command": "a"}, resume=True)
    assert (tmp_path / "video_0009.mp4").exists()
    begin_folder(place, {"seed": 2, "command": "a"}, resume=False)
    assert not (tmp_path / "video_0009.mp4").exists()
    assert json.loads((tmp_path / "samples.json").read_text())["seed"] == 2


def test_full_disk_leaves_whole_videos_only(
    model: Glober, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails when a half-written file remains, or what was finished is lost."""
    begin_folder(epath.Path(tmp_path), {}, resume=False)
    write_file = media.write_file

    def full(path: epath.Path, data: bytes) -> None:
        if path.name == "video_0002.mp4":
            raise UserError(f"cannot write {path}: No space left on device")
        write_file(path, data)

    monkeypatch.setattr(media, "write_file", full)
    with pytest.raises(UserError, match="No space left"):
        write_videos(model, videos_of(model, []), 4, epath.Path(tmp_path), batch=3, arrays=False)
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["samples.json", "video_0000.mp4", "video_0001.mp4"]


def test_retimed_video_keeps_its_own_frames(model: Glober, tmp_path: Path) -> None:
    """Fails when clips of a long video are mixed up, or a rate moves the frames in between.

    At twice the rate every other frame is one of rate 1.
    """
    video = np.random.default_rng(0).integers(0, 256, (21, 8, 8, 3), np.uint8)
    for rate in (1.0, 2.0):
        path = epath.Path(tmp_path / f"at{rate:g}")
        count = retime(model, video, path, rate=rate, seed=0, fps=8.0, arrays=True)
        assert count == 21 * rate
    once, twice = np.load(tmp_path / "at1.npy"), np.load(tmp_path / "at2.npy")
    assert np.abs(twice[::2].astype(int) - once).max() <= 1
    first = model.reconstruct(video[:16])
    assert np.abs(once[:16].astype(int) - first).max() <= 1
    rest = model.decode(model.encode(video[16:]), np.arange(5) / 5, first_video=1)[0]
    assert np.abs(once[16:].astype(int) - rest).max() <= 1


def test_from_one_video_to_another(model: Glober) -> None:
    """Fails when the ends are not the two videos."""
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 256, (2, 20, 8, 8, 3), np.uint8)
    way = between(model, a, b, 3)
    np.testing.assert_allclose(way[0], model.encode(a[:16])[0], rtol=1e-5)
    np.testing.assert_allclose(way[2], model.encode(b[:16])[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(way[1], (way[0] + way[2]) / 2, rtol=1e-5, atol=1e-6)
    with pytest.raises(UserError, match="at least 2"):
        between(model, a, b, 1)


def test_a_video_is_encoded_from_the_frames_that_training_looks_at(
    small_glober: Glober, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails when key frames of a video are spaced otherwise than a clip's (as before: 0, 3, 7)."""
    monkeypatch.setattr(small_glober._frames, "encode", lambda model, frames: frames)
    size = small_glober.networks.frame_size
    for length in (4, 11, 40):
        video = np.zeros((length, size, size, 3), np.uint8) + np.arange(length)[:, None, None, None]
        keys = small_glober.encode(video.astype(np.uint8))[0, :, 0, 0, 0]
        np.testing.assert_array_equal(keys, np.round(np.linspace(0, length - 1, 4)))
