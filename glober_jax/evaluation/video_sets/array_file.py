"""Sets of videos in NumPy's files.

Dimension key: N videos, T frames, F chosen ones, H, W frame size, C colours.
"""

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from glober_jax.errors import UserError
from glober_jax.evaluation.video_sets.video_set import VideoSet
from glober_jax.pixels import conversion

SUFFIXES = (".npy", ".npz")
# What `python -m glober_jax.sample --save_arrays` calls its videos.
_FRAMES = "frames"
_NPY, _ZIP = b"\x93NUMPY", b"PK"


def open_array(path: Path) -> VideoSet:
    """The videos of a `.npy`, mapped into memory, or of a `.npz`, read whole.

    The array is uint8 [N, T, H, W, C], or grey, [N, T, H, W] or [N, T, H, W, 1], whose values
    become all three colours. A `.npz` calls it "frames", or holds nothing else.

    Raises:
      UserError: the file is damaged, holds Python objects, or another kind of array; the message
        says how to convert one.
    """
    array = _load(path)
    videos_NTHWC, notes = _as_videos(path, array)
    count, length, height, width, _ = videos_NTHWC.shape

    def read(index: int, frames: Sequence[int]) -> np.ndarray:
        frames_FHWC = videos_NTHWC[index, list(frames)]
        return np.repeat(frames_FHWC, 3 // frames_FHWC.shape[-1], axis=-1)

    def content(index: int) -> Iterator[bytes]:
        # Frame by frame, so that a long video in a mapped file takes no memory.
        yield repr((height, width)).encode()
        for frame_HWC in videos_NTHWC[index]:
            yield frame_HWC.tobytes()

    return VideoSet(
        source=str(path),
        size=(height, width),
        names=tuple(str(number) for number in range(count)),
        lengths=(length,) * count,
        notes=notes,
        read_frames=read,
        content=content,
    )


def _load(path: Path) -> np.ndarray:
    try:
        with path.open("rb") as file:
            start = file.read(len(_NPY))
        if start != _NPY and not start.startswith(_ZIP):
            raise UserError(
                f"{path} is not a file that NumPy wrote with np.save or np.savez: it was copied "
                "incompletely, or holds something else under that name"
            )
        if start == _NPY:
            return np.load(path, mmap_mode="r", allow_pickle=False)
        with np.load(path, allow_pickle=False) as arrays:
            return arrays[_array_name(path, arrays.files)]
    except (EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        # NumPy's only words for it, in each of its two readers.
        if "Object arrays" in str(error) or "Python objects" in str(error):
            raise UserError(
                f"{path} holds Python objects, which only a pickle can store and which could run "
                "any code when read: save one uint8 array [N, T, H, W, 3] (np.stack your videos)"
            ) from error
        raise UserError(
            f"{path} cannot be read and is probably cut off: {error}; copy or write it again"
        ) from error


def _array_name(path: Path, names: Sequence[str]) -> str:
    if _FRAMES in names:
        return _FRAMES
    if len(names) != 1:
        found = ", ".join(names) or "nothing"
        raise UserError(
            f"{path} must hold the videos as {_FRAMES!r} or as its only array, and it holds "
            f"{found}: write it with np.savez_compressed(path, {_FRAMES}=videos)"
        )
    return names[0]


def _as_videos(path: Path, array: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """The array as [N, T, H, W, 3 or 1], and notes."""
    found = f"{path} holds {array.dtype} {list(array.shape)}"
    if wrong := _wrong_shape(array.shape):
        raise UserError(f"{found}, and uint8 [N, T, H, W, 3] is needed: {wrong}")
    if array.size == 0:
        raise UserError(f"{found}, so no video at all: was this file meant?")
    if array.dtype != np.uint8:
        raise UserError(f"{found}, and uint8 in 0..255 is needed: {conversion(array, 'save')}")
    if array.ndim == 5 and array.shape[-1] == 3:
        return array, ()
    grey = array if array.ndim == 5 else array[..., None]
    return grey, (f"{path.name} holds grey videos; all three colours are given their values.",)


def _wrong_shape(shape: tuple[int, ...]) -> str | None:
    """What to do about a shape that is no set of videos, colour or grey; None for one that is."""
    if len(shape) == 4 and 3 in (shape[-1], shape[1]):
        return "this is one video, or a set of images; of one video, save x[None]"
    if len(shape) == 4 or (len(shape) == 5 and shape[-1] in (1, 3)):
        return None
    if len(shape) != 5:
        return "save all videos stacked into one array"
    for axis in (1, 2):
        if shape[axis] in (1, 3):
            return f"the colours must come last; save np.moveaxis(x, {axis}, -1)"
    if shape[-1] == 4:
        return "drop the fourth channel; save x[..., :3]"
    return "no axis is of 3 colours"
