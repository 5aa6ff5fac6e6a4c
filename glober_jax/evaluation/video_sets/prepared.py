"""The videos of a prepared data set, as a set that can be measured.

Dimension key: F chosen frames, H, W frame size, C = 3 colours (RGB), L tokens of a caption, E their
width.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from etils import epath

from glober_jax.data.damage import DamagedVideo
from glober_jax.data.source import open_videos
from glober_jax.errors import UserError
from glober_jax.evaluation.video_sets.video_set import VideoSet
from glober_jax.progress import Progress


@dataclasses.dataclass(frozen=True, kw_only=True)
class PreparedVideos(VideoSet):
    """`read_text(video)` is its caption's token embeddings, float16 [L, E]; None without texts."""

    read_text: Callable[[int], np.ndarray | None]


def prepared_videos(directory: epath.PathLike, split: str) -> PreparedVideos:
    """The videos of a split, or of several in turn, as of "train+test".

    Videos are at most as long as `prepare --max_frames` let them be. A record of each is read at
    once, for its name.

    Raises:
      UserError: there is no data set or no such split, or a video is damaged.
    """
    parts = [open_videos(directory, name) for name in split.split("+")]
    places = [(part, number) for part in parts for number in range(len(part))]
    names, lengths, labels = [], [], []
    with _damage(directory), Progress(f"listing {split}", len(places), unit="video") as progress:
        for part, number in places:
            video = part[number]
            names.append(video.video_id)
            lengths.append(video.num_frames)
            labels.append(video.label)
            progress.advance()
        height, width = parts[0][0].allocate([0]).shape[1:3]

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
        names=tuple(names),
        lengths=tuple(lengths),
        labels=tuple(labels) if parts[0].class_names else None,
        class_names=parts[0].class_names,
        read_frames=read,
        content=content,
        read_text=read_text,
    )


@contextlib.contextmanager
def _damage(directory: epath.PathLike) -> Iterator[None]:
    """A score on what happens to be readable would be another score."""
    try:
        yield
    except DamagedVideo as error:
        raise UserError(
            f"cannot measure the data set in {directory}: {error}; "
            f"python -m glober_jax.prepare doctor --input={directory} lists all damage"
        ) from error
