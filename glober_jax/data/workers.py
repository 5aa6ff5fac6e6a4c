"""Worker processes that read or prepare data: a pool on this machine, or Apache Beam.

Workers are spawned and import the main file, so scripts need `if __name__ == "__main__":`.
"""

import contextlib
import multiprocessing
import os
import pickle
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import resource_tracker
from typing import Any, TypeVar

from etils import epath

from glober_jax.errors import Unfinished

Task = TypeVar("Task")
Result = TypeVar("Result")

_NO_WARNING = "ignore:resource_tracker"


def run_tasks(
    function: Callable[[Task], Result], tasks: Sequence[Task], *, workers: int
) -> Iterator[tuple[Task, Result]]:
    """Calls `function(task)` for every task in a pool, and yields tasks and results as they finish.

    Both are picklable; tasks have a `name` for messages, and start in this order. One worker, or a
    single task, means this process. Raises Unfinished where a worker process died; errors of
    `function` arrive as they are.
    """
    workers = min(workers, len(tasks))
    if workers <= 1:
        yield from ((task, function(task)) for task in tasks)
        return
    context = multiprocessing.get_context("spawn")
    others = multiprocessing.active_children()
    running = {}
    with without_interrupts():
        pool = ProcessPoolExecutor(workers, context, initializer=start_worker)
    try:
        with without_interrupts():
            running = {pool.submit(function, task): task for task in tasks}
        for future in as_completed(running):
            result = future.result()
            yield running.pop(future), result
    except BrokenProcessPool as error:
        names = ", ".join(task.name for task in list(running.values())[:workers])
        raise Unfinished(
            "a worker process died, perhaps of a lack of memory, while it worked on one of "
            f"{names}: run the same command again, with --workers=N for fewer processes"
        ) from error
    finally:
        # Does not wait for tasks whose results are no longer needed.
        pool.shutdown(wait=False, cancel_futures=True)
        for child in multiprocessing.active_children():
            if child not in others:
                child.terminate()


def run_on_beam(
    function: Callable[[Any], Any], tasks: Sequence[Any], *, folder: epath.Path, options: str
) -> tuple[()]:
    """Calls `function(task)` for every task on Apache Beam, in any order.

    Beam's workers read `folder`; `options` are Beam's flags, "--runner=FlinkRunner ...". Raises
    Unfinished where Beam is not installed, or the pipeline failed.
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
            _ = begins | beam.Map(_run_stored_task, file, function)
    except Exception as error:
        # Each of Beam's runners raises others, and logs the whole.
        line = (str(error).strip() or repr(error)).splitlines()[-1]
        raise Unfinished(
            f"the Beam pipeline failed ({line}): run the same command again, finished shards are "
            "kept"
        ) from error
    return ()


def _run_stored_task(start: int, file: epath.Path, function: Callable[[Any], Any]) -> None:
    with file.open("rb") as stream:
        stream.seek(start)
        task = pickle.load(stream)
    function(task)


def start_loader_worker(index: int, count: int) -> None:
    """Grain calls this in every worker process before it reads anything."""
    del index, count
    # On SIGTERM the parent saves first, and needs batches for the step it is in.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    start_worker()


def start_worker() -> None:
    """Ignores Ctrl-C, which the parent handles, and ends this process when its parent ends."""

    def wait_and_exit() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=wait_and_exit, daemon=True).start()


@contextlib.contextmanager
def without_interrupts() -> Iterator[None]:
    """Blocks Ctrl-C in processes that are started inside, which would be interrupted in imports."""
    # The first worker would start the resource tracker, and unblock Ctrl-C. Its warnings are off.
    sys.warnoptions.append(_NO_WARNING)
    resource_tracker.ensure_running()
    sys.warnoptions.remove(_NO_WARNING)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
