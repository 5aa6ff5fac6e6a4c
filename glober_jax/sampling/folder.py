"""Writes generated videos and their overviews into folders; batch by batch, resumable.

    video_0000.mp4 ...   one per video
    frames.npz           with --save_arrays, the exact pixels: uint8 [N, T, H, W, C] as "frames";
                         while videos are made, each has its own in video_0000.npy
    samples.json         the arguments that make the same videos again; written first
    sheet.png, grid.gif  an overview of the first videos; written last

Dimension key: N videos, B of a batch, T = n frames of each, c of a piece, H, W frame size, C
colours; H, W, G global feature.
"""

import contextlib
import dataclasses
import io
import json
import textwrap
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np
from etils import epath

from glober_jax import media
from glober_jax.errors import UserError
from glober_jax.progress import Progress
from glober_jax.sampling.decode import Chunk
from glober_jax.sampling.glober import Glober

RECORD, ARRAYS = "samples.json", "frames.npz"
# Keys of a record that may differ when a run is resumed.
_CIRCUMSTANCES = ("versions", "command")
# Videos of the overview, and frames of each.
_SHOWN_VIDEOS, _SHOWN_FRAMES = 16, 32
# Small frames are enlarged to about these many pixels: a frame of a sheet, the whole GIF.
_SHEET_FRAME_SIZE, _GRID_SIZE = 128, 400
_LONGEST_LABEL = 40


@dataclasses.dataclass(frozen=True)
class Videos:
    """Videos to make.

    Attributes:
      count: how many videos.
      features: (first, count) -> global features [B, H, W, G] of the videos from `first` on.
      index_n: indices of every video's frames.
      labels: one per video, or none.
      record: JSON values that decide the videos, besides the model.
    """

    count: int
    features: Callable[[int, int], np.ndarray]
    index_n: np.ndarray
    labels: Sequence[str]
    record: Mapping[str, Any]


class VideoFile:
    """`NAME.mp4` and, with `arrays`, the exact pixels, `NAME.npy` uint8 [T, H, W, C].

    A context manager: pieces are added in order, and an incomplete video leaves no file.
    """

    def __init__(
        self, path: epath.Path, num_frames: int, frame_size: int, fps: float, *, arrays: bool
    ) -> None:
        """`path` is without suffix. Raises `UserError` where it cannot be written."""
        self._path, self._left = path, num_frames
        self._encoder = media.Mp4Encoder(fps)
        self._pixels = self._temporary = None
        if arrays:
            self._temporary = path.with_name(f".{path.name}.npy.tmp")
            with _writing(self._temporary):
                self._pixels = self._temporary.open("wb")
                _write_header(self._pixels, (num_frames, frame_size, frame_size, 3))

    def add(self, frames_cHWC: np.ndarray) -> None:
        """Appends the next frames, uint8."""
        self._encoder.add(frames_cHWC)
        if self._pixels is not None:
            with _writing(self._temporary):
                self._pixels.write(np.ascontiguousarray(frames_cHWC).data)
        self._left -= len(frames_cHWC)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        whole = self._left == 0 and exception[0] is None
        if self._pixels is not None:
            try:
                with _writing(self._temporary):
                    self._pixels.close()
                    if whole:
                        self._temporary.replace(self._path.with_name(f"{self._path.name}.npy"))
            finally:
                with contextlib.suppress(OSError):
                    self._temporary.unlink(missing_ok=True)
        if whole:
            # Last: it marks the video as complete.
            media.write_file(self._path.with_name(f"{self._path.name}.mp4"), self._encoder.finish())


def begin_folder(folder: epath.Path, record: Mapping[str, Any], *, resume: bool) -> None:
    """Makes `folder` and removes older videos; with `resume` those of the same `record` are kept.

    Raises `UserError` where they are of another record, or the folder cannot be written.
    """
    media.make_folder(folder)
    file = folder / RECORD
    if resume and file.exists():
        there, here = json.loads(file.read_text()), json.loads(json.dumps(record))
        keys = sorted({*there, *here} - set(_CIRCUMSTANCES))
        if differing := [key for key in keys if there.get(key) != here.get(key)]:
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
    arrays: bool,
) -> None:
    """Writes every video that is not in `folder` yet, each of them whole or not at all.

    `batch` global features are made at a time; `arrays` writes the exact pixels too. Raises
    `UserError` where a file cannot be written; finished videos stay.
    """
    frames, size = len(videos.index_n), model.networks.frame_size

    def new_file(number: int) -> VideoFile:
        return VideoFile(folder / _name(number), frames, size, model.options.fps, arrays=arrays)

    missing = [n for n in range(videos.count) if not _is_there(folder, n, arrays)]
    done = (videos.count - len(missing)) * frames
    with Progress("frames", videos.count * frames, done, unit="frame") as progress:
        for first in range(0, videos.count, batch):
            numbers = [n for n in missing if first <= n < first + batch]
            if numbers:
                # The same number in every batch, for one compilation.
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


def join_arrays(folder: epath.Path, count: int) -> None:
    """Joins the pixels of `count` videos in one `.npz`; `UserError` where it cannot be written.

    One video is in memory at a time.
    """
    path = folder / ARRAYS
    if path.exists():
        return
    files = [folder / f"{_name(number)}.npy" for number in range(count)]
    temporary = path.with_name(f".{path.name}.tmp")
    first = np.load(io.BytesIO(files[0].read_bytes()), allow_pickle=False)
    try:
        with (
            _writing(temporary),
            temporary.open("wb") as target,
            zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
            archive.open("frames.npy", "w", force_zip64=True) as frames,
        ):
            _write_header(frames, (len(files), *first.shape))
            for file in files:
                frames.write(np.load(io.BytesIO(file.read_bytes()), allow_pickle=False).data)
        with _writing(path):
            temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
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


def write_samples(
    output: epath.Path,
    videos_NTHWC: np.ndarray,
    record: dict[str, Any],
    *,
    fps: float,
    row_labels: Sequence[str] | None = None,
) -> None:
    """Writes `video_0000.mp4` ..., `grid.gif`, `sheet.png`, `samples.json` into `output`.

    Raises `UserError` where `output` cannot be written.
    """
    for number, video in enumerate(videos_NTHWC):
        media.write_mp4(output / f"{_name(number)}.mp4", video, fps)
    write_overview(output, videos_NTHWC, fps, row_labels)
    media.write_file(output / RECORD, json.dumps(record, indent=2).encode())


def write_overview(
    output: epath.Path,
    videos_NTHWC: np.ndarray,
    fps: float,
    row_labels: Sequence[str] | None = None,
) -> None:
    """Writes `grid.gif`, all videos playing, and `sheet.png`, frame by frame."""
    grid_THWC = media.tile_videos(videos_NTHWC, gap=1)
    grid_THWC = media.enlarge(grid_THWC, max(1, _GRID_SIZE // grid_THWC.shape[1]))
    media.write_gif(output / "grid.gif", grid_THWC, fps)
    write_sheet(output / "sheet.png", videos_NTHWC, row_labels)


def write_sheet(
    path: epath.Path, videos_NTHWC: np.ndarray, row_labels: Sequence[str] | None = None
) -> None:
    """A contact sheet: a row per video, frames spread over time; long labels are cut."""
    if row_labels is not None:
        row_labels = [
            textwrap.shorten(label, _LONGEST_LABEL, placeholder="...") for label in row_labels
        ]
    scale = sheet_scale(videos_NTHWC)
    media.write_png(path, media.contact_sheet(videos_NTHWC, row_labels=row_labels, scale=scale))


def sheet_scale(videos_NTHWC: np.ndarray) -> int:
    """Factor by which small frames are enlarged."""
    return max(1, _SHEET_FRAME_SIZE // videos_NTHWC.shape[2])


def _name(number: int) -> str:
    return f"video_{number:04d}"


def _is_there(folder: epath.Path, number: int, arrays: bool) -> bool:
    if not (folder / f"{_name(number)}.mp4").exists():
        return False
    pixels = (folder / f"{_name(number)}.npy", folder / ARRAYS)
    return not arrays or any(file.exists() for file in pixels)


def _write_header(file: Any, shape: tuple[int, ...]) -> None:
    """The header of a `.npy` file of uint8."""
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


@contextlib.contextmanager
def _writing(path: epath.Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}; choose another output path"
        ) from error
