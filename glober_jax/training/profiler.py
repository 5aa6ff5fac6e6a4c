"""Traces some steps of training for TensorBoard's and xprof's profile viewer."""

from typing import Any, Self

import jax
from etils import epath


class Profiler:
    """Writes a trace of the steps of `steps` into `logs`; used as a context manager.

    The trace begins and ends at a step boundary, where the device has nothing left to do.
    """

    def __init__(self, logs: epath.Path, steps: range) -> None:
        self._logs, self._steps, self._running = logs, steps, False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._running:
            self._running = False
            jax.profiler.stop_trace()

    def step(self, number: int, state: Any) -> None:
        """Step `number` begins with `state`, which the step before may still compute."""
        if (number in self._steps) != self._running:
            jax.block_until_ready(state)
            if self._running:
                jax.profiler.stop_trace()
            else:
                jax.profiler.start_trace(self._logs)
            self._running = not self._running
