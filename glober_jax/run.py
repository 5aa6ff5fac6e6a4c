"""One training run: every stage in order, then the summary. What `main` calls."""

import contextlib
import json
import signal
import time
from collections.abc import Iterator

import jax
from clu.parameter_overview import get_parameter_overview
from etils import epath

from glober_jax import media
from glober_jax.alone import alone_in
from glober_jax.errors import UserError
from glober_jax.experiment.options import Experiment
from glober_jax.experiment.pipeline import Pipeline
from glober_jax.experiment.stages import STAGES, total_steps
from glober_jax.parallel.mesh import make_mesh
from glober_jax.parallel.multihost import Preemption
from glober_jax.progress import warn
from glober_jax.reporting import summary
from glober_jax.training import autoencoder, codec, generator
from glober_jax.training.checkpoint import StageCheckpoints, newest_step
from glober_jax.training.init_from_pretrained import check_pretrained
from glober_jax.training.loop import run_stage
from glober_jax.training.metric_writer import MetricsWriter
from glober_jax.training.packaged_model import refuse_packaged
from glober_jax.training.restore import CLASSES_FILE, write_config, write_texts


def run(
    experiment: Experiment, workdir: epath.Path, only: str | None, profiled: range = range(0)
) -> None:
    """Trains all stages and writes the summary, or trains `only` one stage.

    The steps in `profiled` of every stage are traced.

    Raises:
      UserError: nothing was touched, or the last checkpoint is intact.
    """
    refuse_packaged(workdir)
    preemption = Preemption()
    mesh = make_mesh(experiment.mesh)
    pipeline = Pipeline(experiment, workdir, mesh)
    for part in (codec, autoencoder, generator):
        # Opening refuses a workdir that holds another architecture.
        with StageCheckpoints(workdir, part.NAME, experiment.source) as checkpoints:
            if checkpoints.latest_step is None:
                check_pretrained(workdir, experiment.networks, part.NETWORKS)
    first = jax.process_index() == 0
    with alone_in(workdir) if first else contextlib.nullcontext():
        if first:
            write_config(workdir, experiment.source)
            classes = json.dumps(pipeline.data.train.class_names)
            media.write_file(workdir / CLASSES_FILE, classes.encode())
            if (examples := pipeline.previews.example_texts()) is not None:
                write_texts(workdir, examples)
        clock = Clock(workdir / "logs" / "seconds.json")
        with MetricsWriter(workdir / "logs", enabled=first) as writer:
            for name in STAGES if only is None else (only,):
                if first:
                    _warn_of_stale(experiment, workdir, name)
                with clock.phase(name):
                    stage = pipeline.stage(name)
                    settings = (workdir, experiment.source, experiment.loop, mesh)
                    state = run_stage(stage, *settings, writer, preemption, profiled)
                if first:
                    table = get_parameter_overview(state.params, include_stats=False)
                    media.write_file(workdir / "logs" / f"parameters_{name}.txt", table.encode())
        if only is None:
            if jax.process_count() > 1:
                # JAX's handler (`Preemption`) would wait for a step of training.
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
            with clock.phase("summary"):
                found = summary.measure(pipeline, mesh)
            if first:
                summary.publish(found, workdir, experiment.source, clock.seconds)


def _warn_of_stale(experiment: Experiment, workdir: epath.Path, name: str) -> None:
    """Warns of finished later stages if the weights they were trained with are about to change."""
    step = newest_step(workdir, name)
    if step is None or step >= total_steps(experiment, name):
        return
    for later in STAGES[STAGES.index(name) + 1 :]:
        reached = newest_step(workdir, later)
        if reached is not None and reached >= total_steps(experiment, later):
            warn(
                f"{name} is trained further from step {step}, but {later} is finished and was "
                f"trained with the earlier weights: raise config.{later}.steps to train it "
                f"further, or move {workdir / later} away to train it anew"
            )


class Clock:
    """Wall-clock seconds by phase, added up over interruptions in a JSON file."""

    def __init__(self, path: epath.Path) -> None:
        self._path = path
        self.seconds: dict[str, float] = json.loads(path.read_text()) if path.exists() else {}

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Adds the time spent inside to `name`, however it ends."""
        begin = time.monotonic()
        try:
            yield
        finally:
            spent = time.monotonic() - begin
            self.seconds[name] = round(self.seconds.get(name, 0.0) + spent, 2)
            if jax.process_index() == 0:
                try:
                    media.write_file(self._path, json.dumps(self.seconds).encode())
                except UserError as error:
                    # It would hide why the phase ended.
                    warn(f"the time spent is not stored: {error}")
