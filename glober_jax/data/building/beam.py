"""Runs the tasks of a preparation on Apache Beam."""

import pickle
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter

from glober_jax.data.building.pool import OnCount, Unfinished


def run_on_beam(
    function: Any, tasks: Sequence[Any], on_count: OnCount, *, folder: Path, options: str
) -> tuple[()]:
    """Calls the picklable `function(task, on_count)` for every task, in any order.

    Args:
      function, tasks: see `run_tasks`.
      on_count: not called; Beam's runners show their progress themselves.
      folder: can be written to, and read by Beam's workers.
      options: Beam's flags, as on a command line: "--runner=FlinkRunner ...".

    Raises:
      Unfinished: Beam is not installed, or the pipeline failed.
    """
    del on_count
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise Unfinished(
            "--runner=beam needs Apache Beam: python -m pip install -r requirements-beam.txt"
        ) from error
    # Some runners limit the pipeline itself to 10 MB, so it holds only the tasks' numbers.
    file = folder / "tasks.array_record"
    writer = ArrayRecordWriter(str(file), "group_size:1")
    for task in tasks:
        writer.write(pickle.dumps(task))
    writer.close()
    try:
        with beam.Pipeline(options=PipelineOptions(shlex.split(options))) as pipeline:
            numbers = pipeline | beam.Create(range(len(tasks))) | beam.Reshuffle()
            _ = numbers | beam.Map(_run_task, file, function)
    except Exception as error:
        # Each of Beam's runners raises others, and logs the whole.
        line = (str(error).strip() or repr(error)).splitlines()[-1]
        raise Unfinished(
            f"the Beam pipeline failed ({line}): run the same command again, finished shards are "
            "kept"
        ) from error
    return ()


def _run_task(number: int, file: Path, function: Any) -> None:
    reader = ArrayRecordReader(str(file))
    (task,) = reader.read([number])
    reader.close()
    function(pickle.loads(task), lambda count: None)
