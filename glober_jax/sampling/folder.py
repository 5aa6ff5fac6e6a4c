"""Writes generated videos into a folder, batch by batch; resumable.

    video_0000.mp4 ...   one per video
    frames.npz           if wanted, the exact pixels of all, uint8 [N, T, H, W, C] as "frames";
                         while videos are made, each has its own in video_0000.npy
    samples.json         what it takes to make the same videos again; written first
    sheet.png, grid.gif  the first videos, to look at; written last

Dimension key: B videos of a batch, n = T frames, H, W, G global feature, c frames of a piece.
"""

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from glober_jax import media
from glober_jax.errors import UserError
from glober_jax.progress import Progress
from glober_jax.sampling import video_files
from glober_jax.sampling.decode import Chunk
from glober_jax.sampling.glober import Glober
from glober_jax.sampling.video_files import VideoFile
from glober_jax.sampling.write import write_overview, write_sheet

RECORD, ARRAYS = "samples.json", "frames.npz"
# Of a record, what may differ in a run that goes on.
_CIRCUMSTANCES = ("versions", "command")
# Videos of the overview, and frames of each.
_SHOWN_VIDEOS, _SHOWN_FRAMES = 16, 32


@dataclasses.dataclass(frozen=True)
class Videos:
    """Videos to make.

    Attributes:
      count: how many videos.
      features: (first, count) to global features [B, H, W, G] of the videos from `first` on.
      index_n: indices of every video's frames.
      labels: one per video, or none.
      record: what decides them besides the model, for JSON.
    """

    count: int
    features: Callable[[int, int], np.ndarray]
    index_n: np.ndarray
    labels: Sequence[str]
    record: Mapping[str, Any]


def begin_folder(folder: epath.Path, record: Mapping[str, Any], *, resume: bool) -> None:
    """Makes `folder` and removes older videos; with `resume` those of the same `record` are kept.

    Raises:
      UserError: they are of another record, or the folder cannot be written.
    """
    media.make_folder(folder)
    file = folder / RECORD
    if resume and file.exists():
        differing = _differences(json.loads(file.read_text()), json.loads(json.dumps(record)))
        if differing:
            raise UserError(
                f"--resume: {folder} holds videos of another run ({', '.join(differing)} differ): "
                "give the command they were made with, or another --output"
            )
        return
    for pattern in ("video_*.mp4", "video_*.npy", ARRAYS):
        for old in folder.glob(pattern):
            old.unlink()
    media.write_file(file, json.dumps(record, indent=2).encode())


def write_videos(
    model: Glober,
    videos: Videos,
    seed: int,
    folder: epath.Path,
    *,
    batch: int,
    fps: float,
    arrays: bool,
) -> None:
    """Writes every video that is not in `folder` yet, whole or not at all.

    `batch` global features are made at a time; `arrays` writes the exact pixels too.

    Raises:
      UserError: a file cannot be written; videos that were finished stay.
    """
    frames, size = len(videos.index_n), model.networks.frame_size

    def new_file(number: int) -> VideoFile:
        return VideoFile(folder / _name(number), frames, size, fps, arrays=arrays)

    missing = [n for n in range(videos.count) if not _is_there(folder, n, arrays)]
    done = (videos.count - len(missing)) * frames
    with Progress("frames", videos.count * frames, done, unit="frame") as progress:
        for first in range(0, videos.count, batch):
            numbers = [n for n in missing if first <= n < first + batch]
            if numbers:
                # As many as in every batch, so that one compilation serves all.
                features = videos.features(first, batch)
                features = features[numbers[0] - first : numbers[-1] + 1 - first]
                chunks = model.chunks(features, videos.index_n, seed=seed, first_video=numbers[0])
                _write(chunks, numbers[0], new_file, progress)


def _write(
    chunks: Iterable[Chunk], first: int, new_file: Callable[[int], VideoFile], progress: Progress
) -> None:
    """Each video of the chunks, numbered from `first` on, to a file of its own."""
    with contextlib.ExitStack() as opened:
        files: list[VideoFile] = []
        for chunk in chunks:
            if chunk.frame == 0:
                # Videos before these are whole.
                opened.close()
                numbers = range(first + chunk.video, first + chunk.video + len(chunk.frames))
                files = [opened.enter_context(new_file(number)) for number in numbers]
            for file, piece_cHWC in zip(files, chunk.frames, strict=True):
                file.add(piece_cHWC)
            progress.advance(chunk.frames.shape[0] * chunk.frames.shape[1])


def join_arrays(folder: epath.Path, videos: Videos) -> None:
    """Joins the pixel files of all videos into one; `UserError` where it cannot be written."""
    if (folder / ARRAYS).exists():
        return
    files = [folder / f"{_name(number)}.npy" for number in range(videos.count)]
    video_files.join_arrays(files, folder / ARRAYS)
    for file in files:
        file.unlink()


def show(folder: epath.Path, videos: Videos, fps: float) -> None:
    """Writes the overview of a finished folder."""
    numbers = range(min(videos.count, _SHOWN_VIDEOS))
    shown = [media.read_mp4(folder / f"{_name(n)}.mp4", _SHOWN_FRAMES) for n in numbers]
    labels = list(videos.labels[: len(numbers)]) or None
    write_overview(folder, np.stack(shown), fps, labels)


def write_guidance(output: epath.Path, names: Sequence[str]) -> None:
    """Writes `guidance.png`: the first video of each of these folders, a row each."""
    rows = [media.read_mp4(output / name / f"{_name(0)}.mp4", _SHOWN_FRAMES) for name in names]
    write_sheet(output / "guidance.png", np.stack(rows), names)


def _name(number: int) -> str:
    return f"video_{number:04d}"


def _is_there(folder: epath.Path, number: int, arrays: bool) -> bool:
    if not (folder / f"{_name(number)}.mp4").exists():
        return False
    pixels = (folder / f"{_name(number)}.npy", folder / ARRAYS)
    return not arrays or any(file.exists() for file in pixels)


def _differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    keys = sorted({*there, *here} - set(_CIRCUMSTANCES))
    return [key for key in keys if there.get(key) != here.get(key)]
