"""Opens whatever set of videos somebody points at."""

import os
from pathlib import Path

from glober_jax.errors import UserError
from glober_jax.evaluation.video_sets import array_file
from glober_jax.evaluation.video_sets.media_folder import open_folder
from glober_jax.evaluation.video_sets.video_set import VideoSet


def open_video_set(path: str | os.PathLike[str]) -> VideoSet:
    """Opens the videos at `path`; nothing but headers is read of files other than `.npz`.

    Args:
      path: a folder that holds a folder of frames for each video, or lossless video files, or
        what `python -m glober_jax.sample --save_arrays` wrote; or a `.npy` or `.npz` file of one
        uint8 array [N, T, H, W, 3].

    Raises:
      UserError: there is no such thing there, or no set of videos that can be measured.
    """
    try:
        return _open(Path(path))
    except OSError as error:
        raise UserError(
            f"{path} cannot be read: {error.strerror or error}; give a place that can"
        ) from error


def _open(place: Path) -> VideoSet:
    if place.is_dir():
        arrays = place / "frames.npz"
        return array_file.open_array(arrays) if arrays.is_file() else open_folder(place)
    if not place.exists():
        raise UserError(f"{place} does not exist: give a folder of videos, or a .npy or .npz file")
    if place.suffix.lower() in array_file.SUFFIXES:
        return array_file.open_array(place)
    raise UserError(
        f"{place} is a single file: give the folder that holds the videos, or a .npy or .npz file "
        "of uint8 [N, T, H, W, 3] (unpack an archive first)"
    )
