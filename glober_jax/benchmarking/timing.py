"""The timing that all benchmarks share, made for machines that may have other work.

Everything is run once untimed. Then all contenders take turns in short rounds, so that other load
slows all of them alike; reported are the median, fastest and slowest round. A run ends when its
result is ready, not when it has been dispatched.
"""

import multiprocessing
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

import jax

from glober_jax.progress import Progress

_LONGEST_WAIT = 30.0


class Contender(NamedTuple):
    """Work to time: `run(n)` does it n times and waits; `prepare(n)` precedes it, untimed."""

    run: Callable[[int], Any]
    prepare: Callable[[int], Any] = lambda repeats: None


class Cost(NamedTuple):
    """Seconds of one repeat: on the clock, and of all processor cores together."""

    wall: float
    cpu: float


def blocking(call: Callable[[], Any]) -> Contender:
    """A contender that waits for the arrays of every call."""

    def run(repeats: int) -> None:
        for _ in range(repeats):
            jax.block_until_ready(call())

    return Contender(run)


def measure(
    contenders: Mapping[str, Contender], *, seconds: float, rounds: int, trial: int = 1
) -> dict[str, list[Cost]]:
    """The cost of every contender in every round.

    Args:
      contenders: by name; each is repeated equally often in a round.
      seconds: about how long to measure the slowest contender, at least one round.
      rounds: the number of rounds, or fewer where that takes longer than `seconds`.
      trial: the fewest repeats of a round, and those of the untimed runs. Work in the background
        needs as many as it may have finished in advance.
    """
    for contender in contenders.values():
        _cost(contender, trial)
    slowest = max(_cost(contender, trial).wall for contender in contenders.values())
    repeats = max(round(seconds / rounds / slowest), trial)
    rounds = min(max(int(seconds / repeats / slowest), 1), rounds)
    costs: dict[str, list[Cost]] = {name: [] for name in contenders}
    with Progress("measuring", rounds * len(contenders), unit="run") as progress:
        for number in range(rounds):
            # Alternating directions, so that none always follows the same one.
            for name in list(contenders)[:: -1 if number % 2 else 1]:
                costs[name].append(_cost(contenders[name], repeats))
                _wait_until_idle()
                progress.advance()
    return costs


def timing(costs: Sequence[Cost]) -> dict[str, Any]:
    """A contender's rounds as JSON-able figures: medians, and the spread of the wall clock."""
    walls = [cost.wall for cost in costs]
    return {
        "seconds": median(walls),
        "fastest": min(walls),
        "slowest": max(walls),
        "cpu_seconds": median(cost.cpu for cost in costs),
        "rounds": len(costs),
    }


def clip_timing(costs: Sequence[Cost], clips: int) -> dict[str, Any]:
    """`timing` and rates: clips per second of the clock and of processor time, `clips` a repeat."""
    figures = timing(costs)
    return {
        **figures,
        "clips_per_second": clips / figures["seconds"],
        "clips_per_core_second": clips / figures["cpu_seconds"],
    }


def ratio(costs: Sequence[Cost], others: Sequence[Cost], field: str) -> float:
    """`wall` or `cpu` of one contender by another's: the median of the rounds' own ratios."""
    pairs = zip(costs, others, strict=True)
    return median(getattr(cost, field) / getattr(other, field) for cost, other in pairs)


def cpu_seconds() -> float:
    """Processor time so far of this process, all of its threads, and its child processes."""
    # os.times() would round to hundredths of a second.
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    # The clock of clock_getcpuclockid(3), for which Python has no function.
    running = sum(
        time.clock_gettime((~child.pid << 3) | 2) for child in multiprocessing.active_children()
    )
    return time.process_time() + ended.ru_utime + ended.ru_stime + running


def _cost(contender: Contender, repeats: int) -> Cost:
    contender.prepare(repeats)
    wall, cpu = time.perf_counter(), cpu_seconds()
    contender.run(repeats)
    return Cost((time.perf_counter() - wall) / repeats, (cpu_seconds() - cpu) / repeats)


def _wait_until_idle() -> None:
    """Waits until background threads and processes have filled their buffers."""
    end = time.perf_counter() + _LONGEST_WAIT
    while time.perf_counter() < end:
        before = cpu_seconds()
        # Long enough for a thread that waits for a core on a busy machine.
        time.sleep(0.2)
        if cpu_seconds() - before < 0.004:
            return
