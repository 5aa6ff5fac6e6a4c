"""Videos that cannot be used: named, counted, and refused when they are too many.

A video is damaged where a record or a frame that is asked for cannot be read, where its frames
differ in size, or where it is shorter than a clip. Whoever reads takes another one in its place and
tells a `DamageLog`, which lets a fraction of them go and then stops.
"""

import math
import sys

from tqdm import tqdm

from glober_jax.errors import UserError

_MOST_LISTED = 5
# How the reason ends where nothing is damaged, but the video shorter than a clip.
SHORTEN = "or shorten the clip"

# (place in its split, name, what is wrong) of videos, in the order they were met.
Damage = list[tuple[int, str, str]]


class DamagedVideo(UserError):
    """One video that cannot be used.

    Attributes:
      video: what to call it, "video ID", or its number where the ID cannot be read.
      reason: what is wrong with it; `SHORTEN` at its end says that it is whole.
    """

    def __init__(self, video: str, reason: str):
        # Both are `args`, of which an exception is made anew when it was pickled.
        super().__init__(video, reason)
        self.video, self.reason = video, reason

    def __str__(self) -> str:
        return f"{self.video} cannot be used: {self.reason}; {remedy('DIR')}"


class DamageLog:
    """The damaged videos of one split that this process has met: each counts, and is said, once.

    `allowed` = floor(max_fraction * num_videos) of them are let go.
    """

    def __init__(self, num_videos: int, max_fraction: float = 0.0, directory: str = "DIR"):
        """Starts with none.

        Args:
          num_videos: how many videos the split has.
          max_fraction: `config.data.max_damaged`, in [0, 1).
          directory: the data set's folder, for the message.
        """
        self.allowed = allowed_damage(num_videos, max_fraction)
        self._num_videos, self._max_fraction = num_videos, max_fraction
        self._directory = directory
        self._met: dict[int, tuple[str, str]] = {}

    def __len__(self) -> int:
        return len(self._met)

    def add(self, damage: Damage) -> None:
        """Writes a line on stderr for every video that is new.

        Raises:
          UserError: they are more than `allowed` by now.
        """
        for index, video, reason in damage:
            if index in self._met:
                continue
            self._met[index] = (video, reason)
            if len(self._met) > self.allowed:
                fault = "cannot be used" if self._damaged else "are too short for a clip"
                raise self.refusal(
                    f"{len(self._met)} of {self._num_videos} videos in {self._directory} {fault}, "
                    f"config.data.max_damaged={self._max_fraction} lets {self.allowed} go"
                )
            kind = "short" if _is_short(reason) else "damaged"
            count = f"{kind} video {len(self._met)}, of at most {self.allowed}"
            tqdm.write(f"{count}: {video} cannot be used: {reason}", file=sys.stderr)

    def refusal(self, what: str) -> UserError:
        """The error that says `what`, the first videos that were met, and what to do."""
        remedies = []
        if self._damaged < len(self._met):
            remedies.append(
                "set a smaller config.clip.num_frames or config.clip.stride, let short videos go "
                "with config.data.max_damaged, or prepare the data set without them"
            )
        if self._damaged:
            remedies.append(remedy(self._directory))
        listed = [f"  {video}: {reason}" for video, reason in self._met.values()]
        more = len(listed) - _MOST_LISTED
        if more > 0:
            listed[_MOST_LISTED:] = [f"  and {more} more"]
        return UserError("\n".join([f"{what}:", *listed, *remedies]))

    @property
    def _damaged(self) -> int:
        """How many of those met are not merely too short."""
        return sum(not _is_short(reason) for _, reason in self._met.values())


def _is_short(reason: str) -> bool:
    return reason.endswith(SHORTEN)


def allowed_damage(num_videos: int, max_fraction: float) -> int:
    """How many damaged videos `config.data.max_damaged` lets go: floor(fraction * videos)."""
    # 0.29 * 100 is a little less than 29.
    return math.floor(max_fraction * num_videos + 1e-6)


def remedy(directory: str) -> str:
    """What to do about damage in a data set."""
    return (
        f"python -m glober_jax.prepare doctor --input={directory} lists all damage; copy the data "
        "set again, or prepare it again with --overwrite"
    )
