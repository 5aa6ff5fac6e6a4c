"""The JSON record of an evaluation: scores, and all that is needed to judge and to repeat them.

    {"protocol": {"name": ..., every other knob},
     "scores": {NAME: {"value", "low", "high", "confidence", "repeats": [...],
                       "num_real", "num_generated"}},
     "floor": the same for real clips against other real clips, the real baseline,
     "motion": {NAME: {"real", "generated", "distance", "share", "floor"}},
     "reconstruction": {"num_clips", "kinds": {KIND: {
         "psnr_db", "ssim", "lpips": {"value", "standard_error", "by_index",
                                      "at_keys", "elsewhere", of PSNR "of_clips"},
         "scores": as above, of fvd and kvd, "motion": as above, without the floor}}},
     "coverage": as the section before only where it was measured,
     "model": {...}, "data": {"real": {"source", "fingerprint"}, "generated": {...}},
     "notes": [...], "versions": {...}, "devices": [...], "command": ..., "seconds": ...}

Results are plain dicts of what JSON can hold.
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from etils import epath

from glober_jax import media
from glober_jax.errors import UserError
from glober_jax.evaluation.protocols import Protocol, caveat
from glober_jax.versions import versions

Result = dict[str, Any]

# In a workdir.
FOLDER = "evaluations"

_NUMBER = (int, float)
_KIND_NAMES = {
    dict: "an object",
    list: "a list",
    str: "a text",
    int: "a whole number",
    _NUMBER: "a number",
}
# What readers of a result rely on: the kind of every field, or its own fields.
_SCORE = dict.fromkeys(("value", "low", "high", "confidence"), _NUMBER)
_SCORE |= {"repeats": list, "num_real": int, "num_generated": int}
_MOTION = dict.fromkeys(("real", "generated", "distance"), _NUMBER)
_RESULT = {
    "protocol": {field.name: object for field in dataclasses.fields(Protocol)},
    "scores": dict,
    "floor": dict,
    "motion": dict,
    "model": dict,
    "data": {"real": {"fingerprint": str}},
    "notes": list,
    "versions": dict,
    "devices": list,
    "command": str,
    "seconds": _NUMBER,
}


def build(
    protocol: Protocol,
    *,
    notes: Sequence[str],
    command: str,
    seconds: float,
    **sections: Mapping[str, Any] | None,
) -> Result:
    """The record, with NumPy's values as Python's.

    Args:
      protocol: the clips were chosen and scored by.
      notes: sentences for the reader of the numbers.
      command: that repeats the evaluation.
      seconds: that it took.
      **sections: `scores`, `floor`, `motion`, `model`, `data`, and where they were measured
        `reconstruction` and `coverage`; those that are None are left out.

    Raises:
      UserError: a number is NaN or infinite, which names it; or a section is not as it should be.
    """
    result = {
        "protocol": dataclasses.asdict(protocol),
        **sections,
        "notes": [*filter(None, [caveat(protocol)]), *notes],
        "versions": versions(),
        "devices": [str(device.device_kind) for device in jax.devices()],
        "command": command,
        "seconds": round(seconds, 1),
    }
    result = {name: _plain(value, name) for name, value in result.items() if value is not None}
    _check(result, "the result")
    return result


def write(path: epath.PathLike, result: Result) -> None:
    """Writes indented JSON, whole or not at all; `UserError` where `path` cannot be written."""
    text = json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False)
    media.write_file(path, f"{text}\n".encode())


def read(path: epath.PathLike) -> Result:
    """A record that `write` wrote.

    Raises:
      UserError: the file cannot be read, is no JSON, or misses something; the message says what.
    """
    try:
        result = json.loads(epath.Path(path).read_text())
    except OSError as error:
        raise UserError(f"cannot read the result {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise UserError(f"{path} is damaged, or no result: it is not JSON ({error})") from error
    _check(result, str(path))
    section = result.get("reconstruction")
    if section and "kinds" not in section:
        # Written before the parts of a model were told apart.
        result["reconstruction"] = {"kinds": {"reconstruction": section}}
    return result


def file_name(result: Result) -> str:
    """Says protocol and step, and differs where the model or its sampling does."""
    model = hashlib.sha256(json.dumps(result["model"], sort_keys=True).encode()).hexdigest()
    step = result["model"]["checkpoint_steps"]["generator"]
    return f"{result['protocol']['name']}-{step}-{model[:8]}.json"


def _plain(value: Any, place: str) -> Any:
    """`value` as JSON gives it back."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry, f"{place}.{key}") for key, entry in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(entry, f"{place}[{i}]") for i, entry in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(
            f"{place} is {value}, so there is nothing to report; look for clips that are damaged, "
            "or that never change"
        )
    return value


def _check(result: Any, name: str) -> None:
    problem = _problem(result, _RESULT, "")
    if not problem:
        entries = (("scores", _SCORE), ("floor", _SCORE), ("motion", _MOTION))
        checks = (_problem(result[s], dict.fromkeys(result[s], kind), s) for s, kind in entries)
        problem = next(filter(None, checks), None)
    if problem:
        raise UserError(
            f"{name} is no evaluation result: {problem}; take a file that evaluate wrote, or "
            "evaluate again"
        )


def _problem(value: Any, kind: Any, place: str) -> str | None:
    """The first place where `value` is not of its kind, or misses a field; None if there is none.

    A kind is a type, or several, or the kinds of an object's fields.
    """
    if isinstance(kind, Mapping):
        if not isinstance(value, dict):
            return f"{place or 'it'} is not an object"
        for key, inner in kind.items():
            inside = f"{place}.{key}" if place else key
            problem = (
                _problem(value[key], inner, inside) if key in value else f"{inside} is missing"
            )
            if problem:
                return problem
        return None
    # To Python, true is a number too.
    fits = isinstance(value, kind) and (kind is object or not isinstance(value, bool))
    return None if fits else f"{place} is {json.dumps(value)}, not {_KIND_NAMES[kind]}"
