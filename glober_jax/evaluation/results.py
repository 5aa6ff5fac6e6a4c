"""The JSON record of an evaluation: scores, and all that is needed to judge and to repeat them.

{"protocol": {"name": ..., every other setting},
 "scores": {NAME: {"value", "low", "high", "confidence", "repeats": [...],
                   "num_real", "num_generated"}},
 "floor": the same for real clips against other real clips,
 "motion": {NAME: {"real", "generated", "distance", "share", "floor"}},
 "reconstruction": {"num_clips", "kinds": {KIND: {
     "psnr_db", "ssim", "lpips": {"value", "standard_error", "by_index",
                                  "at_keys", "elsewhere", of PSNR "of_clips"},
     "scores": of fvd and kvd, "motion": without the floor}}},
 "controls": {NAME of `controls`: {"scores", "motion" without the floor}},
 "coverage": see `prdc`; this, "reconstruction" and "controls" may be missing,
 "model": {...}, "data": {"real": {"source", "fingerprint"}, "generated": {...}},
 "notes": [...], "versions": {...}, "devices": [...], "command": ..., "seconds": ...}
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

# Of results in a workdir.
FOLDER = "evaluations"

# Checked when a result is read.
_SECTIONS = ("protocol", "model", "notes", "versions", "devices", "command", "seconds")
_SCORE = ("value", "low", "high", "confidence", "num_real", "num_generated")
_NUMBERS = {"scores": _SCORE, "floor": _SCORE, "motion": ("real", "generated", "distance")}


def build(
    protocol: Protocol,
    *,
    notes: Sequence[str],
    command: str,
    seconds: float,
    **sections: Mapping[str, Any] | None,
) -> Result:
    """The record in plain Python values, without sections that are None.

    `notes` are sentences for the reader. Raises `UserError` where a number is NaN or infinite.
    """
    result = {
        "protocol": dataclasses.asdict(protocol),
        **sections,
        "notes": [*caveat(protocol), *notes],
        "versions": versions(),
        "devices": [str(device.device_kind) for device in jax.devices()],
        "command": command,
        "seconds": round(seconds, 1),
    }
    return {name: _plain(value, name) for name, value in result.items() if value is not None}


def write(path: epath.PathLike, result: Result) -> None:
    """Writes indented JSON atomically; `UserError` where `path` cannot be written."""
    text = json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False)
    media.write_file(path, f"{text}\n".encode())


def read(path: epath.PathLike) -> Result:
    """A record that `write` wrote; `UserError` where it is unreadable or incomplete."""
    try:
        result = json.loads(epath.Path(path).read_text())
    except OSError as error:
        raise UserError(f"cannot read the result {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise UserError(f"{path} is damaged, or no result: it is not JSON ({error})") from error
    if problem := _problem(result):
        raise UserError(
            f"{path} is no evaluation result: {problem}; take a file that evaluate wrote"
        )
    section = result.get("reconstruction")
    if section and "kinds" not in section:
        # The format before the parts of a model were measured separately.
        result["reconstruction"] = {"kinds": {"reconstruction": section}}
    return result


def file_name(result: Result) -> str:
    """PROTOCOL-STEP-DIGEST.json, with a digest of the model, its sampling and the real data."""
    decisive = [result["model"], result["data"]["real"]["fingerprint"]]
    digest = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
    step = result["model"]["checkpoint_steps"]["generator"]
    return f"{result['protocol']['name']}-{step}-{digest[:8]}.json"


def _plain(value: Any, place: str) -> Any:
    """`value` as JSON can hold it."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry, f"{place}.{key}") for key, entry in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(entry, f"{place}[{i}]") for i, entry in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(
            f"{place} is {value}, so there is nothing to report; look for damaged or still clips"
        )
    return value


def _problem(result: Any) -> str | None:
    """The first thing that is missing from a record, or of another type."""
    try:
        found = {name: result[name] for name in _SECTIONS}
        found["fingerprint"] = result["data"]["real"]["fingerprint"]
        for section, names in _NUMBERS.items():
            for score, entry in result[section].items():
                found |= {f"{section}.{score}.{name}": entry[name] for name in names}
    except KeyError as error:
        return f"{error} is missing"
    except (AttributeError, TypeError):
        return "what should be an object is not"
    wrong = [k for k, v in found.items() if "." in k and type(v) not in (int, float)]
    return f"{wrong[0]} is not a number" if wrong else None
