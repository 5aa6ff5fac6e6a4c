"""Evaluation protocols by name, and the clips they choose. Dimension key: V videos.

Scores of two protocols do not compare: FVD depends on length, stride, split, choice and number of
clips, on resizing, the covariance's divisor, and compression of frames, in which papers differ. So
a result carries the whole protocol.
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
    """The protocol with another number of clips, which its name tells: `styleganv_16f@256`."""
    if num_clips < 2:
        raise UserError(f"an evaluation needs at least 2 clips, not {num_clips}")
    base = protocol.name.partition("@")[0]
    usual = PROTOCOLS[_name_parts(protocol)[0]].num_clips
    name = base if num_clips == usual else f"{base}@{num_clips}"
    return dataclasses.replace(protocol, name=name, num_clips=num_clips)


def fitted(protocol: Protocol, lengths: Sequence[int]) -> Protocol:
    """`small` with at most as many clips as usable videos; other protocols unchanged."""
    usable = sum(length >= protocol.min_length for length in lengths)
    fits = "@" not in protocol.name and _name_parts(protocol)[0] == SMALL
    return with_clips(protocol, usable) if fits and 2 <= usable < protocol.num_clips else protocol


def choose_clips(
    protocol: Protocol, lengths: Sequence[int], labels: Sequence[int], repeat: int = 0
) -> list[tuple[int, int]]:
    """The real clips of a repeat as (video number, first frame), sorted.

    A video's clip does not depend on `num_clips`. There are fewer clips than that where there are
    fewer usable videos and `repeat_videos` is off.

    Args:
      protocol: the settings.
      lengths: frames of each video, in sorted order of the videos' names.
      labels: class of each video, for "class_balanced".
      repeat: 0 to `protocol.repeats` - 1.

    Raises `UserError` where no video is long enough.
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
        # Drawn for all videos, so that a clip does not depend on which others are taken.
        starts_V = rng.integers(room_V + 1) if protocol.start == "random" else room_V // 2
        order = _order(protocol.videos, usable, np.asarray(labels), rng)
        chosen = order[: protocol.num_clips - len(clips)]
        clips += zip(chosen.tolist(), starts_V[chosen].tolist(), strict=True)
        if not protocol.repeat_videos:
            break
    return sorted(clips)


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
    """A note where there are fewer clips than the protocol's; `num_made` None are all of them."""
    if min(num_real, num_made or protocol.num_clips) >= protocol.num_clips:
        return []
    here = f"{num_real:,}" if num_made is None else f"{num_real:,} real and {num_made:,} made"
    return [
        f"protocol {protocol.name} takes up to {protocol.num_clips} clips, one of each video of at "
        f"least {protocol.min_length} frames, and here are {here}; scores compare only to those of "
        "as many clips"
    ]


def table() -> str:
    """Every protocol and every setting as a Markdown table, for the documentation."""
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
        source=OF_THIS_PROJECT,
    )


def _name_parts(protocol: Protocol) -> tuple[str, str | None]:
    """The name in PROTOCOLS, and the number of frames if the name has that suffix."""
    return _NAME.fullmatch(protocol.name).groups()[:2]


def _order(
    videos: Videos, usable: np.ndarray, labels_V: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """All usable videos in the order they are taken in."""
    if videos == "first":
        return usable
    shuffled = rng.permutation(usable)
    if videos == "random":
        return shuffled
    # The rank of each video within its class: a stable sort by it takes classes in turn.
    turns = np.zeros(len(shuffled), np.int64)
    for label in np.unique(labels_V[shuffled]):
        of_class = labels_V[shuffled] == label
        turns[of_class] = np.arange(of_class.sum())
    return shuffled[np.argsort(turns, kind="stable")]
