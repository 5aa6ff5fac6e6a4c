"""Several processes train as one: told to stop, or killed, and started again."""

import os
import random
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.end_to_end.same_bits import assert_same_bits
from tests.end_to_end.several import (
    Process,
    kill_one,
    metrics_by_step,
    started,
    wait_until_trained,
)

STAGES = ("codec", "autoencoder", "generator")
# Two devices, and what is large on them is cut in two. A kill often hits a save.
FLAGS = (
    "--config.mesh.data=1",
    "--config.mesh.fsdp=2",
    "--config.loop.preview_every=0",
    "--config.loop.checkpoint_every=1",
    "--config.data.cache_latents=False",
)
# One stage, without an adversary: they share the loop.
CODEC_STEPS = 16
CODEC_FLAGS = (
    *FLAGS,
    "--stage=codec",
    f"--config.codec.steps={CODEC_STEPS}",
    "--config.codec.adversarial.weight=0.0",
    "--config.model.frame_codec.multipliers=(1,)",
)


def test_killed_and_stopped_they_end_as_one_process_does(commands: Any, tmp_path: Path) -> None:
    """Fails when processes read the same rows, or a kill or SIGTERM to one loses or repeats a step.

    One process of two devices does the same sums: all agree bit for bit. The moments of the kills
    are drawn anew every time; KILL_SEED repeats them. Broken: each process stops at its own
    request, and the other waits for ever.
    """
    draw = _draw()
    alone, workdir = tmp_path / "alone", tmp_path / "both"
    with started(commands, [*commands.train_flags(alone), *CODEC_FLAGS], 1, devices=2) as one:
        _assert_ended(one)
    flags = [*commands.train_flags(workdir), *CODEC_FLAGS]
    with started(commands, flags, 2) as both:
        kill_one(workdir, both, draw)
    with started(commands, flags, 2) as both:
        wait_until_trained(workdir, both)
        both[1].terminate()
        _assert_ended(both)
        # Only the first process says anything but how it stopped.
        stopped = [re.search(r"codec saved at step (\d+)", process.said()) for process in both]
        assert all(stopped) and stopped[0][1] == stopped[1][1], [p.said() for p in both]
        assert int(stopped[0][1]) < CODEC_STEPS
    with started(commands, flags, 2) as both:
        _assert_ended(both)
    assert_same_bits(workdir / "codec" / str(CODEC_STEPS), alone / "codec" / str(CODEC_STEPS))
    one, two = metrics_by_step(alone, "codec"), metrics_by_step(workdir, "codec")
    assert two == one
    losses = [values["loss"] for values in one.values() if "loss" in values]
    assert len(losses) == CODEC_STEPS and np.ptp(losses) > 0.1


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_killed_thirty_times_they_end_as_if_never(commands: Any, tmp_path: Path) -> None:
    """Fails when one of 30 kills, in any stage and often in a save, changes a bit of the end."""
    draw = _draw()
    steps = [f"--config.{stage}.steps=40" for stage in STAGES]
    straight, workdir = tmp_path / "straight", tmp_path / "killed"
    with started(commands, [*commands.train_flags(straight), *FLAGS, *steps], 2) as both:
        _assert_ended(both)
    flags = [*commands.train_flags(workdir), *FLAGS, *steps]
    for number in range(30):
        print(f"{number + 1}: ", end="")
        with started(commands, flags, 2) as both:
            kill_one(workdir, both, draw)
    with started(commands, flags, 2) as both:
        _assert_ended(both)
    for stage in STAGES:
        assert_same_bits(workdir / stage / "40", straight / stage / "40")
        assert metrics_by_step(workdir, stage) == metrics_by_step(straight, stage)


def _draw() -> random.Random:
    """The moments of the kills."""
    seed = int(os.environ.get("KILL_SEED", time.time_ns() % 10**6))
    print(f"KILL_SEED={seed}")
    return random.Random(seed)


def _assert_ended(processes: list[Process]) -> None:
    for process in processes:
        assert process.wait() == 0, process.said()
        assert "Traceback" not in process.said()
