"""Evaluation protocols by name, and the clips they choose.

Scores of two protocols do not compare. FVD alone changes with the clips' length and stride, the
split and which of its videos are taken, their number, the resizing, the covariance's divisor, and
whether frames were compressed; papers that write "FVD" differ in all of these. So a result carries
the whole protocol, and its name says where the knobs come from. Dimension key: V videos.
"""

import dataclasses
import difflib
import re
from collections.abc import Sequence

import numpy as np

from glober_jax.errors import UserError
from glober_jax.evaluation import i3d
from glober_jax.evaluation.protocol import OF_THIS_PROJECT, PROTOCOLS, SMALL, Protocol, Videos

_NAME = re.compile(r"([^@]*?)(?:-([0-9]{1,9})f)?(?:@(.*))?", re.DOTALL)


def get_protocol(name: str) -> Protocol:
    """The protocol of that name; `-FRAMESf` and `@CLIPS` behind it change one knob each."""
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
    """The protocol with another number of clips, which its name then says: `styleganv_16f@256`.

    It is another protocol: a Frechet distance of fewer clips is larger.
    """
    if num_clips < 2:
        raise UserError(f"an evaluation needs at least 2 clips, not {num_clips}")
    base = protocol.name.partition("@")[0]
    usual = PROTOCOLS[_parts(protocol)[0]].num_clips
    name = base if num_clips == usual else f"{base}@{num_clips}"
    return dataclasses.replace(protocol, name=name, num_clips=num_clips)


def fitted(protocol: Protocol, lengths: Sequence[int]) -> Protocol:
    """`small` with as many clips as there are videos to take them from; other protocols as is."""
    usable = sum(length >= protocol.min_length for length in lengths)
    fits = "@" not in protocol.name and _parts(protocol)[0] == SMALL
    return with_clips(protocol, usable) if fits and 2 <= usable < protocol.num_clips else protocol


def choose_clips(
    protocol: Protocol, lengths: Sequence[int], labels: Sequence[int], repeat: int = 0
) -> list[tuple[int, int]]:
    """The real clips of a repeat: (video number, first frame), by ascending video.

    A video's clip is the same however many are taken: `num_clips`, or one of each usable video
    where these are fewer and not gone over again. `UserError` where no video is long enough.

    Args:
      protocol: says which and how many.
      lengths: frames of each video, in sorted order of the videos' names.
      labels: class of each video; only "class_balanced" looks at them.
      repeat: 0 to `protocol.repeats` - 1.
    """
    lengths_V = np.asarray(lengths, np.int64)
    usable = np.flatnonzero(lengths_V >= protocol.min_length)
    if not usable.size:
        longest = int(lengths_V.max(initial=0))
        there = f"the longest of {len(lengths_V)} has {longest}" if longest else "there are none"
        raise UserError(
            f"protocol {protocol.name} needs videos of at least {protocol.min_length} frames, but "
            f"{there}; {to_fit(protocol, longest, 'prepare the data with longer videos')}"
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


def to_fit(protocol: Protocol, num_frames: int, longer: str) -> str:
    """Advice for clips or videos of at most `num_frames` frames; `longer` advises to make more."""
    most = num_frames // protocol.stride
    if most < i3d.MIN_FRAMES:
        apart = f", {protocol.stride} apart" if protocol.stride > 1 else ""
        return f"{longer}: I3D takes clips of at least {i3d.MIN_FRAMES} frames{apart}"
    return (
        f"{longer}, or evaluate with --protocol={_parts(protocol)[0]}-{most}f, whose clips have "
        f"{most} frames and whose scores compare with no others"
    )


def caveat(protocol: Protocol) -> list[str]:
    """A note for the reader of scores where clips have another length than usual."""
    base, frames = _parts(protocol)
    if frames is None:
        return []
    return [
        f"Clips have {frames} frames where those of protocol {base} have "
        f"{PROTOCOLS[base].num_frames}: scores compare neither with published ones nor with those "
        f"of {base}."
    ]


def shortfall(protocol: Protocol, num_real: int, num_made: int | None = None) -> list[str]:
    """A note where there are fewer clips than the protocol's; None made are as many as it says."""
    if min(num_real, num_made or protocol.num_clips) >= protocol.num_clips:
        return []
    here = f"{num_real:,}" if num_made is None else f"{num_real:,} real and {num_made:,} made"
    return [
        f"protocol {protocol.name} takes up to {protocol.num_clips} clips, one of each video of at "
        f"least {protocol.min_length} frames, and here are {here}; scores compare only to those of "
        "as many clips"
    ]


def table() -> str:
    """Every protocol and every knob as a Markdown table, for the documentation."""
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
    """It is another protocol, and no published one: I3D sees other things in other clips."""
    if num_frames < i3d.MIN_FRAMES:
        raise UserError(
            f"an evaluation needs clips of at least {i3d.MIN_FRAMES} frames, not {num_frames}: "
            "I3D, whose logits are compared, takes no fewer"
        )
    if num_frames == protocol.num_frames:
        return protocol
    return dataclasses.replace(
        protocol,
        name=f"{protocol.name}-{num_frames}f",
        num_frames=num_frames,
        description=f"As {protocol.name}, but with clips of {num_frames} frames.",
        source=OF_THIS_PROJECT,
    )


def _parts(protocol: Protocol) -> tuple[str, str | None]:
    """The name in PROTOCOLS, and the number of frames where the name has one behind it."""
    return _NAME.fullmatch(protocol.name).groups()[:2]


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
