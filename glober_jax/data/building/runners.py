"""Where the tasks of a preparation run: in processes of this machine, or on Apache Beam."""

import pickle
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from glober_jax.data.building.pool import Named, OnCount, Unfinished, run_tasks

Function = Callable[[Any, OnCount], None]


class Runner(Protocol):
    """Calls a picklable `function(task, on_count)` for every task, in any order.

    `folder` can be written to, and read by whoever runs a task.

    Raises:
      Unfinished: the tasks are not all done, for no fault of theirs.
    """

    def __call__(
        self, function: Function, tasks: Sequence[Named], on_count: OnCount, folder: Path
    ) -> None: ...


@dataclass(frozen=True)
class LocalRunner:
    """Runs tasks in `workers` processes of this machine; with 1, in this process."""

    workers: int = 1

    def __call__(
        self, function: Function, tasks: Sequence[Named], on_count: OnCount, folder: Path
    ) -> None:
        for _ in run_tasks(function, tasks, on_count, workers=self.workers):
            pass


HERE = LocalRunner(1)


@dataclass(frozen=True)
class BeamRunner:
    """Runs tasks as elements of a pipeline of Apache Beam.

    Attributes:
      options: Beam's own flags, as on a command line: "--runner=FlinkRunner ...".
    """

    options: str = ""

    def __call__(
        self, function: Function, tasks: Sequence[Named], on_count: OnCount, folder: Path
    ) -> None:
        """Counts nothing up: Beam's runners show how far they are."""
        try:
            import apache_beam as beam
            from apache_beam.options.pipeline_options import PipelineOptions
        except ImportError as error:
            raise Unfinished(
                "--runner=beam needs Apache Beam: python -m pip install -r requirements-beam.txt"
            ) from error
        options = PipelineOptions(shlex.split(self.options))
        # In the pipeline itself, which some runners limit to 10 MB, are only their places.
        file = folder / "tasks.pickle"
        places = _write_tasks(file, tasks)
        try:
            with beam.Pipeline(options=options) as pipeline:
                _ = (
                    pipeline
                    | beam.Create(places)
                    | beam.Reshuffle()
                    | beam.Map(_run_from, file, function)
                )
        except Exception as error:
            # Each of Beam's runners raises others, and logs the whole.
            line = (str(error).strip() or repr(error)).splitlines()[-1]
            raise Unfinished(
                f"the Beam pipeline failed ({line}): run the same command again, finished shards "
                "are kept"
            ) from error


def _write_tasks(file: Path, tasks: Sequence[Named]) -> list[int]:
    """The byte at which each task begins in the file."""
    places = []
    with file.open("wb") as out:
        for task in tasks:
            places.append(out.tell())
            pickle.dump(task, out)
    return places


def _run_from(place: int, file: Path, function: Function) -> None:
    with file.open("rb") as tasks:
        tasks.seek(place)
        function(pickle.load(tasks), lambda count: None)
