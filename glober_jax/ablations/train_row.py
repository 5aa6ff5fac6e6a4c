"""Trains one row of an ablation and times its sampling; `glober_jax.ablate` runs this.

    python -m glober_jax.ablations.train_row --config=configs/ablations.py:ours,32 \
        --workdir=runs/ablations/ours/0 [--plain_video --clips=64]

Resumes from the newest checkpoints. Writes WORKDIR/seconds.json, {"seconds_per_video": of clips as
long as in training, without compilation}; with --plain_video, for that model instead of GLOBER,
also WORKDIR/clips.npy, uint8 [B, T, X, Y, 3], with the conditions of B test videos.
"""

import io
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from absl import flags
from etils import epath
from ml_collections import config_flags

from glober_jax import cli, media, pretrained, run
from glober_jax.ablations import plain_video
from glober_jax.ablations.runs import SECONDS_FILE
from glober_jax.errors import UserError
from glober_jax.experiment import config
from glober_jax.experiment.options import Experiment
from glober_jax.experiment.pipeline import Pipeline
from glober_jax.parallel.mesh import make_mesh
from glober_jax.parallel.multihost import Preemption
from glober_jax.sampling.decode import FrameModel
from glober_jax.training import codec
from glober_jax.training.loop import run_stage
from glober_jax.training.metric_writer import MetricsWriter

_CONFIG = config_flags.DEFINE_config_file("config", None, "Experiment")
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of checkpoints, logs and clips")
_PLAIN_VIDEO = flags.DEFINE_bool("plain_video", False, "Train the plain video diffusion model")
_CLIPS = flags.DEFINE_integer("clips", 64, "Number of clips that it samples", lower_bound=1)
# Sampled in one batch.
_TIMED_VIDEOS = 8


def main(argv: Sequence[str]) -> None:
    """Runs the command with its positional arguments."""
    cli.no_arguments(argv)
    if not (_CONFIG.value and _WORKDIR.value):
        raise UserError("give --config=FILE and --workdir=DIR")
    experiment, workdir = config.parse(cli.config_value(_CONFIG)), epath.Path(_WORKDIR.value)
    train = _train_plain_video if _PLAIN_VIDEO.value else _train_glober
    _time_sampling(workdir, train(experiment, workdir))


def _train_glober(experiment: Experiment, workdir: epath.Path) -> Callable[[], Any]:
    """Trains all stages; returns the sampling to time."""
    run.run(experiment, workdir, None)
    model = pretrained.load(workdir)
    index_T = np.arange(model.clip.num_frames) / model.clip.num_frames
    wanted = model.networks.condition.input(_TIMED_VIDEOS)
    given = np.zeros(wanted.shape, wanted.dtype)
    return lambda: model.decode(model.generate_globals(_TIMED_VIDEOS, given), index_T)


def _train_plain_video(experiment: Experiment, workdir: epath.Path) -> Callable[[], Any]:
    """Trains the codec and the plain video model, and samples it; returns the sampling to time."""
    run.run(experiment, workdir, codec.NAME)
    pipeline = Pipeline(experiment, workdir, make_mesh(experiment.mesh))
    codec_params, _ = pipeline.frozen_codec()
    stage = plain_video.PlainVideoStage.of(experiment, pipeline.mesh)
    with MetricsWriter(workdir / "logs", enabled=True) as writer:
        state = run_stage(
            plain_video.plain_video_stage(pipeline, stage, codec_params),
            workdir,
            experiment.source,
            experiment.loop,
            pipeline.mesh,
            writer,
            Preemption(),
        )
    model = FrameModel(codec_params | state.ema, state.constants["latent_scale"])
    conditions = pipeline.data.clips("test", _CLIPS.value)[stage.networks.condition.field]
    sampler = plain_video.clip_sampler(stage, experiment.sampling, _TIMED_VIDEOS)
    clips = io.BytesIO()
    np.save(clips, sampler(model, conditions, experiment.seed))
    media.write_file(workdir / plain_video.CLIPS_FILE, clips.getvalue())
    few = np.resize(conditions, (_TIMED_VIDEOS, *conditions.shape[1:]))
    return lambda: sampler(model, few, experiment.seed)


def _time_sampling(workdir: epath.Path, sample: Callable[[], Any]) -> None:
    """Times `sample()` of `_TIMED_VIDEOS` clips after a first call; the faster of two counts."""
    sample()
    seconds = []
    for _ in range(2):
        begin = time.monotonic()
        sample()
        seconds.append(time.monotonic() - begin)
    record = {"seconds_per_video": min(seconds) / _TIMED_VIDEOS}
    media.write_file(workdir / SECONDS_FILE, json.dumps(record).encode())


if __name__ == "__main__":
    cli.run(main, "run the same command again to go on")
