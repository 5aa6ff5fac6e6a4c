"""The timing that all benchmarks share: turns, warm-up, and the time of child processes."""

import multiprocessing
import multiprocessing.synchronize
import time

import pytest

from glober_jax.benchmarking.timing import Contender, Cost, cpu_seconds, measure, ratio, timing


def _work(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def _work_and_wait(seconds: float, done: multiprocessing.synchronize.Event) -> None:
    _work(seconds)
    done.set()
    time.sleep(60)


def test_time_of_child_processes_counts_while_they_run_and_after() -> None:
    """Fails when workers read for nothing (broken: process_time alone; without RUSAGE_CHILDREN)."""
    context = multiprocessing.get_context("spawn")
    done = context.Event()
    before = cpu_seconds()
    child = context.Process(target=_work_and_wait, args=(0.2, done))
    child.start()
    assert done.wait(120)
    running = cpu_seconds()
    assert running - before >= 0.2
    child.terminate()
    child.join()
    assert cpu_seconds() >= running


def test_contenders_take_turns_and_preparation_is_free() -> None:
    """Fails when one contender always runs first, the first run is timed, or what precedes a run
    is (broken: no reversal; the clocks read before `prepare`; no warm-up)."""
    log: list[str] = []

    def contender(name: str) -> Contender:
        def run(repeats: int) -> None:
            # The first run of all takes far longer, as a compilation does.
            _work(0.01 * repeats if name in log else 0.2)
            log.append(name)

        return Contender(run, lambda repeats: _work(0.05))

    costs = measure({name: contender(name) for name in "ab"}, seconds=0.2, rounds=2)
    # Untimed, a trial, and rounds.
    assert log[:4] == ["a", "b", "a", "b"]
    assert log[4:] in (["a", "b"], ["a", "b", "b", "a"])
    for cost in (*costs["a"], *costs["b"]):
        assert 0.01 <= cost.cpu < 0.03


def test_the_median_counts_and_ratios_are_of_the_same_round() -> None:
    """Fails when one slow round decides (broken: means; the quotient of medians)."""
    costs = [Cost(1.0, 2.0), Cost(3.0, 2.5), Cost(2.0, 9.0)]
    figures = timing(costs)
    assert (figures["seconds"], figures["cpu_seconds"]) == (2.0, 2.5)
    assert (figures["fastest"], figures["slowest"], figures["rounds"]) == (1.0, 3.0, 3)
    others = [Cost(1.0, 1.0), Cost(1.0, 1.0), Cost(4.0, 3.0)]
    assert ratio(costs, others, "wall") == 1.0
    assert ratio(costs, others, "cpu") == pytest.approx(2.5)
