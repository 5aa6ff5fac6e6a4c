"""Runs tasks in a pool of processes, which end with the main one."""

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from glober_jax.data.workers import end_with_parent, without_interrupts
from glober_jax.errors import Unfinished

Task = TypeVar("Task")
Result = TypeVar("Result")


def run_tasks(
    function: Callable[[Task], Result], tasks: Sequence[Task], *, workers: int
) -> Iterator[tuple[Task, Result]]:
    """Calls `function(task)` for every task, and yields tasks with results as they finish.

    Args:
      function: picklable.
      tasks: picklable, each with a `name` for messages; started in this order.
      workers: number of processes; with 1, or a single task, all runs in this one.

    Raises:
      Unfinished: a worker process died. Errors of `function` arrive as they are.
    """
    workers = min(workers, len(tasks))
    if workers <= 1:
        yield from ((task, function(task)) for task in tasks)
        return
    context = multiprocessing.get_context("spawn")
    others = multiprocessing.active_children()
    with without_interrupts():
        pool = ProcessPoolExecutor(workers, context, initializer=_start_worker)
    running = {}
    try:
        with without_interrupts():
            running = {pool.submit(function, task): task for task in tasks}
        for future in as_completed(running):
            result = future.result()
            yield running.pop(future), result
    except BrokenProcessPool as error:
        # Tasks are started in order.
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


def _start_worker() -> None:
    # Ctrl-C goes to the whole group of processes; the parent alone acts on it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
