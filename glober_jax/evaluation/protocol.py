"""The fields of an evaluation protocol, and all protocols, of papers and of this project."""

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
      name: under which scores are reported.
      num_frames, stride: of a clip; its frames are `stride` apart.
      split: of the real videos.
      num_clips: of real clips and of generated ones.
      videos: which real videos: the "first" in sorted order, "random" ones, or "class_balanced",
        random ones of each class in turn.
      start: a clip begins at a "random" frame, or lies in the "centre" of its video.
      repeat_videos: with fewer videos than `num_clips`, take several clips of each, or fewer clips.
      resize: how frames become square, see `preprocess`.
      value_range: of pixels for I3D.
      features: of a clip.
      ddof: covariances divide by N - ddof.
      repeats: of choosing, sampling and scoring clips; the score is the mean.
      seed: of the choice of clips.
      description: one sentence.
      source: paper and code of the settings.
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
        """Frames of a video from the first to the last one of a clip."""
        return (self.num_frames - 1) * self.stride + 1

    @property
    def min_length(self) -> int:
        """Frames of the shortest video, with `stride` after the last frame as in StyleGAN-V."""
        return self.num_frames * self.stride


# The default protocol; `protocols.fitted` reduces its clips to the videos there are.
SMALL = "small"
OF_THIS_PROJECT = "of this project; not comparable to published scores"

_STYLEGANV = Protocol(
    name="styleganv_16f",
    split="train+test",
    videos="first",
    repeat_videos=False,
    ddof=0,
    description=(
        "What GLOBER reports: 16 frames in a row from each of the first 2048 videos in sorted "
        "order, which in UCF-101 are of about 16 of its 101 classes. StyleGAN-V itself leaves the "
        "test split out except for UCF-101."
    ),
    source="StyleGAN-V (arXiv 2112.14683), fvd2048_16f; GLOBER (arXiv 2309.13274)",
)
_STYLEGANV_128F = dataclasses.replace(
    _STYLEGANV,
    name="styleganv_128f",
    num_frames=128,
    description="128 frames in a row, all of them through I3D; shorter videos are left out.",
    source="StyleGAN-V (arXiv 2112.14683), fvd2048_128f",
)
_STYLEGANV_128F_S8 = dataclasses.replace(
    _STYLEGANV_128F,
    name="styleganv_128f_s8",
    num_frames=16,
    stride=8,
    description="Every eighth of 128 frames: slow changes rather than motion.",
    source="StyleGAN-V (arXiv 2112.14683), fvd2048_128f_subsample8f",
)


def _balanced(protocol: Protocol) -> Protocol:
    return dataclasses.replace(
        protocol,
        name=f"{protocol.name}_balanced",
        videos="class_balanced",
        description=f"As {protocol.name}, but with as many videos of every class as there can be.",
        source=OF_THIS_PROJECT,
    )


_ALL = (
    *(p for q in (_STYLEGANV, _STYLEGANV_128F, _STYLEGANV_128F_S8) for p in (q, _balanced(q))),
    Protocol(
        name="digan",
        split="test",
        videos="random",
        repeat_videos=True,
        resize="crop",
        ddof=1,
        repeats=10,
        description=(
            "Test videos against ten sets of samples; one clip of each video before a second of "
            "any, where the original draws among all clips."
        ),
        source="DIGAN (arXiv 2202.10571), compute_fvd_kvd.py",
    ),
    Protocol(
        name="tats",
        split="train",
        videos="random",
        repeat_videos=True,
        ddof=1,
        description=(
            "Training videos, one set of samples; one clip of each video before a second of any, "
            "where the original draws among all clips."
        ),
        source="TATS (arXiv 2204.03638), sample_vqgan_transformer_short_videos.py; LVDM follows it",
    ),
    Protocol(
        name="magvit",
        split="train",
        num_clips=10_000,
        videos="random",
        repeat_videos=True,
        ddof=1,
        repeats=4,
        description="10,000 clips of training videos; UCF-101 has 9,537, so some give two.",
        source="MAGVIT (arXiv 2212.05199), maskgvt_ucf101_config.py",
    ),
    Protocol(
        name=SMALL,
        split="test",
        num_clips=256,
        videos="random",
        start="centre",
        repeat_videos=False,
        ddof=0,
        description=(
            "For small data sets and a quick look: held-out videos, a small sample, so that scores "
            "are far above and not comparable to published ones."
        ),
        source="of this project",
    ),
)
PROTOCOLS: dict[str, Protocol] = {protocol.name: protocol for protocol in _ALL}
