"""The fields of an evaluation protocol: every knob that moves a score."""

import dataclasses
from typing import Literal

Split = Literal["train", "test", "train+test"]
Videos = Literal["first", "random", "class_balanced"]
Start = Literal["random", "centre"]
Resize = Literal["stretch", "crop"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Protocol:
    """Choice of real clips, features of both sets, and estimator of distances.

    Attributes:
      name: what a score of this protocol is called by.
      num_frames, stride: of a clip; its frames are `stride` apart.
      split: where real videos come from.
      num_clips: real clips, and generated ones.
      videos: the real videos: the "first" in sorted order, "random" ones, or "class_balanced",
        random ones of each class in turn.
      start: a clip starts at a "random" frame, or lies in the "centre" of its video.
      repeat_videos: with fewer videos than `num_clips`, whether they are gone over again for more
        clips, or there are just fewer clips.
      resize: how frames of any shape become the square that I3D sees: "stretch", or "crop" to the
        centre; both bilinear with pixel centres at halves, without antialiasing.
      value_range: of the pixels that I3D sees.
      features: of one clip; "i3d_logits" are Kinetics-400 logits before the softmax, averaged over
        time.
      ddof: covariances divide by N - ddof.
      repeats: how often clips are chosen, sampled and scored anew; the mean is the score.
      seed: of every random choice of clips.
      description: one sentence for people.
      source: the paper and the code the knobs were read from.
    """

    name: str
    num_frames: int = 16
    stride: int = 1
    split: Split
    num_clips: int = 2048
    videos: Videos
    start: Start = "random"
    repeat_videos: bool
    resize: Resize = "stretch"
    value_range: tuple[float, float] = (-1.0, 1.0)
    features: Literal["i3d_logits"] = "i3d_logits"
    ddof: int
    repeats: int = 1
    seed: int = 0
    description: str
    source: str

    @property
    def span(self) -> int:
        """Number of consecutive frames of a video that a clip reaches over."""
        return (self.num_frames - 1) * self.stride + 1

    @property
    def min_length(self) -> int:
        """Frames of the shortest video that is used.

        `stride` after the last frame included, as StyleGAN-V counts: its strided clips come from
        the same videos as its long ones.
        """
        return self.num_frames * self.stride
