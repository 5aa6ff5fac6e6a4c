"""How videos on disk become the frames of a dataset: the flags of every dataset of files."""

from dataclasses import dataclass
from typing import get_args

from glober_jax.data.frames import Fit
from glober_jax.errors import UserError


@dataclass(frozen=True, kw_only=True)
class MediaOptions:
    """Each field is the flag of the same name.

    Attributes:
      input: the folder that holds the videos.
      size: side of the square frames, in pixels.
      fit: see `fit_square`.
      fps: frame rate to come down to; None keeps every frame.
      quality: of the stored JPEG frames, 1 to 100.
      min_frames: shorter videos are rejected.
      max_frames: longer videos are cut into several of at most this length; None keeps them whole.
      test_fraction: part to hold out where neither folders nor lists name a test split.
    """

    input: str
    size: int = 64
    fit: Fit = "crop"
    fps: float | None = None
    quality: int = 95
    min_frames: int = 16
    max_frames: int | None = None
    test_fraction: float = 0.1

    def __post_init__(self) -> None:
        fits = get_args(Fit)
        for name, holds, wanted in (
            ("size", self.size >= 1, "at least 1"),
            ("fit", self.fit in fits, f"one of {', '.join(fits)}"),
            ("fps", self.fps is None or self.fps > 0, "positive"),
            ("quality", 1 <= self.quality <= 100, "in 1..100"),
            ("min_frames", self.min_frames >= 1, "at least 1"),
            ("test_fraction", 0 < self.test_fraction <= 0.5, "in (0, 0.5]"),
        ):
            if not holds:
                raise UserError(f"--{name} must be {wanted}, not {getattr(self, name)}")
        if self.max_frames is not None and self.max_frames < 2 * self.min_frames:
            raise UserError(
                f"--max_frames={self.max_frames} must be at least twice --min_frames="
                f"{self.min_frames}, or cutting a long video would leave pieces that are too short"
            )
