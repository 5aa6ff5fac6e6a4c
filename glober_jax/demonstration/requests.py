"""Validated requests of the page, and their description. Dimension key: n frames.

Every limit is enforced here, since scripts can post values too. Values may be empty (None) or text;
missing and impossible ones raise `UserError`.
"""

import dataclasses
import math
import shlex
from decimal import Decimal
from typing import Any

import numpy as np

from glober_jax.diffusion.samplers import SPACINGS
from glober_jax.errors import UserError
from glober_jax.sampling.indices import frame_indices
from glober_jax.training.checkpoint import Which
from glober_jax.values import MAX_SEED

MAX_FRAMES, MAX_STEPS, MAX_SCALE, MAX_BETWEEN = 512, 250, 20.0, 8
# Of uploads, in seconds; frames before the part have to be decoded as well.
MAX_BEGIN, MAX_SECONDS = 600.0, 60.0
_COMMAND_WIDTH = 76


@dataclasses.dataclass(frozen=True)
class Part:
    """The frames to decode of a clip of `clip_frames`: arguments of `frame_indices`."""

    clip_frames: int
    start: float
    end: float
    num_frames: int | None = None
    rate: float | None = None

    @property
    def index_n(self) -> np.ndarray:
        """Index of every frame in the clip, float64 [n]."""
        return frame_indices(**dataclasses.asdict(self))

    @property
    def frames(self) -> int:
        return len(self.index_n)


@dataclasses.dataclass(frozen=True)
class VideoRequest:
    """A new video: `condition` is a class or a caption, `sampling` fields of `SamplingOptions`."""

    seed: int
    condition: str | None
    part: Part
    sampling: dict[str, Any]


def part_of_clip(
    start: Any, end: Any, *, clip_frames: int, rate: Any = None, frames: Any = None
) -> Part:
    """A part of a clip, 0 <= start < end <= 1, by `rate` (2 is half the speed) or `frames`."""
    start, end = _number(start, "The start", 0, 1), _number(end, "The end", 0, 1)
    if not start < end:
        raise UserError(
            f"The end ({end:g}) must lie after the start ({start:g}): move one of the two"
        )
    if rate is None:
        frames = _whole(frames, "The number of frames", 1, MAX_FRAMES)
        return Part(clip_frames, start, end, num_frames=frames)
    rate = _number(rate, "The rate", 0, math.inf)
    if rate == 0:
        raise UserError("A rate of 0 makes no frames: raise it")
    wanted = (end - start) * clip_frames * rate
    if not wanted <= MAX_FRAMES:
        raise UserError(
            f"That rate makes {wanted:.0f} frames of this part, and {MAX_FRAMES} is the most: "
            "lower it, or take a shorter part"
        )
    return Part(clip_frames, start, end, rate=rate)


def sampling_changes(
    sampler: Any, steps: Any, *, max_steps: int = MAX_STEPS, **scales: Any
) -> dict[str, Any]:
    """The page's fields of `SamplingOptions`, for `config.sampling_options`."""
    if sampler not in SPACINGS:
        raise UserError(f"There is no sampler {sampler}: choose one of {', '.join(SPACINGS)}")
    steps = _whole(steps, "The number of steps", 1, min(max_steps, MAX_STEPS))
    changes = {"sampler": sampler, "steps": steps}
    for name, value in scales.items():
        changes[name] = _number(value, f"The {name.replace('_', ' ')}", 0, MAX_SCALE)
    return changes


def seed_of(value: Any) -> int:
    """A seed of up to 64 bits."""
    return _whole(value, "The seed", 0, MAX_SEED)


def videos_of_way(value: Any) -> int:
    """The number of videos from one to another, both included."""
    return _whole(value, "The number of videos", 2, MAX_BETWEEN)


def seconds_of_upload(begin: Any, seconds: Any) -> tuple[float, float]:
    """Begin and length of the part of an uploaded video."""
    begin = _number(begin, "The beginning", 0, MAX_BEGIN)
    seconds = _number(seconds, "The length", 0, MAX_SECONDS)
    if seconds == 0:
        raise UserError("The length is 0 seconds: take a longer part of the video")
    return begin, seconds


def describe(part: Part, clip_seconds: float, fps: float, original: str) -> str:
    """Length at `fps`, and speed relative to `original`, whose clip lasts `clip_seconds`."""
    seconds = part.frames / fps
    slower = seconds / ((part.end - part.start) * clip_seconds)
    if math.isclose(slower, 1, rel_tol=0.01):
        speed = f"as fast as {original}"
    elif slower > 1:
        speed = f"{slower:.3g} times slower than {original}"
    else:
        speed = f"{1 / slower:.3g} times faster than {original}"
    frames = "1 frame" if part.frames == 1 else f"{part.frames} frames"
    return f"{frames}, {seconds:.3g} s at {fps:g} frames per second: {speed}"


def sample_command(request: VideoRequest, kind: str, workdir: str, checkpoint: Which) -> str:
    """The `glober_jax.sample` command of a request, wrapped for a shell.

    `kind` is that of the model's condition: "class", "text" or "unconditional".
    """
    part = request.part
    flags = {
        "workdir": workdir,
        "output": "sampled",
        "num_videos": 1,
        "seed": request.seed,
        "checkpoint": None if checkpoint == "newest" else checkpoint,
        "class_label": request.condition if kind == "class" else None,
        "prompt": request.condition if kind == "text" else None,
        # Only the digest of the captions' encoder is known.
        "clip": "CLIP_CHECKPOINT" if kind == "text" else None,
        "start": part.start,
        "end": part.end,
        "num_frames": part.num_frames,
        "rate": part.rate,
    }
    for name, value in request.sampling.items():
        scale = name.removesuffix("_scale")
        flags[name if scale == name else f"guidance_{scale}"] = value
    lines = ["python -m glober_jax.sample"]
    for word in (f"--{name}={value}" for name, value in flags.items() if value is not None):
        if len(lines[-1]) + len(shlex.quote(word)) < _COMMAND_WIDTH:
            lines[-1] += f" {shlex.quote(word)}"
        else:
            lines.append(f"    {shlex.quote(word)}")
    return " \\\n".join(lines)


def _number(value: Any, name: str, low: float, high: float) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise UserError(f"{name} is missing: type a number") from None
    if not low <= number <= high:
        limits = f"between {low:g} and {high:g}" if math.isfinite(high) else f"{low:g} or more"
        raise UserError(f"{name} is {number:g}, but must be {limits}")
    return number


def _whole(value: Any, name: str, low: int, high: int) -> int:
    try:
        # A float would round seeds of 64 bits.
        number = Decimal(str(value).strip())
        # In this order: the integer 1e999999999 would take all memory.
        fits = low <= number <= high and number == int(number)
    except ArithmeticError:
        raise UserError(f"{name} is missing: type a whole number") from None
    if not fits:
        raise UserError(f"{name} is {number}, but must be a whole number from {low} to {high}")
    return int(number)
