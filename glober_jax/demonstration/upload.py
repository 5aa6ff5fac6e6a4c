"""Uploaded videos -> clips of the model. Dimension key: T frames, X, Y frame size, C colours."""

from itertools import islice
from pathlib import Path

import numpy as np

from glober_jax.data.frames import fit_square
from glober_jax.data.media.decode import UndecodableError, decode_media
from glober_jax.data.media.tree import MediaItem
from glober_jax.errors import UserError


def read_clip(
    path: Path, *, begin: float, seconds: float, num_frames: int, num_key_frames: int, size: int
) -> np.ndarray:
    """At most `num_frames` frames spread evenly over a part of a video: uint8 [T, X, Y, C].

    The middle square of every frame is resized to `size`. Raises `UserError` for unreadable files
    and for parts of fewer than `num_key_frames` frames.
    """
    item = MediaItem(path.name, (path,), is_images=False)
    try:
        video = decode_media(item, fps=num_frames / seconds)
    except UndecodableError as error:
        raise UserError(f"That file cannot be used: {error}") from error
    # Assume the wanted rate if the container has none.
    fps = video.fps or num_frames / seconds
    first = round(begin * fps)
    frames = islice(video.frames, first, first + min(num_frames, max(round(seconds * fps), 1)))
    clip = [np.asarray(fit_square(frame, size)) for frame in frames]
    if len(clip) < num_key_frames:
        raise UserError(
            f"That part of the video has {len(clip)} frames and the model looks at "
            f"{num_key_frames}: begin earlier or take a longer part"
        )
    return np.stack(clip)


def beside(original_TXYC: np.ndarray, index_n: np.ndarray) -> np.ndarray:
    """The original's frame at each index of the clip, rounded down."""
    positions_n = np.floor(index_n * len(original_TXYC) + 1e-6).astype(int)
    return original_TXYC[np.clip(positions_n, 0, len(original_TXYC) - 1)]
