"""Videos that cannot be used: named, counted, and refused when they are too many.

A video is damaged if a record or a frame cannot be read, or its frames differ in size. The reader
replaces it by another one, and a `DamageLog` raises an error when too many are damaged.
"""

import math
import sys

from tqdm import tqdm

from glober_jax.errors import UserError

_MOST_LISTED = 5


class DamagedVideo(UserError):
    """One video that cannot be used; `video` is its name in messages, by its ID or its number."""

    def __init__(self, video: str, reason: str):
        # Both are `args`, from which a pickled exception is made again.
        super().__init__(video, reason)
        self.video, self.reason = video, reason

    def __str__(self) -> str:
        return f"{self.video} cannot be used: {self.reason}; {remedy('DIR')}"


class ShortVideo(DamagedVideo):
    """A video that is whole, but shorter than a clip."""


class DamageLog:
    """Counts the damaged videos that this process meets in a split, and prints each once."""

    def __init__(self, num_videos: int, max_fraction: float = 0.0, directory: str = "DIR"):
        """Allows floor(max_fraction * num_videos) damaged videos of the split in `directory`.

        `max_fraction` is `config.data.max_damaged`, in [0, 1).
        """
        self.allowed = allowed_damage(num_videos, max_fraction)
        self._num_videos, self._max_fraction = num_videos, max_fraction
        self.directory = directory
        self._met: dict[int, DamagedVideo] = {}

    def __len__(self) -> int:
        return len(self._met)

    def add(self, index: int, error: DamagedVideo) -> None:
        """Prints a line if the video at `index` is new; raises UserError if it is one too many."""
        if index in self._met:
            return
        self._met[index] = error
        if len(self._met) > self.allowed:
            fault = "are too short for a clip" if self._all_short else "cannot be used"
            raise self.refusal(
                f"{len(self._met)} of {self._num_videos} videos in {self.directory} {fault}, "
                f"config.data.max_damaged={self._max_fraction} allows {self.allowed}"
            )
        kind = "short" if isinstance(error, ShortVideo) else "damaged"
        count = f"{kind} video {len(self._met)}, of at most {self.allowed}"
        tqdm.write(f"{count}: {error.video} cannot be used: {error.reason}", file=sys.stderr)

    def refusal(self, what: str) -> UserError:
        """An error with `what`, the first damaged videos, and advice."""
        listed = [f"  {error.video}: {error.reason}" for error in self._met.values()]
        if more := listed[_MOST_LISTED:]:
            listed[_MOST_LISTED:] = [f"  and {len(more)} more"]
        advice = (
            "set a smaller config.clip.num_frames or config.clip.stride, allow short videos with "
            "config.data.max_damaged, or prepare the data set without them"
        )
        last = advice if self._all_short else remedy(self.directory)
        return UserError("\n".join([f"{what}:", *listed, last]))

    @property
    def _all_short(self) -> bool:
        return all(isinstance(error, ShortVideo) for error in self._met.values())


def allowed_damage(num_videos: int, max_fraction: float) -> int:
    """The number of damaged videos that `config.data.max_damaged` allows."""
    # 0.29 * 100 is a little less than 29.
    return math.floor(max_fraction * num_videos + 1e-6)


def remedy(directory: object) -> str:
    """What to do about damage in a data set."""
    return (
        f"python -m glober_jax.prepare doctor --input={directory} lists all damage; copy the data "
        "set again, or prepare it again with --overwrite"
    )
