"""Progress on stderr: amount done, speed and remaining time."""

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
    """Prints a warning on stderr, above any progress bar."""
    say(f"warning: {sentence}")


def say(line: str) -> None:
    """Prints a line on stderr, above any progress bar; a full disk there does not end the run."""
    with contextlib.suppress(OSError):
        tqdm.write(line, file=sys.stderr)
        sys.stderr.flush()


class Progress:
    """A context manager: a progress bar on a terminal, elsewhere a line at most every 15 s."""

    def __init__(
        self,
        stage: str,
        total_steps: int,
        start_step: int = 0,
        *,
        unit: str = "step",
        enabled: bool = True,
    ) -> None:
        """`unit` is the singular of what is counted; unless `enabled`, nothing is shown."""
        self._stage, self._total, self._unit = stage, total_steps, unit
        self._enabled, self._done, self._text = enabled, start_step, ""
        self._bar: tqdm[NoReturn] | None = None
        self._line_step: int | None = None
        self._line_time = 0.0
        # Terminals of CI systems may have no width, and show no bar.
        if enabled and sys.stderr.isatty() and os.get_terminal_size(sys.stderr.fileno()).columns:
            self._bar = tqdm(
                total=total_steps,
                initial=start_step,
                desc=stage,
                unit=unit,
                smoothing=0.05,
                dynamic_ncols=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, step: int, values: Mapping[str, float] | None = None) -> None:
        """Shows `step` as done with up to four metrics, losses and PSNR first; None: as before."""
        if not self._enabled:
            return
        if values is not None:
            # Metrics from jit are sorted by name, not by importance.
            first = sorted(values, key=lambda name: not ("loss" in name or "psnr" in name))
            shown = (f"{name} {float(values[name]):.4g}" for name in first[:_HEADLINES])
            self._text = ", ".join(shown)
        if self._bar is None:
            self._print_when_due(step)
        else:
            self._bar.set_postfix_str(self._text, refresh=False)
            self._bar.update(step - self._bar.n)

    def advance(self, count: int = 1) -> None:
        """Adds `count` to what is done."""
        self._done += count
        self.update(self._done)

    def note(self, text: str) -> None:
        """Prints a line of its own, above any bar."""
        if self._enabled:
            say(f"{self._stage} {text}")

    def _print_when_due(self, step: int) -> None:
        now = time.monotonic()
        waited = now - self._line_time
        first = self._line_step is None
        if not first and step < self._total and waited < _SECONDS_BETWEEN_LINES:
            return
        # The total may be 0.
        done = step / self._total if self._total else 1.0
        parts = [f"{self._stage} {step}/{self._total} ({done:.0%})"]
        # No rate on the first line: most of its time is compilation.
        if not first and step > self._line_step:
            rate = (step - self._line_step) / max(waited, 1e-6)
            left = tqdm.format_interval((self._total - step) / rate)
            parts.append(f"{rate:.3g} {self._unit}s/s, ETA {left}")
        parts.append(self._text)
        say(" | ".join(part for part in parts if part))
        self._line_step, self._line_time = step, now
