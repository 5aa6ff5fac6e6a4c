"""The JSON record of an evaluation: scores, and all that is needed to judge and to repeat them.

    {"protocol": {"name": ..., every other knob},
     "scores": {NAME: {"value", "low", "high", "confidence", "repeats": [...],
                       "num_real", "num_generated"}},
     "floor": the same for real clips against other real clips, what a perfect model would get,
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
from glober_jax.evaluation.distances.intervals import Interval
from glober_jax.evaluation.protocols import Protocol, caveat
from glober_jax.versions import versions

Result = dict[str, Any]

# In a workdir.
FOLDER = "evaluations"

_NUMBER = (int, float)
_SCORE = {
    "value": _NUMBER,
    "low": _NUMBER,
    "high": _NUMBER,
    "confidence": _NUMBER,
    "repeats": list,
    "num_real": int,
    "num_generated": int,
}
_MOTION = {"real": _NUMBER, "generated": _NUMBER, "distance": _NUMBER}
_SECTIONS = {
    "protocol": dict,
    "scores": dict,
    "floor": dict,
    "motion": dict,
    "model": dict,
    "data": dict,
    "notes": list,
    "versions": dict,
    "devices": list,
    "command": str,
    "seconds": _NUMBER,
}
_KNOBS = {field.name: object for field in dataclasses.fields(Protocol)}


def score_record(repeats: Sequence[Interval], num_real: int, num_generated: int) -> dict[str, Any]:
    """One score's entry: the means over repeats of its value and its bounds.

    Repeats share real videos, so the interval of their mean is not taken to be narrower than theirs
    are on average.
    """
    return {
        "value": float(np.mean([interval.value for interval in repeats])),
        "low": float(np.mean([interval.low for interval in repeats])),
        "high": float(np.mean([interval.high for interval in repeats])),
        "confidence": repeats[0].confidence,
        "repeats": [interval.value for interval in repeats],
        "num_real": num_real,
        "num_generated": num_generated,
    }


def build(
    protocol: Protocol,
    *,
    scores: Mapping[str, Any],
    floor: Mapping[str, Any],
    motion: Mapping[str, Any],
    model: Mapping[str, Any],
    data: Mapping[str, Any],
    notes: Sequence[str],
    command: str,
    seconds: float,
    reconstruction: Mapping[str, Any] | None = None,
    coverage: Mapping[str, Any] | None = None,
) -> Result:
    """The record, with NumPy's values as Python's; sections that are None are left out.

    `notes` are what a reader of the numbers should know. Versions and devices are this process's.

    Raises:
      UserError: a number is NaN or infinite, which names it; or a section is not as it should be.
    """
    sections = {
        "protocol": dataclasses.asdict(protocol),
        "scores": scores,
        "floor": floor,
        "motion": motion,
        "reconstruction": reconstruction,
        "coverage": coverage,
        "model": model,
        "data": data,
        "notes": [*filter(None, [caveat(protocol)]), *notes],
        "versions": versions(),
        "devices": [str(device.device_kind) for device in jax.devices()],
        "command": command,
        "seconds": round(seconds, 1),
    }
    result = {
        name: _plain(section, name) for name, section in sections.items() if section is not None
    }
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
    """What JSON gives back for `value`."""
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
    _check_fields(result, _SECTIONS, name, "")
    _check_fields(result["protocol"], _KNOBS, name, "protocol")
    _check_fields(result["data"], {"real": dict}, name, "data")
    _check_fields(result["data"]["real"], {"fingerprint": str}, name, "data.real")
    for section, fields in (("scores", _SCORE), ("floor", _SCORE), ("motion", _MOTION)):
        for key, entry in result[section].items():
            _check_fields(entry, fields, name, f"{section}.{key}")


def _check_fields(entry: Any, fields: Mapping[str, Any], name: str, place: str) -> None:
    advice = "take a file that evaluate wrote, or evaluate again"
    if not isinstance(entry, dict):
        what = f"{place} is not an object" if place else "it is not an object"
        raise UserError(f"{name} is no evaluation result: {what}; {advice}")
    for key, kind in fields.items():
        full = f"{place}.{key}" if place else key
        if key not in entry:
            raise UserError(f"{name} is no evaluation result: {full} is missing; {advice}")
        if not _is_a(entry[key], kind):
            raise UserError(
                f"{name} is no evaluation result: {full} is {json.dumps(entry[key])}, not "
                f"{_KIND_NAMES[kind]}; {advice}"
            )


def _is_a(value: Any, kind: Any) -> bool:
    # To Python, true is a number too.
    return isinstance(value, kind) and (kind is object or not isinstance(value, bool))


_KIND_NAMES = {
    dict: "an object",
    list: "a list",
    str: "a text",
    int: "a whole number",
    _NUMBER: "a number",
}
