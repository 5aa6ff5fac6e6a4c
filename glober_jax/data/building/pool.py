"""Runs tasks over worker processes; neither side waits for the other once it is dead."""

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from glober_jax.data.workers import end_with_parent, start_resource_tracker, without_interrupts
from glober_jax.errors import UserError

_SECONDS_BETWEEN_LOOKS = 0.5

OnCount = Callable[[int], None]
Task = TypeVar("Task")
Result = TypeVar("Result")


class Unfinished(UserError):
    """Not all tasks are done, through no fault of theirs; what is finished is in place."""


def run_tasks(
    function: Callable[[Task, OnCount], Result],
    tasks: Sequence[Task],
    on_count: OnCount,
    *,
    workers: int,
) -> Iterator[tuple[Task, Result]]:
    """Runs `function(task, on_count)` for every task, and yields tasks with results as they finish.

    Args:
      function: picklable; reports progress by calling its second argument.
      tasks: picklable, each with a `name` for messages; started in this order.
      on_count: called in this process with what has been reported since the last call.
      workers: number of processes; with 1, or a single task, all runs in this one.

    Raises:
      Unfinished: a worker process died. Errors of `function` arrive as they are.
    """
    workers = min(workers, len(tasks))
    if workers <= 1:
        for task in tasks:
            yield task, function(task, on_count)
        return
    # The counter would start it, with its warnings.
    start_resource_tracker()
    context = multiprocessing.get_context("spawn")
    counter = context.Value("q", 0)
    others = multiprocessing.active_children()
    pool = ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(counter,))
    seen = 0
    running = {}
    try:
        with without_interrupts():
            running = {pool.submit(_call, function, task): task for task in tasks}
        while running:
            finished, _ = wait(running, _SECONDS_BETWEEN_LOOKS, FIRST_COMPLETED)
            on_count(counter.value - seen)
            seen = counter.value
            for future in finished:
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


_counter: Any = None


def _start_worker(counter: Any) -> None:
    global _counter
    _counter = counter
    # Ctrl-C goes to the whole group of processes; the parent alone acts on it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()


def _call(function: Callable[[Any, OnCount], Any], task: Any) -> Any:
    return function(task, _count)


def _count(number: int) -> None:
    with _counter.get_lock():
        _counter.value += number
