"""Times the sampling of a trained workdir; `glober_jax.ablate` runs this.

    python -m glober_jax.ablations.time_sampling --workdir=runs/ablations/ours/0

Writes WORKDIR/seconds.json: {"seconds_per_video": of new clips as long as in training, without
compilation}.
"""

import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from absl import flags
from etils import epath

from glober_jax import cli, media, pretrained
from glober_jax.errors import UserError

SECONDS_FILE = "seconds.json"
# In one batch.
TIMED_VIDEOS = 8


def main(argv: Sequence[str]) -> None:
    """Runs the command with its positional arguments."""
    workdir = flags.FLAGS.workdir
    if argv or not workdir:
        raise UserError("give --workdir=DIR, and nothing but flags")
    model = pretrained.load(workdir)
    index_T = np.arange(model.clip.num_frames) / model.clip.num_frames
    wanted = model.networks.condition.input(TIMED_VIDEOS)
    given = np.zeros(wanted.shape, wanted.dtype)
    write_seconds(
        epath.Path(workdir),
        lambda: model.decode(model.generate_globals(TIMED_VIDEOS, given), index_T),
    )


def write_seconds(workdir: epath.Path, make: Callable[[], Any]) -> None:
    """Times `make()` of `TIMED_VIDEOS` clips after a first call; the better of two."""
    make()
    seconds = []
    for _ in range(2):
        begin = time.monotonic()
        make()
        seconds.append(time.monotonic() - begin)
    record = {"seconds_per_video": min(seconds) / TIMED_VIDEOS}
    media.write_file(workdir / SECONDS_FILE, json.dumps(record).encode())


if __name__ == "__main__":
    flags.DEFINE_string("workdir", None, "A workdir that glober_jax.main trained")
    cli.run(main)
