"""Results as text: one result, reconstructions, and several results side by side."""

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any

from glober_jax.errors import UserError
from glober_jax.evaluation.results import Result

_QUALITY = {"psnr_db": ("PSNR of frames in dB", 2), "ssim": ("SSIM", 4), "lpips": ("LPIPS", 4)}
_SCORES = {"fvd": "FVD", "kvd": "KVD"}
_MOTION = {
    "difference": "frame difference",
    "flow_magnitude": "optical flow",
    "roughness": "roughness",
}
# Fields of a protocol that change no score.
_TEXTS = ("name", "description", "source")

Entry = Mapping[str, Any]


def result_text(result: Result) -> str:
    """Scores beside the real baseline, motion beside real motion, and reconstructions."""
    fvd = result["scores"]["fvd"]
    lines = [
        f"{result['protocol']['name']}: {fvd['num_generated']} generated clips, "
        f"{fvd['num_real']} real ones ({100 * fvd['confidence']:g} % intervals)"
    ]
    for name, score in result["scores"].items():
        floor = result["floor"][name]
        lines.append(
            f"  {name:8}{score['value']:>8.2f}  {_interval(score)}  real clips against real ones: "
            f"{floor['value']:.2f} ({floor['num_real']} + {floor['num_generated']} clips)"
        )
        if score["low"] < 0:
            lines.append(f"           below 0 means that {name}, which has no bias, may well be 0")
    motion = [
        f"{label} {_motion_value(result['motion'][name])}"
        for name, label in _MOTION.items()
        if name in result["motion"]
    ]
    lines.append(f"  motion (and its share of real): {', '.join(motion)}")
    if "controls" in result:
        lines += controls(result["controls"])
    if "reconstruction" in result:
        lines += reconstructions(result["reconstruction"])
    return "\n".join(lines)


def controls(section: Entry) -> list[str]:
    """The table of a result's `controls`: a row for each."""
    names = {name: label for name, label in _MOTION.items() if name != "roughness"}
    rows = [["real clips, broken", *_SCORES.values(), *names.values()]]
    for kind, found in section.items():
        cells = [f"{found['scores'][name]['value']:.2f}" for name in _SCORES]
        rows.append([f"  {kind}", *cells, *(_motion_value(found["motion"][n]) for n in names)])
    return aligned(rows)


def reconstructions(section: Entry) -> list[str]:
    """The table of a result's `reconstruction`: a column for real clips and for every kind."""
    kinds = section["kinds"].values()
    rows = [["reconstructions", "real", *section["kinds"]]]
    for name, (label, digits) in _QUALITY.items():
        entries = [kind.get(name, {}) for kind in kinds]
        if any(entries):
            rows.append([f"  {label}", "", *(_number(e.get("value"), digits) for e in entries)])
            places = [
                f"{_number(e.get('at_keys'), digits)} / {_number(e.get('elsewhere'), digits)}"
                for e in entries
            ]
            rows.append(["    at key / other frames", "", *places])
    for name, label in _SCORES.items():
        scores = [kind.get("scores", {}).get(name) for kind in kinds]
        if any(scores):
            cells = [f"{s['value']:.2f} {_interval(s)}" if s else "-" for s in scores]
            rows.append([f"  {label}", "", *cells])
    for name, label in _MOTION.items():
        motion = [kind.get("motion", {}).get(name) for kind in kinds]
        if all(motion):
            real = f"{motion[0]['real']:.4g}"
            rows.append([f"  {label} (share of real)", real, *map(_motion_value, motion)])
    return aligned(rows)


def compare(results: Mapping[str, Result]) -> str:
    """A table of results by name, and for each score the lowest result and overlapping intervals.

    Raises `UserError` for a single result, and where protocols, real data or numbers of clips
    differ.
    """
    if len(results) < 2:
        raise UserError(f"a comparison needs at least two results, not {len(results)}")
    first_name, first = next(iter(results.items()))
    expected = _conditions(first)
    for name, result in results.items():
        found = _conditions(result)
        differing = [
            f"{key} is {json.dumps(expected.get(key))} and {json.dumps(found.get(key))}"
            for key in expected | found
            if expected.get(key) != found.get(key)
        ]
        if differing:
            raise UserError(
                f"{first_name} and {name} cannot be compared: {', '.join(differing)}; evaluate "
                "both alike"
            )
    columns = {"real clips": _score_cells(first["floor"])}
    columns |= {name: _cells(result) for name, result in results.items()}
    labels = dict.fromkeys(itertools.chain(*columns.values()))
    scores = dict.fromkeys(itertools.chain(*(result["scores"] for result in results.values())))
    rows = [[label, *(cells.get(label, "-") for cells in columns.values())] for label in labels]
    percents = sorted({f"{100 * score['confidence']:g}" for score in first["scores"].values()})
    lines = [
        f"protocol {first['protocol']['name']}, real data {first['data']['real']['fingerprint']}",
        f"[{' and '.join(percents)} % intervals]; real clips are scored against other real clips",
        "",
        *aligned([["score", *columns], *rows]),
        "",
        *(_verdict(score, results) for score in scores),
    ]
    return "\n".join(lines)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table with columns of equal width."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _interval(score: Entry) -> str:
    return f"[{score['low']:.2f}, {score['high']:.2f}]"


def _motion_value(entry: Entry, key: str = "generated") -> str:
    share = entry.get("share")
    return f"{entry[key]:.4g}" + ("" if share is None else f" ({100 * share:.0f} %)")


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _conditions(result: Result) -> dict[str, Any]:
    """All that has to be equal for scores to compare."""
    score = next(iter(result["scores"].values()))
    settings = {k: value for k, value in result["protocol"].items() if k not in _TEXTS}
    return settings | {
        "the real data's fingerprint": result["data"]["real"]["fingerprint"],
        "the number of generated clips": score["num_generated"],
        "the number of real clips": score["num_real"],
    }


def _cells(result: Result) -> dict[str, str]:
    cells = _score_cells(result["scores"]) | _motion_cells(result["motion"], "motion: ")
    reconstruction = result.get("reconstruction", {})
    if "num_clips" in reconstruction:
        # The summary of a training run reconstructs fewer clips than the protocol has.
        cells["reconstructed clips"] = str(reconstruction["num_clips"])
    for kind, section in reconstruction.get("kinds", {}).items():
        for name, entry in section.items():
            if isinstance(entry, Mapping) and "value" in entry:
                cells[f"{kind}: {name}"] = f"{entry['value']:.4g}"
        cells |= _score_cells(section.get("scores", {}), f"{kind}: ")
        cells |= _motion_cells(section.get("motion", {}), f"{kind}: ")
    return cells


def _score_cells(scores: Entry, prefix: str = "") -> dict[str, str]:
    return {
        f"{prefix}{name}": f"{score['value']:.4g} [{score['low']:.4g}, {score['high']:.4g}]"
        for name, score in scores.items()
    }


def _motion_cells(motion: Entry, prefix: str) -> dict[str, str]:
    return {f"{prefix}{name}": _motion_value(entry, "distance") for name, entry in motion.items()}


def _verdict(score: str, results: Mapping[str, Result]) -> str:
    entries = {name: result["scores"].get(score) for name, result in results.items()}
    if lacking := [name for name, entry in entries.items() if entry is None]:
        return f"{score}: not measured for {', '.join(lacking)}"
    lowest = min(entries, key=lambda name: entries[name]["value"])
    highest = entries.pop(lowest)["high"]
    if near := [name for name, entry in entries.items() if entry["low"] <= highest]:
        return f"{score}: {lowest} is lowest, but its interval meets that of {', '.join(near)}"
    return f"{score}: {lowest} is lowest, its interval apart from all others"
