"""What the page lets through, what it refuses and how, and the command it writes."""

import math
import shlex
from typing import Any

import numpy as np
import pytest

from glober_jax.demonstration.requests import (
    MAX_FRAMES,
    Part,
    VideoRequest,
    describe,
    part_of_clip,
    sample_command,
    sampling_changes,
    seconds_of_upload,
    seed_of,
    videos_of_way,
)
from glober_jax.errors import UserError

SCALES = {"condition_scale": 2, "video_scale": 0.0, "domain_scale": 1}
SAMPLING = {"sampler": "ddim", "steps": 20, **SCALES}


def test_slow_motion_of_a_part() -> None:
    """Fails when a rate is not frames per frame, or the frames do not fill the part evenly."""
    part = part_of_clip(0.25, 0.75, clip_frames=16, rate=2)
    assert part.frames == 16
    np.testing.assert_allclose(part.index_n[[0, 8, 15]], [0.25, 0.5, 0.75 - 0.5 / 16])
    # At rate 1 every index is that of a frame of the clip.
    whole = part_of_clip(0, 1, clip_frames=16, rate=1)
    np.testing.assert_array_equal(whole.index_n, np.arange(16) / 16)
    assert part_of_clip("0", "1", clip_frames=16, frames="5").frames == 5


@pytest.mark.parametrize(
    ("start", "end", "length", "says"),
    [
        (0.5, 0.5, {"rate": 1}, "must lie after the start"),
        (-0.1, 1, {"frames": 8}, "between 0 and 1"),
        (0, math.nan, {"frames": 8}, "between 0 and 1"),
        (None, 1, {"frames": 8}, "The start is missing"),
        (0, 1, {"frames": 0}, f"whole number from 1 to {MAX_FRAMES}"),
        (0, 1, {"frames": MAX_FRAMES + 1}, f"from 1 to {MAX_FRAMES}"),
        (0, 1, {"frames": 2.5}, "whole number"),
        (0, 1, {"frames": math.inf}, "whole number"),
        (0, 1, {"frames": None}, "number of frames is missing"),
        (0, 1, {"rate": 33}, f"{MAX_FRAMES} is the most"),
        (0, 1, {"rate": math.inf}, f"{MAX_FRAMES} is the most"),
        (0, 1, {"rate": 0}, "makes no frames"),
        (0, 1, {"rate": -1}, "0 or more"),
    ],
)
def test_refuses_parts(start: Any, end: Any, length: dict[str, Any], says: str) -> None:
    """Fails when nothing, too much or nonsense is accepted, or answered with a riddle."""
    with pytest.raises(UserError, match=says):
        part_of_clip(start, end, clip_frames=16, **length)


def test_sampling_is_limited() -> None:
    """Fails when a value the page would not offer is accepted from a script."""
    assert sampling_changes(**SAMPLING) == SAMPLING
    for field, value, says in (
        ("steps", 0, "from 1 to 250"),
        ("steps", 251, "from 1 to 250"),
        ("sampler", "euler", r"choose one of ddim, dpm\+\+"),
        ("sampler", None, "choose one of"),
        ("condition_scale", 1e9, "The condition scale is 1e"),
        ("video_scale", math.nan, "between 0 and 20"),
    ):
        with pytest.raises(UserError, match=says):
            sampling_changes(**SAMPLING | {field: value})
    with pytest.raises(UserError, match="from 1 to 100"):
        sampling_changes(**SAMPLING | {"steps": 101}, max_steps=100)
    for seed in ("18446744073709551615", 2**64 - 1, 2**53 + 1, 7.0, " 0 "):
        assert seed_of(seed) == int(seed)
    for seed in (-1, 2**64, f"{2**64}", "1e999999999", 0.5, None, "", "a", math.nan, -math.inf):
        with pytest.raises(UserError, match="The seed"):
            seed_of(seed)
    assert videos_of_way(2.0) == 2
    for count in (1, 9, 2.5, None):
        with pytest.raises(UserError, match="The number of videos"):
            videos_of_way(count)
    for begin, seconds in ((-1, 2), (0, 0), (1e6, 2), (0, 1e6), (None, 2)):
        with pytest.raises(UserError):
            seconds_of_upload(begin, seconds)


def test_command_repeats_the_request() -> None:
    """Fails when the command lacks a choice, or a shell would read it otherwise."""
    part = Part(16, 0.1 + 0.2, 0.75, num_frames=32)
    request = VideoRequest(7, "Ski & 'Board'", part, sampling_changes(**SAMPLING))
    words = _words(sample_command(request, "class", "my runs/sky", "best"))
    assert words[:3] == ["python", "-m", "glober_jax.sample"]
    flags = dict(word.removeprefix("--").split("=", 1) for word in words[3:])
    assert flags.pop("output") == "sampled"
    numbers = {name: float(value) for name, value in flags.items() if value[0].isdigit()}
    assert flags.keys() - numbers.keys() == {"workdir", "class_label", "checkpoint", "sampler"}
    assert flags["workdir"] == "my runs/sky" and flags["class_label"] == "Ski & 'Board'"
    assert flags["checkpoint"] == "best" and flags["sampler"] == "ddim"
    assert numbers == {
        "num_videos": 1, "seed": 7, "start": part.start, "end": 0.75, "num_frames": 32, "steps": 20,
        "guidance_condition": 2, "guidance_video": 0, "guidance_domain": 1,
    }  # fmt: skip
    texts = _words(sample_command(request, "text", "runs/sky", "newest"))
    assert "--prompt=Ski & 'Board'" in texts and "--clip=CLIP_CHECKPOINT" in texts
    nothing = _words(sample_command(request, "unconditional", "runs/sky", "newest"))
    assert not any("Ski" in word or "checkpoint" in word for word in nothing)
    slow = VideoRequest(0, None, Part(16, 0, 1, rate=2.5), {})
    assert _words(sample_command(slow, "unconditional", "runs/sky", "newest"))[-1] == "--rate=2.5"


def test_length_in_words() -> None:
    """Fails when slow motion is called fast, or compared with the wrong clip."""
    half = Part(16, 0, 0.5, num_frames=32)
    assert describe(half, 2.0, 8, "them") == (
        "32 frames, 4 s at 8 frames per second: 4 times slower than them"
    )
    assert describe(half, 16.0, 8, "them").endswith("2 times faster than them")
    assert describe(Part(16, 0, 1, rate=1), 2.0, 8, "them").endswith("as fast as them")
    assert describe(Part(16, 0, 1, num_frames=1), 2.0, 8, "them").startswith("1 frame, ")


def _words(command: str) -> list[str]:
    # What a shell does with a backslash at the end of a line, and shlex does not.
    return shlex.split(command.replace("\\\n", ""))
