"""Results as lines of text, for people."""

from collections.abc import Mapping, Sequence
from typing import Any

from glober_jax.evaluation.results import Result

_QUALITY = {"psnr_db": ("PSNR of frames in dB", 2), "ssim": ("SSIM", 4), "lpips": ("LPIPS", 4)}
_SCORES = {"fvd": "FVD", "kvd": "KVD"}
_MOTION = {
    "difference": "frame difference",
    "flow_magnitude": "optical flow",
    "roughness": "roughness",
}
_MISSING = "-"


def for_people(result: Result) -> str:
    """Scores and their floors, motion beside real motion, and reconstructions, in a few lines."""
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
        f"{label} {_moving(result['motion'][name])}"
        for name, label in _MOTION.items()
        if name in result["motion"]
    ]
    if motion:
        lines.append(f"  motion (and its share of real): {', '.join(motion)}")
    if "reconstruction" in result:
        lines += reconstructions(result["reconstruction"])
    return "\n".join(lines)


def reconstructions(section: Mapping[str, Any]) -> list[str]:
    """The table of a result's `reconstruction`: a column for real clips and for every kind."""
    kinds = section["kinds"].values()
    rows = [["reconstructions", "real", *section["kinds"]]]
    for name, (label, digits) in _QUALITY.items():
        entries = [kind.get(name) for kind in kinds]
        if any(entries):
            rows.append([f"  {label}", "", *(_number(entry, digits) for entry in entries)])
            rows.append(["    at key / other frames", "", *(_places(e, digits) for e in entries)])
    for name, label in _SCORES.items():
        scores = [kind.get("scores", {}).get(name) for kind in kinds]
        if any(scores):
            cells = [f"{s['value']:.2f} {_interval(s)}" if s else _MISSING for s in scores]
            rows.append([f"  {label}", "", *cells])
    for name, label in _MOTION.items():
        motion = [kind.get("motion", {}).get(name) for kind in kinds]
        if all(motion):
            real = f"{motion[0]['real']:.4g}"
            rows.append([f"  {label} (share of real)", real, *map(_moving, motion)])
    return aligned(rows)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table, all columns as wide as they need to be."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _interval(score: Mapping[str, Any]) -> str:
    return f"[{score['low']:.2f}, {score['high']:.2f}]"


def _moving(entry: Mapping[str, Any]) -> str:
    share = entry.get("share")
    return f"{entry['generated']:.4g}" + ("" if share is None else f" ({100 * share:.0f} %)")


def _number(entry: Mapping[str, Any] | None, digits: int) -> str:
    return _MISSING if entry is None else f"{entry['value']:.{digits}f}"


def _places(entry: Mapping[str, Any] | None, digits: int) -> str:
    places = [(entry or {}).get(name) for name in ("at_keys", "elsewhere")]
    return " / ".join(_MISSING if value is None else f"{value:.{digits}f}" for value in places)
