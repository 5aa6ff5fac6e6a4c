"""How far something is, how fast it goes and when it will be done, on stderr."""

import contextlib
import os
import sys
import time
from collections.abc import Mapping
from typing import NoReturn, Self

from tqdm import tqdm

_SECONDS_BETWEEN_LINES = 15.0
_HEADLINES = 4


def warn(sentence: str) -> None:
    """Reports on stderr what went wrong and did not end the run, on a line above any bar."""
    _say(f"warning: {sentence}")


class Progress:
    """Shows on stderr how far a stage is, how fast it goes and when it will be done.

    On a terminal a bar; elsewhere (a log file, CI) one plain line every 15 seconds at most, and
    always one for the first update and one for the last. Used as a context manager.
    """

    def __init__(
        self,
        stage: str,
        total_steps: int,
        start_step: int = 0,
        *,
        unit: str = "step",
        enabled: bool = True,
    ) -> None:
        """Starts the clock at `start_step` of `total_steps`.

        `unit` is what is counted, in the singular; where not `enabled`, nothing is shown.
        """
        self._enabled = enabled
        self._stage = stage
        self._total = total_steps
        self._unit = unit
        self._done = start_step
        self._text = ""
        self._bar: tqdm[NoReturn] | None = None
        self._line_step: int | None = None
        self._line_time = 0.0
        if enabled and _on_a_terminal():
            self._bar = tqdm(
                total=total_steps,
                initial=start_step,
                desc=stage,
                unit=unit,
                unit_scale=unit == "byte",
                smoothing=0.05,
                dynamic_ncols=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def update(self, step: int, values: Mapping[str, float] | None = None) -> None:
        """Shows that `step` updates are done, and at most four metrics, losses and PSNR first.

        Without `values` the last ones are shown again.
        """
        if not self._enabled:
            return
        if values is not None:
            self._text = _headline(values)
        if self._bar is None:
            self._print_when_due(step)
        else:
            self._bar.set_postfix_str(self._text, refresh=False)
            self._bar.update(step - self._bar.n)

    def advance(self, count: int = 1) -> None:
        """Shows that `count` more are done."""
        self._done += count
        self.update(self._done)

    def note(self, text: str) -> None:
        """Leaves a line of its own, above the bar where there is one."""
        if self._enabled:
            _say(f"{self._stage} {text}")

    def close(self) -> None:
        """Leaves the bar as it stands and moves to the next line."""
        if self._bar is not None:
            self._bar.close()

    def _print_when_due(self, step: int) -> None:
        now = time.monotonic()
        waited = now - self._line_time
        first = self._line_step is None
        if not first and step < self._total and waited < _SECONDS_BETWEEN_LINES:
            return
        # A folder of empty files has nothing to count and is done at once.
        done = step / self._total if self._total else 1.0
        count, total = self._amount(step), self._amount(self._total)
        parts = [f"{self._stage} {count}/{total} ({done:.0%})"]
        # No rate on the first line: the first step's time is mostly compilation.
        if not first and step > self._line_step:
            rate = (step - self._line_step) / max(waited, 1e-6)
            left = tqdm.format_interval((self._total - step) / rate)
            speed = self._amount(rate) if self._unit == "byte" else f"{rate:.3g}"
            parts.append(f"{speed} {self._unit}s/s, ETA {left}")
        parts.append(self._text)
        _say(" | ".join(part for part in parts if part))
        self._line_step, self._line_time = step, now

    def _amount(self, number: float) -> str:
        """Bytes in thousands, millions and so on."""
        return tqdm.format_sizeof(number) if self._unit == "byte" else str(number)


def _say(line: str) -> None:
    # stderr may be a file on the disk that is full: no reason to end.
    with contextlib.suppress(OSError):
        tqdm.write(line, file=sys.stderr)
        sys.stderr.flush()


def _on_a_terminal() -> bool:
    # CI systems hand out terminals of no width, on which a bar shows nothing at all.
    return sys.stderr.isatty() and os.get_terminal_size(sys.stderr.fileno()).columns > 0


def _headline(values: Mapping[str, float]) -> str:
    # Metrics that come out of jit are sorted by name, so the order says nothing.
    telling = sorted(values, key=lambda name: not ("loss" in name or "psnr" in name))
    return ", ".join(f"{name} {float(values[name]):.4g}" for name in telling[:_HEADLINES])
