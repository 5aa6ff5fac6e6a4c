"""Opens sets of videos: prepared data sets, NumPy's files, and folders of media.

Dimension key: N videos, T frames, H, W frame size, C colours.
"""

import contextlib
import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from etils import epath

from glober_jax.data.building.output import dataset_folders
from glober_jax.data.damage import DamagedVideo, remedy
from glober_jax.data.source import open_videos
from glober_jax.errors import UserError
from glober_jax.evaluation.media_folder import open_folder
from glober_jax.evaluation.video_set import VideoSet
from glober_jax.pixels import conversion
from glober_jax.progress import Progress

# The key under which `python -m glober_jax.sample --save_arrays` stores its videos.
_FRAMES = "frames"


def open_video_set(path: str | os.PathLike[str], split: str = "test") -> VideoSet:
    """The videos at `path`; `UserError` where there are none that can be measured.

    Args:
      path: a prepared data set; a folder with a folder of frames for each video, with lossless
        video files, or from `python -m glober_jax.sample --save_arrays`; or a `.npy` or `.npz` file
        of one uint8 array [N, T, H, W, 3].
      split: of a prepared data set.
    """
    try:
        if "://" in str(path) or dataset_folders(epath.Path(path)):
            return prepared_videos(path, split)
        place = Path(path)
        if (place / f"{_FRAMES}.npz").is_file():
            return _open_array(place / f"{_FRAMES}.npz")
        if place.is_dir():
            return open_folder(place)
        if place.suffix.lower() in (".npy", ".npz"):
            return _open_array(place)
        found = "is a single file" if place.exists() else "does not exist"
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    raise UserError(
        f"{place} {found}: give the folder that holds the videos, or a .npy or .npz file of uint8 "
        "[N, T, H, W, 3] (unpack an archive first)"
    )


def prepared_videos(directory: epath.PathLike, split: str) -> VideoSet:
    """The videos of a split, or of several ("train+test"); `UserError` where one is damaged."""
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

    def content(index: int) -> list[bytes]:
        # The split's digest instead of the records: data sets may be large.
        part, number = places[index]
        return [f"{part.fingerprint} {number}".encode()]

    def read_text(index: int) -> np.ndarray | None:
        part, number = places[index]
        with _damage(directory):
            return part[number].text_LE

    return VideoSet(
        source=f"{directory} ({split})",
        size=(height, width),
        names=names,
        lengths=lengths,
        labels=labels if parts[0].class_names else None,
        class_names=parts[0].class_names,
        read=read,
        content=content,
        read_text=read_text,
    )


@contextlib.contextmanager
def _damage(directory: epath.PathLike) -> Iterator[None]:
    """Refuses damaged videos: leaving them out would change the score."""
    try:
        yield
    except DamagedVideo as error:
        raise UserError(
            f"cannot measure the data set in {directory}: {error.video} cannot be used: "
            f"{error.reason}; {remedy(directory)}"
        ) from error


def _open_array(path: Path) -> VideoSet:
    """The videos of a `.npy` or `.npz` file: uint8 [N, T, H, W, 3], [..., 1] or [N, T, H, W]."""
    array = _load(path)
    found = f"{path} holds {array.dtype} {list(array.shape)}"
    if wrong := _wrong_shape(array.shape):
        raise UserError(f"{found}, and uint8 [N, T, H, W, 3] is needed: {wrong}")
    if array.size == 0:
        raise UserError(f"{found}, so no video at all: was this file meant?")
    if array.dtype != np.uint8:
        raise UserError(f"{found}, and uint8 in 0..255 is needed: {conversion(array, 'save')}")
    videos_NTHWC = array if array.ndim == 5 else array[..., None]
    count, length, height, width, colours = videos_NTHWC.shape
    grey = f"{path.name} holds grey videos; all three colours are given their values."
    return VideoSet(
        source=str(path),
        size=(height, width),
        names=tuple(map(str, range(count))),
        lengths=(length,) * count,
        notes=() if colours == 3 else (grey,),
        read=lambda index, frames: np.repeat(
            videos_NTHWC[index, list(frames)], 3 // colours, axis=-1
        ),
        content=lambda index: [repr((height, width)).encode(), videos_NTHWC[index].tobytes()],
    )


def _load(path: Path) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(array, np.ndarray):
            return array
        with array:
            names = array.files
            if _FRAMES not in names and len(names) != 1:
                raise UserError(
                    f"{path} must hold the videos as {_FRAMES!r} or as its only array, and it "
                    f"holds {', '.join(names) or 'nothing'}: write it with "
                    f"np.savez_compressed(path, {_FRAMES}=videos)"
                )
            # Of a file that is no array NumPy gives the bytes.
            return np.asarray(array[_FRAMES if _FRAMES in names else names[0]])
    except (EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(
            f"{path} cannot be read as one array of numbers: {error}; copy it again, or save one "
            "uint8 array [N, T, H, W, 3] with np.save"
        ) from error


def _wrong_shape(shape: tuple[int, ...]) -> str | None:
    """Advice on a shape that is no set of videos; None for one that is."""
    if len(shape) == 4:
        one_video = 3 in (shape[-1], shape[1])
        advice = "this is one video, or a set of images; of one video, save x[None]"
        return advice if one_video else None
    if len(shape) == 5 and shape[-1] not in (1, 3):
        for axis in (1, 2):
            if shape[axis] in (1, 3):
                return f"the colours must come last; save np.moveaxis(x, {axis}, -1)"
        return "drop the fourth channel; save x[..., :3]" if shape[-1] == 4 else "find the colours"
    return None if len(shape) == 5 else "save all videos stacked into one array"
