"""Atomic writing of videos, frame by frame.

Dimension key: T frames of a video, c of a piece, H, W frame size, C colours.
"""

import contextlib
import io
import zipfile
from collections.abc import Iterator, Sequence
from typing import Self

import numpy as np
from etils import epath

from glober_jax import media
from glober_jax.errors import UserError


class VideoFile:
    """`NAME.mp4` and, if wanted, the exact pixels, `NAME.npy` uint8 [T, H, W, C].

    Used as a context manager: pieces are added in order, and a video that was left before its last
    frame leaves nothing behind.
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
            shape = (num_frames, frame_size, frame_size, 3)
            with _writing(self._temporary):
                self._pixels = self._temporary.open("wb")
                header = {"descr": "|u1", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(self._pixels, header)

    @property
    def is_whole(self) -> bool:
        """Whether all frames were added."""
        return self._left == 0

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
        whole = self.is_whole and exception[0] is None
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
            # Last: it says that the video is there.
            media.write_file(self._path.with_name(f"{self._path.name}.mp4"), self._encoder.finish())


def join_arrays(files: Sequence[epath.Path], path: epath.Path) -> None:
    """One `.npz` with "frames", uint8 [N, T, H, W, C], of N `.npy` files of equal shape.

    One video is in memory at a time. Raises `UserError` where it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    first = np.load(io.BytesIO(files[0].read_bytes()), allow_pickle=False)
    header = {"descr": "|u1", "fortran_order": False, "shape": (len(files), *first.shape)}
    try:
        with (
            _writing(temporary),
            temporary.open("wb") as target,
            zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
            archive.open("frames.npy", "w", force_zip64=True) as frames,
        ):
            np.lib.format.write_array_header_1_0(frames, header)
            for file in files:
                frames.write(np.load(io.BytesIO(file.read_bytes()), allow_pickle=False).data)
        with _writing(path):
            temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _writing(path: epath.Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}; choose another output path"
        ) from error
