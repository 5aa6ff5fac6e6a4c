"""Trains a plain video diffusion model and writes clips of it; `glober_jax.ablate` runs this.

    python -m glober_jax.ablations.train_plain_video --config=configs/ablations.py:plain_video \
        --workdir=runs/ablations/plain_video/0

Resumes from its newest checkpoint. Writes WORKDIR/clips.npy, uint8 [B, T, X, Y, 3], with the
conditions of B test videos, and WORKDIR/seconds.json.
"""

import io
from collections.abc import Sequence

import numpy as np
from absl import flags
from etils import epath
from ml_collections import config_flags

from glober_jax import cli, media, run
from glober_jax.ablations import plain_video
from glober_jax.ablations.time_sampling import TIMED_VIDEOS, write_seconds
from glober_jax.errors import UserError
from glober_jax.experiment import config
from glober_jax.experiment.pipeline import Pipeline
from glober_jax.parallel.mesh import make_mesh
from glober_jax.sampling.decode import FrameModel
from glober_jax.training import codec
from glober_jax.training.loop import run_stage
from glober_jax.training.metric_writer import MetricsWriter
from glober_jax.training.preemption import Preemption

_CONFIG = config_flags.DEFINE_config_file("config", None, "Experiment")
_WORKDIR = flags.DEFINE_string("workdir", None, "Where checkpoints, logs and clips go")
_CLIPS = flags.DEFINE_integer("clips", 64, "How many clips to write", lower_bound=1)


def main(argv: Sequence[str]) -> None:
    """Runs the command with its positional arguments."""
    if argv or not (_CONFIG.value and _WORKDIR.value):
        raise UserError("give --config=FILE and --workdir=DIR, and nothing but flags")
    experiment, workdir = config.parse(cli.config_value(_CONFIG)), epath.Path(_WORKDIR.value)
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
    sampler = plain_video.clip_sampler(stage, experiment.sampling, TIMED_VIDEOS)
    clips = io.BytesIO()
    np.save(clips, sampler(model, conditions, experiment.seed))
    media.write_file(workdir / plain_video.CLIPS_FILE, clips.getvalue())
    few = np.resize(conditions, (TIMED_VIDEOS, *conditions.shape[1:]))
    write_seconds(workdir, lambda: sampler(model, few, experiment.seed))


if __name__ == "__main__":
    cli.run(main, "run the same command again to go on")
