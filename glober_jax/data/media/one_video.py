"""One video that somebody points at, as square frames.

Dimension key: T frames, H = W frame size, C = 3 colours (RGB).
"""

from pathlib import Path

import numpy as np

from glober_jax.data.frames import fit_square
from glober_jax.data.media.decode import UndecodableError, decode_media
from glober_jax.data.media.kinds import VIDEO_SUFFIXES, kind_of
from glober_jax.data.media.options import Fit
from glober_jax.data.media.tree import MediaItem, find_media
from glober_jax.errors import UserError


def read_video(path: Path, size: int, fit: Fit = "crop") -> tuple[np.ndarray, float]:
    """All frames of a video file or of a folder of images: uint8 [T, H, W, C], and its rate.

    Args:
      path: a file that `prepare` could read too, or a folder that directly holds the frames.
      size: side of the frames; see `fit_square`.
      fit: see there.

    Returns:
      The frames, and frames per second, 0.0 where nobody knows.

    Raises:
      UserError: there is no such video, or it is damaged.
    """
    try:
        video = decode_media(_item(path), lambda count: None)
        frames = [np.asarray(fit_square(frame, size, fit)) for frame in video.frames]
    except UndecodableError as error:
        raise UserError(f"cannot read {path}: {error}") from error
    if not frames:
        raise UserError(f"cannot read {path}: it holds no frame that can be decoded")
    if video.warnings:
        raise UserError(f"{path} is damaged: {video.warnings[0]}; mend or cut it first")
    return np.stack(frames), video.fps


def _item(path: Path) -> MediaItem:
    if path.is_dir():
        frames = [
            item
            for item in find_media(path).items
            if item.is_images and item.files[0].parent == path
        ]
        if len(frames) != 1:
            raise UserError(
                f"{path} directly holds no frames of a video: give a file or such a folder"
            )
        return frames[0]
    if not path.is_file():
        raise UserError(f"there is no video {path}")
    if kind_of(path.name) != "video":
        known = ", ".join(sorted(VIDEO_SUFFIXES))
        raise UserError(f"{path} is not a video file: those end in {known}")
    return MediaItem(path.name, (path,), is_images=False, split=None, class_name=None)
