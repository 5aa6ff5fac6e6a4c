"""Named evaluation protocols: every knob that moves a score, fixed under one name.

Scores of two protocols do not compare. FVD alone changes with the clips' length and stride, the
split and which of its videos are taken, their number, the resizing, the covariance's divisor, and
whether frames were compressed; papers that write "FVD" differ in all of these. So a result carries
the whole protocol, and its name says where the knobs come from. Dimension key: V videos.
"""

import dataclasses
import difflib
from collections.abc import Sequence
from typing import Literal

import numpy as np

from glober_jax.errors import UserError

Split = Literal["train", "test", "train+test"]
Videos = Literal["first", "random", "class_balanced"]
Start = Literal["random", "centre"]
Resize = Literal["stretch", "crop"]

# The protocol that fits itself to the data.
SMALL = "small"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Protocol:
    """How real clips are chosen, what is measured on both sets, and how distances are taken.

    Attributes:
      name: what a score of this protocol is called by.
      num_frames, stride: a clip has so many frames, `stride` apart.
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
        """How many consecutive frames of a video a clip reaches over."""
        return (self.num_frames - 1) * self.stride + 1

    @property
    def min_length(self) -> int:
        """Frames of the shortest video that is used.

        `stride` after the last frame included, as StyleGAN-V counts: its strided clips come from
        the same videos as its long ones.
        """
        return self.num_frames * self.stride


def get_protocol(name: str) -> Protocol:
    """The protocol of that name, `NAME@CLIPS` included (see `with_clips`).

    Raises:
      UserError: there is none; the message names the nearest, or all.
    """
    base, at, clips = name.partition("@")
    if base not in PROTOCOLS:
        near = difflib.get_close_matches(base, PROTOCOLS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(PROTOCOLS)}"
        raise UserError(f"there is no evaluation protocol {base!r}; {hint}")
    if not at:
        return PROTOCOLS[base]
    if not clips.isdecimal():
        raise UserError(f"{name!r} must be a protocol's name, @ and a number of clips")
    return with_clips(PROTOCOLS[base], int(clips))


def with_clips(protocol: Protocol, num_clips: int) -> Protocol:
    """The protocol with another number of clips, which its name then says: `styleganv_16f@256`.

    It is another protocol: a Frechet distance of fewer clips is larger.

    Raises:
      UserError: fewer than two clips, of which no covariance can be taken.
    """
    if num_clips < 2:
        raise UserError(f"an evaluation needs at least 2 clips, not {num_clips}")
    base = protocol.name.partition("@")[0]
    name = base if num_clips == PROTOCOLS[base].num_clips else f"{base}@{num_clips}"
    return dataclasses.replace(protocol, name=name, num_clips=num_clips)


def fitted(protocol: Protocol, lengths: Sequence[int]) -> Protocol:
    """`small` for videos of these lengths: as many clips as there are videos to take them from.

    Every other protocol is fixed, and itself.
    """
    usable = sum(length >= protocol.min_length for length in lengths)
    if protocol.name != SMALL or not 2 <= usable < protocol.num_clips:
        return protocol
    return with_clips(protocol, usable)


def choose_clips(
    protocol: Protocol,
    lengths: Sequence[int],
    labels: Sequence[int],
    repeat: int = 0,
) -> list[tuple[int, int]]:
    """The real clips of a repeat: (video number, first frame), by ascending video.

    Depends on nothing but its arguments. A video's clip is the same however many are taken.

    Args:
      protocol: says which and how many.
      lengths: frames of each video, in sorted order of the videos' names.
      labels: class of each video; only "class_balanced" looks at them.
      repeat: 0 to `protocol.repeats` - 1.

    Returns:
      `num_clips` clips, or one of each usable video where these are fewer and not gone over again;
      see `shortfall`.

    Raises:
      UserError: no video is long enough.
    """
    lengths_V = np.asarray(lengths, np.int64)
    usable = np.flatnonzero(lengths_V >= protocol.min_length)
    if not usable.size:
        longest = f"the longest of {len(lengths_V)} has {lengths_V.max()}" if len(lengths_V) else ""
        raise UserError(
            f"protocol {protocol.name} needs videos of at least {protocol.min_length} frames, but "
            f"{longest or 'there are no videos'}; choose a protocol of shorter clips, or prepare "
            "the data with longer videos"
        )
    rng = np.random.default_rng((protocol.seed, repeat))
    room_V = np.maximum(lengths_V - protocol.span, 0)
    clips: list[tuple[int, int]] = []
    while len(clips) < protocol.num_clips:
        # For every video, whether it is taken or not.
        starts_V = rng.integers(room_V + 1) if protocol.start == "random" else room_V // 2
        order = _order(protocol.videos, usable, np.asarray(labels), rng)
        chosen = order[: protocol.num_clips - len(clips)]
        clips += zip(chosen.tolist(), starts_V[chosen].tolist(), strict=True)
        if not protocol.repeat_videos:
            break
    return sorted(clips)


def shortfall(protocol: Protocol, num_clips: int) -> str | None:
    """What to tell people when `choose_clips` returned fewer clips than the protocol's, or None."""
    if num_clips >= protocol.num_clips:
        return None
    return (
        f"protocol {protocol.name} takes up to {protocol.num_clips} clips, one of each video of at "
        f"least {protocol.min_length} frames, and here are {num_clips}; scores compare only to "
        "those of as many clips"
    )


def table() -> str:
    """Every protocol and every knob as a Markdown table, for the documentation."""
    rows = [
        ("protocol", *_COLUMNS),
        ("---",) * (1 + len(_COLUMNS)),
        *(
            (f"`{protocol.name}`", *(str(show(protocol)) for show in _COLUMNS.values()))
            for protocol in PROTOCOLS.values()
        ),
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


_COLUMNS = {
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


def _order(
    videos: Videos, usable: np.ndarray, labels_V: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """All usable videos, those to take first in front."""
    if videos == "first":
        return usable
    shuffled = rng.permutation(usable)
    if videos == "random":
        return shuffled
    # How many of its class come before each video; a stable sort by it takes classes in turn, and
    # which of them have one more than others in the last round is as random as the shuffle.
    turns = np.zeros(len(shuffled), np.int64)
    for label in np.unique(labels_V[shuffled]):
        of_class = labels_V[shuffled] == label
        turns[of_class] = np.arange(of_class.sum())
    return shuffled[np.argsort(turns, kind="stable")]


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
        source="of this project; not comparable to published scores",
    )


_ALL = (
    _STYLEGANV,
    _balanced(_STYLEGANV),
    _STYLEGANV_128F,
    _balanced(_STYLEGANV_128F),
    _STYLEGANV_128F_S8,
    _balanced(_STYLEGANV_128F_S8),
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
