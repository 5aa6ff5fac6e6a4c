"""Opens sets of videos: prepared data sets, NumPy's files, and folders of media.

Dimension key: N videos, T frames, F chosen ones, H, W frame size, C colours, L tokens of a caption,
E their width.
"""

import contextlib
import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from etils import epath

from glober_jax.data.building.output_folder import dataset_folders
from glober_jax.data.damage import DamagedVideo
from glober_jax.data.source import open_videos
from glober_jax.errors import UserError
from glober_jax.evaluation.video_folder import open_folder
from glober_jax.evaluation.video_set import PreparedVideos, VideoSet
from glober_jax.pixels import conversion
from glober_jax.progress import Progress

_SUFFIXES = (".npy", ".npz")
# The key under which `python -m glober_jax.sample --save_arrays` stores its videos.
_FRAMES = "frames"
_NPY, _ZIP = b"\x93NUMPY", b"PK"


def open_video_set(path: str | os.PathLike[str], split: str = "test") -> VideoSet:
    """Opens the videos at `path`; only headers are read of files other than `.npz`.

    Args:
      path: a prepared data set; a folder that holds a folder of frames for each video, or lossless
        video files, or what `python -m glober_jax.sample --save_arrays` wrote; or a `.npy` or
        `.npz` file of one uint8 array [N, T, H, W, 3].
      split: of a prepared data set.

    Raises:
      UserError: there is no such thing there, or no set of videos that can be measured.
    """
    try:
        if "://" in str(path) or dataset_folders(epath.Path(path)):
            return prepared_videos(path, split)
        place = Path(path)
        if (place / f"{_FRAMES}.npz").is_file():
            return _open_array(place / f"{_FRAMES}.npz")
        if place.is_dir():
            return open_folder(place)
        if not place.exists():
            raise UserError(
                f"{place} does not exist: give a folder of videos, or a .npy or .npz file"
            )
        if place.suffix.lower() in _SUFFIXES:
            return _open_array(place)
    except OSError as error:
        raise UserError(
            f"{path} cannot be read: {error.strerror or error}; give a place that can"
        ) from error
    raise UserError(
        f"{place} is a single file: give the folder that holds the videos, or a .npy or .npz file "
        "of uint8 [N, T, H, W, 3] (unpack an archive first)"
    )


def prepared_videos(directory: epath.PathLike, split: str) -> PreparedVideos:
    """The videos of a split of a prepared data set, or of several in turn, as of "train+test".

    Videos are at most as long as `prepare --max_frames` let them be. A record of each is read at
    once, for its name.

    Raises:
      UserError: there is no data set or no such split, or a video is damaged.
    """
    parts = [open_videos(directory, name) for name in split.split("+")]
    places = [(part, number) for part in parts for number in range(len(part))]
    facts = []
    with _damage(directory), Progress(f"listing {split}", len(places), unit="video") as progress:
        for part, number in places:
            video = part[number]
            facts.append((video.video_id, video.num_frames, video.label))
            progress.advance()
        height, width = parts[0][0].read([0]).shape[1:3]
    names, lengths, labels = zip(*facts, strict=True)

    def read(index: int, frames: Sequence[int]) -> np.ndarray:
        part, number = places[index]
        with _damage(directory):
            return part[number].read(list(frames))

    def content(index: int) -> Iterator[bytes]:
        # Its split's digest stands for what a record holds: data sets may be large.
        part, number = places[index]
        yield f"{part.fingerprint} {number}".encode()

    def read_text(index: int) -> np.ndarray | None:
        part, number = places[index]
        return part[number].text_LE

    return PreparedVideos(
        source=f"{directory} ({split})",
        size=(height, width),
        names=names,
        lengths=lengths,
        labels=labels if parts[0].class_names else None,
        class_names=parts[0].class_names,
        read_frames=read,
        content=content,
        read_text=read_text,
    )


@contextlib.contextmanager
def _damage(directory: epath.PathLike) -> Iterator[None]:
    """Refuses damaged videos: a score of the readable ones would be another score."""
    try:
        yield
    except DamagedVideo as error:
        raise UserError(
            f"cannot measure the data set in {directory}: {error}; "
            f"python -m glober_jax.prepare doctor --input={directory} lists all damage"
        ) from error


def _open_array(path: Path) -> VideoSet:
    """The videos of a `.npy`, mapped into memory, or of a `.npz`, read whole.

    The array is uint8 [N, T, H, W, C], or grey, [N, T, H, W] or [N, T, H, W, 1], whose values
    become all three colours. A `.npz` calls it "frames", or holds nothing else.

    Raises:
      UserError: the file is damaged, holds Python objects, or another kind of array; the message
        says how to convert one.
    """
    array = _load(path)
    _check_array(path, array)
    videos_NTHWC = array if array.ndim == 5 else array[..., None]
    count, length, height, width, colours = videos_NTHWC.shape
    grey = f"{path.name} holds grey videos; all three colours are given their values."

    def read(index: int, frames: Sequence[int]) -> np.ndarray:
        return np.repeat(videos_NTHWC[index, list(frames)], 3 // colours, axis=-1)

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
        notes=() if colours == 3 else (grey,),
        read_frames=read,
        content=content,
    )


def _load(path: Path) -> np.ndarray:
    with path.open("rb") as file:
        start = file.read(len(_NPY))
    if start != _NPY and not start.startswith(_ZIP):
        raise UserError(
            f"{path} is not a file that NumPy wrote with np.save or np.savez: it was copied "
            "incompletely, or holds something else under that name"
        )
    try:
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
        raise UserError(
            f"{path} must hold the videos as {_FRAMES!r} or as its only array, and it holds "
            f"{', '.join(names) or 'nothing'}: write it with "
            f"np.savez_compressed(path, {_FRAMES}=videos)"
        )
    return names[0]


def _check_array(path: Path, array: np.ndarray) -> None:
    found = f"{path} holds {array.dtype} {list(array.shape)}"
    if wrong := _wrong_shape(array.shape):
        raise UserError(f"{found}, and uint8 [N, T, H, W, 3] is needed: {wrong}")
    if array.size == 0:
        raise UserError(f"{found}, so no video at all: was this file meant?")
    if array.dtype != np.uint8:
        raise UserError(f"{found}, and uint8 in 0..255 is needed: {conversion(array, 'save')}")


def _wrong_shape(shape: tuple[int, ...]) -> str | None:
    """Advice on a shape that is no set of videos, colour or grey; None for one that is."""
    if len(shape) == 4:
        one_video = 3 in (shape[-1], shape[1])
        advice = "this is one video, or a set of images; of one video, save x[None]"
        return advice if one_video else None
    if len(shape) != 5:
        return "save all videos stacked into one array"
    if shape[-1] in (1, 3):
        return None
    for axis in (1, 2):
        if shape[axis] in (1, 3):
            return f"the colours must come last; save np.moveaxis(x, {axis}, -1)"
    if shape[-1] == 4:
        return "drop the fourth channel; save x[..., :3]"
    return "no axis is of 3 colours"
