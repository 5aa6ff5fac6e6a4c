"""Costs of several ways to do the same thing, on a machine that may have other work.

All take turns in short rounds, so that what slows the machine down slows all of them; costs are
then compared within rounds, and of rounds the median counts.
"""

import multiprocessing
import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol


class Contender(Protocol):
    """One way to make batches."""

    def get_ready(self, batches: int) -> None:
        """Does what the next `run(batches)` is not to be charged for."""

    def run(self, batches: int) -> None:
        """Makes that many batches and drops them."""


@dataclass(frozen=True)
class Calls:
    """A contender that calls a function with a number of batches."""

    run: Callable[[int], None]

    def get_ready(self, batches: int) -> None:
        """Nothing goes on in the background."""


@dataclass(frozen=True)
class Cost:
    """Seconds for one batch: on the clock, and of all processor cores together."""

    wall: float
    cpu: float


def measure(
    contenders: Mapping[str, Contender],
    *,
    batches: int,
    rounds: int,
    on_run: Callable[[], None],
) -> dict[str, list[Cost]]:
    """The cost of every contender in every round of `batches`; calls `on_run` after each run."""
    costs: dict[str, list[Cost]] = {name: [] for name in contenders}
    for number in range(rounds):
        # Forth and back: nobody always comes after the same one.
        for name in list(contenders)[:: -1 if number % 2 else 1]:
            contenders[name].get_ready(batches)
            costs[name].append(cost_of(contenders[name], batches))
            _wait_until_idle()
            on_run()
    return costs


def cost_of(contender: Contender, batches: int) -> Cost:
    """What one run costs."""
    wall, cpu = time.perf_counter(), cpu_seconds()
    contender.run(batches)
    return Cost((time.perf_counter() - wall) / batches, (cpu_seconds() - cpu) / batches)


def cpu_seconds() -> float:
    """Processor time so far of this process, all of its threads, and its child processes."""
    # os.times() would round to hundredths of a second.
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    running = sum(_process_seconds(child.pid) for child in multiprocessing.active_children())
    return time.process_time() + ended.ru_utime + ended.ru_stime + running


def _process_seconds(pid: int) -> float:
    # The clock that clock_getcpuclockid(3) names, by Linux's rule; Python has no function for it.
    return time.clock_gettime((~pid << 3) | 2)


def _wait_until_idle(longest: float = 30.0) -> None:
    """Lets background threads and processes fill their buffers, which then cost nobody else."""
    end = time.perf_counter() + longest
    while time.perf_counter() < end:
        before = cpu_seconds()
        # Long enough for a thread that waits for a core on a busy machine.
        time.sleep(0.2)
        if cpu_seconds() - before < 0.004:
            return
