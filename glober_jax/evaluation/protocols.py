"""Evaluation protocols of papers and of this project.

Scores of two protocols do not compare: FVD depends on length, stride, split, choice and number of
clips, on resizing, the covariance's divisor, and compression of frames, in which papers differ. So
a result carries the whole protocol.
"""

import dataclasses
import difflib
import re
from typing import Literal

from glober_jax.errors import UserError
from glober_jax.evaluation import i3d

Resize = Literal["stretch", "crop"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Protocol:
    """Choice of real clips, features of both sets, and estimator of distances.

    Attributes:
      num_frames, stride: of a clip; its frames are `stride` apart.
      split: of the real videos.
      num_clips: of real clips and of generated ones.
      videos: which real videos: the "first" in sorted order, "random" ones, or "class_balanced",
        random ones of each class in turn.
      start: a clip begins at a "random" frame, or lies in the "centre" of its video.
      repeat_videos: with fewer videos than `num_clips`, take several clips of each, or fewer clips.
      resize: how frames become square, see `extraction.preprocess`.
      value_range: of pixels for I3D.
      ddof: covariances divide by N - ddof.
      repeats: of choosing, sampling and scoring clips; the score is the mean.
      seed: of the choice of clips.
      source: paper and code of the settings.
    """

    name: str
    num_frames: int = 16
    stride: int = 1
    split: Literal["train", "test", "train+test"]
    num_clips: int = 2048
    videos: Literal["first", "random", "class_balanced"]
    start: Literal["random", "centre"] = "random"
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


# The default protocol; `fitted` reduces its clips to the videos there are.
SMALL = "small"
_OF_THIS_PROJECT = "of this project; not comparable to published scores"

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
        source=_OF_THIS_PROJECT,
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
_NAME = re.compile(r"([^@]*?)(?:-([0-9]{1,9})f)?(?:@(.*))?", re.DOTALL)


def get_protocol(name: str) -> Protocol:
    """The protocol of that name; suffixes `-FRAMESf` and `@CLIPS` each change one setting."""
    base, frames, clips = _NAME.fullmatch(name).groups()
    if base not in PROTOCOLS:
        near = difflib.get_close_matches(base, PROTOCOLS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(PROTOCOLS)}"
        raise UserError(f"there is no evaluation protocol {base!r}; {hint}")
    protocol = PROTOCOLS[base]
    if frames is not None:
        protocol = _with_frames(protocol, int(frames))
    if clips is None:
        return protocol
    if not re.fullmatch("[0-9]{1,9}", clips):
        raise UserError(f"{name!r} must be a protocol's name, @ and a number of clips")
    return with_clips(protocol, int(clips))


def with_clips(protocol: Protocol, num_clips: int) -> Protocol:
    """The protocol with another number of clips, named as `styleganv_16f@256`."""
    if num_clips < 2:
        raise UserError(f"an evaluation needs at least 2 clips, not {num_clips}")
    base = protocol.name.partition("@")[0]
    usual = PROTOCOLS[_name_parts(protocol)[0]].num_clips
    name = base if num_clips == usual else f"{base}@{num_clips}"
    return dataclasses.replace(protocol, name=name, num_clips=num_clips)


def fitted(protocol: Protocol, usable: int) -> Protocol:
    """`small` with at most as many clips as usable videos; other protocols unchanged."""
    fits = "@" not in protocol.name and _name_parts(protocol)[0] == SMALL
    return with_clips(protocol, usable) if fits and 2 <= usable < protocol.num_clips else protocol


def to_fit(protocol: Protocol, num_frames: int, longer: str) -> str:
    """Advice where only `num_frames` frames are there; `longer` advises how to get more."""
    most = num_frames // protocol.stride
    if most < i3d.MIN_FRAMES:
        apart = f", {protocol.stride} apart" if protocol.stride > 1 else ""
        return f"{longer}: I3D takes clips of at least {i3d.MIN_FRAMES} frames{apart}"
    return (
        f"{longer}, or evaluate with --protocol={_name_parts(protocol)[0]}-{most}f, whose clips "
        f"have {most} frames and whose scores compare with no others"
    )


def caveat(protocol: Protocol) -> list[str]:
    """A note on scores of clips that are not of the usual length."""
    base, frames = _name_parts(protocol)
    if frames is None:
        return []
    return [
        f"Clips have {frames} frames instead of {PROTOCOLS[base].num_frames}: scores compare "
        f"neither with published ones nor with those of {base}."
    ]


def shortfall(protocol: Protocol, num_real: int, num_made: int | None = None) -> list[str]:
    """A note where there are fewer clips than the protocol has; None stands for its number."""
    if min(num_real, num_made or protocol.num_clips) >= protocol.num_clips:
        return []
    here = f"{num_real:,}" if num_made is None else f"{num_real:,} real and {num_made:,} made"
    return [
        f"protocol {protocol.name} takes up to {protocol.num_clips} clips, one of each video of at "
        f"least {protocol.min_length} frames, and here are {here}; scores compare only to those of "
        "as many clips"
    ]


def table() -> str:
    """Every protocol and setting as a Markdown table."""
    columns = {
        "protocol": lambda p: f"`{p.name}`",
        "frames": lambda p: p.num_frames,
        "stride": lambda p: p.stride,
        "real split": lambda p: p.split,
        "clips": lambda p: p.num_clips if p.repeat_videos else f"up to {p.num_clips}",
        "videos": lambda p: p.videos.replace("_", " "),
        "start": lambda p: p.start,
        "resize": lambda p: p.resize,
        "range": lambda p: f"[{p.value_range[0]:g}, {p.value_range[1]:g}]",
        "features": lambda p: p.features.replace("_", " "),
        "covariance": lambda p: "÷ (N - 1)" if p.ddof else "÷ N",
        "repeats": lambda p: p.repeats,
        "seed": lambda p: p.seed,
        "what it is": lambda p: p.description,
        "source": lambda p: p.source,
    }
    rows = [[str(show(p)) for show in columns.values()] for p in PROTOCOLS.values()]
    rows = [list(columns), ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _with_frames(protocol: Protocol, num_frames: int) -> Protocol:
    if num_frames < i3d.MIN_FRAMES:
        raise UserError(
            f"an evaluation needs clips of at least {i3d.MIN_FRAMES} frames, not {num_frames}: "
            "I3D takes no fewer"
        )
    if num_frames == protocol.num_frames:
        return protocol
    return dataclasses.replace(
        protocol,
        name=f"{protocol.name}-{num_frames}f",
        num_frames=num_frames,
        description=f"As {protocol.name}, but with clips of {num_frames} frames.",
        source=_OF_THIS_PROJECT,
    )


def _name_parts(protocol: Protocol) -> tuple[str, str | None]:
    """The name in PROTOCOLS, and the number of frames if the name has that suffix."""
    return _NAME.fullmatch(protocol.name).groups()[:2]
