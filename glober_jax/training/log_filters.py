"""Filters Orbax's stack traces of failed saves and reads, which `checkpoint.py` reports."""

import logging
import sys
import warnings
from typing import Any

_OF_THREADS = ("Event loop is closed", "Encountered error while reading array")


def silence() -> None:
    """Filters errors of Orbax and TensorStore from now on; warnings stay. May be called again."""
    logging.getLogger("absl").addFilter(_is_wanted)
    logging.getLogger("asyncio").addFilter(_is_wanted_of_asyncio)
    sys.unraisablehook = _report_unraisable
    warnings.filterwarnings("ignore", message="coroutine '(_read_array|async_serialize)")


def _is_wanted(record: logging.LogRecord) -> bool:
    return record.levelno < logging.ERROR or "orbax" not in record.pathname


def _is_wanted_of_asyncio(record: logging.LogRecord) -> bool:
    message = record.getMessage()
    return "never retrieved" not in message or not ("orbax" in message or "tensorstore" in message)


def _report_unraisable(unraisable: Any) -> None:
    if not str(unraisable.exc_value).startswith(_OF_THREADS):
        sys.__unraisablehook__(unraisable)
