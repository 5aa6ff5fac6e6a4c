"""What Orbax says beside the errors it raises, which `checkpoint.py` tells in one sentence each.

It logs a stack trace for each of them, and reads and writes many arrays at once: when one fails,
those still under way complain later, from other threads.
"""

import logging
import sys
import warnings
from typing import Any

_OF_ASYNCIO = "exception was never retrieved"
_OF_THREADS = ("Event loop is closed", "Encountered error while reading array")


def silence() -> None:
    """Keeps all of that off stderr, from now on. Warnings stay."""
    for name, is_wanted in {"absl": _is_wanted, "asyncio": _is_wanted_of_asyncio}.items():
        # A filter that is there already is not added again.
        logging.getLogger(name).addFilter(is_wanted)
    sys.unraisablehook = _tell_unraisable
    warnings.filterwarnings("ignore", message="coroutine '(_read_array|async_serialize)")


def _is_wanted(record: logging.LogRecord) -> bool:
    return record.levelno < logging.ERROR or "orbax" not in record.pathname


def _is_wanted_of_asyncio(record: logging.LogRecord) -> bool:
    message = record.getMessage()
    return _OF_ASYNCIO not in message or not ("orbax" in message or "tensorstore" in message)


def _tell_unraisable(unraisable: Any) -> None:
    if not str(unraisable.exc_value).startswith(_OF_THREADS):
        sys.__unraisablehook__(unraisable)
