"""Runs the tasks of a preparation on Apache Beam."""

import pickle
import shlex
from collections.abc import Callable, Sequence
from typing import Any

from etils import epath

from glober_jax.errors import Unfinished


def run_on_beam(
    function: Callable[[Any], Any], tasks: Sequence[Any], *, folder: epath.Path, options: str
) -> tuple[()]:
    """Calls the picklable `function(task)` for every task, in any order.

    Args:
      function, tasks: see `run_tasks`.
      folder: can be written to, and read by Beam's workers.
      options: Beam's flags, as on a command line: "--runner=FlinkRunner ...".

    Raises:
      Unfinished: Beam is not installed, or the pipeline failed.
    """
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise Unfinished(
            "--runner=beam needs Apache Beam: python -m pip install -r requirements-beam.txt"
        ) from error
    # Some runners limit the pipeline itself to 10 MB, so it holds only where each task begins.
    file, starts = folder / "tasks.pickle", []
    with file.open("wb") as stream:
        for task in tasks:
            starts.append(stream.tell())
            pickle.dump(task, stream)
    try:
        with beam.Pipeline(options=PipelineOptions(shlex.split(options))) as pipeline:
            begins = pipeline | beam.Create(starts) | beam.Reshuffle()
            _ = begins | beam.Map(_run_task, file, function)
    except Exception as error:
        # Each of Beam's runners raises others, and logs the whole.
        line = (str(error).strip() or repr(error)).splitlines()[-1]
        raise Unfinished(
            f"the Beam pipeline failed ({line}): run the same command again, finished shards are "
            "kept"
        ) from error
    return ()


def _run_task(start: int, file: epath.Path, function: Callable[[Any], Any]) -> None:
    with file.open("rb") as stream:
        stream.seek(start)
        task = pickle.load(stream)
    function(task)
