"""Results side by side, and only where they can be compared."""

import itertools
import json
from collections.abc import Iterator, Mapping
from typing import Any

from glober_jax.errors import UserError
from glober_jax.evaluation.results import Result
from glober_jax.evaluation.telling import aligned

# Texts about a protocol, which decide no score.
_NO_KNOBS = ("name", "description", "source")
_MISSING = "-"


def compare(results: Mapping[str, Result]) -> str:
    """A table of two or more results, by the names they are given, as text.

    Scores have their intervals, beside those of real clips against each other; motion shows the
    distance to real motion, and its mean as a share of the real one. Below stands by score which
    result is lowest, and whose intervals overlap that one's, so that they may differ by chance.

    Raises:
      UserError: there is only one result; or two differ in a knob of their protocols, in their real
        data, or in the number of clips. The message says in what.
    """
    if len(results) < 2:
        raise UserError(f"a comparison needs at least two results, not {len(results)}")
    first_name, first = next(iter(results.items()))
    for name, result in itertools.islice(results.items(), 1, None):
        differences = list(_differences(first, result))
        if differences:
            raise UserError(
                f"{first_name} and {name} cannot be compared: {'; '.join(differences)}; evaluate "
                "both alike"
            )
    columns = {"real clips": _cells(first["floor"])} | {
        name: _cells(result["scores"]) | _other_cells(result) for name, result in results.items()
    }
    labels = dict.fromkeys(itertools.chain(*columns.values()))
    scores = dict.fromkeys(itertools.chain(*(result["scores"] for result in results.values())))
    rows = [["score", *columns]] + [
        [label, *(cells.get(label, _MISSING) for cells in columns.values())] for label in labels
    ]
    lines = [
        f"protocol {first['protocol']['name']}, real data {first['data']['real']['fingerprint']}",
        f"[{_percent(first)} % intervals]; real clips are scored against other real clips",
        "",
        *aligned(rows),
        "",
        *(_verdict(score, results) for score in scores),
    ]
    return "\n".join(lines)


def _differences(a: Result, b: Result) -> Iterator[str]:
    """What forbids to compare two results, a phrase each."""
    knobs = [
        f"{knob} is {_both(values)}"
        for knob in dict.fromkeys([*a["protocol"], *b["protocol"]])
        if knob not in _NO_KNOBS
        and (values := [result["protocol"].get(knob) for result in (a, b)])[0] != values[1]
    ]
    if knobs:
        yield f"their protocols differ ({', '.join(knobs)})"
    fingerprints = [result["data"]["real"]["fingerprint"] for result in (a, b)]
    if fingerprints[0] != fingerprints[1]:
        yield f"the real data's fingerprint is {_both(fingerprints)}"
    # Most often all scores differ alike, so it is said once.
    counts = {
        (count, a["scores"][score][count], b["scores"][score][count])
        for score in a["scores"].keys() & b["scores"].keys()
        for count in ("num_real", "num_generated")
    }
    for count, *values in sorted(counts):
        if values[0] != values[1]:
            kind = count.removeprefix("num_")
            yield f"the number of {kind} clips is {_both(values)}"


def _both(values: list[Any]) -> str:
    return " and ".join(json.dumps(value) for value in values)


def _cells(scores: Mapping[str, Any]) -> dict[str, str]:
    return {
        name: f"{score['value']:.4g} [{score['low']:.4g}, {score['high']:.4g}]"
        for name, score in scores.items()
    }


def _other_cells(result: Result) -> dict[str, str]:
    cells = {f"motion: {name}": _distance(entry) for name, entry in result["motion"].items()}
    reconstruction = result.get("reconstruction", {})
    if "num_clips" in reconstruction:
        # A training run's end takes fewer than the protocol does.
        cells["reconstructed clips"] = str(reconstruction["num_clips"])
    for kind, section in reconstruction.get("kinds", {}).items():
        found = {
            name: f"{entry['value']:.4g}"
            for name, entry in section.items()
            if isinstance(entry, Mapping) and "value" in entry
        }
        found |= _cells(section.get("scores", {}))
        for name, entry in section.get("motion", {}).items():
            found[name] = _distance(entry)
        cells |= {f"{kind}: {name}": cell for name, cell in found.items()}
    return cells


def _distance(motion: Mapping[str, Any]) -> str:
    share = motion.get("share")
    return f"{motion['distance']:.4g}" + ("" if share is None else f" ({100 * share:.0f} %)")


def _percent(result: Result) -> str:
    confidences = {score["confidence"] for score in result["scores"].values()}
    return " and ".join(f"{100 * confidence:g}" for confidence in sorted(confidences))


def _verdict(score: str, results: Mapping[str, Result]) -> str:
    entries = {name: result["scores"].get(score) for name, result in results.items()}
    if None in entries.values():
        lacking = [name for name, entry in entries.items() if entry is None]
        return f"{score}: not measured for {', '.join(lacking)}"
    lowest = min(entries, key=lambda name: entries[name]["value"])
    near = [
        name
        for name, entry in entries.items()
        if name != lowest and entry["low"] <= entries[lowest]["high"]
    ]
    if near:
        return f"{score}: {lowest} is lowest, but its interval meets that of {', '.join(near)}"
    return f"{score}: {lowest} is lowest, its interval apart from all others"
