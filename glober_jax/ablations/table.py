"""The results of all finished runs as Markdown and JSON, however many there are."""

import json
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from glober_jax.ablations.budget import AUTOENCODER_SHARE
from glober_jax.ablations.runs import PLAN_FILE, RESULT_FILE, Ablation
from glober_jax.ablations.time_sampling import SECONDS_FILE

_MADE_AGAIN = ("reconstruction", "kinds", "reconstruction")
# Where a run's numbers are in its result; those that are not there are shown as a dash.
_METRICS = {
    "fvd": ("scores", "fvd", "value"),
    "fvd_low": ("scores", "fvd", "low"),
    "fvd_high": ("scores", "fvd", "high"),
    "kvd": ("scores", "kvd", "value"),
    **{name: ("coverage", name) for name in ("precision", "recall", "coverage")},
    **{
        f"{name}_{whose}": ("motion", name, whose)
        for name in ("difference", "flow_magnitude", "roughness")
        for whose in ("generated", "real")
    },
    "rfvd": (*_MADE_AGAIN, "scores", "fvd", "value"),
    **{
        f"{name}_{place}": (*_MADE_AGAIN, name, place)
        for name in ("psnr_db", "lpips")
        for place in ("at_keys", "elsewhere")
    },
    "floor_fvd": ("floor", "fvd", "value"),
}
_MOTION = {"difference": "frame difference", "flow_magnitude": "flow", "roughness": "roughness"}
_DASH = "\N{EN DASH}"


def summary(ablation: Ablation, seeds: Sequence[int]) -> dict[str, Any]:
    """Every row of the config that has a finished run, in the config's order, as JSON.

    A row is partial where it lacks one of `seeds`; other seeds that are there count as well.
    """
    rows, settings = {}, {}
    for name, row in ablation.module["ROWS"].items():
        runs, plan = {}, {}
        for folder in sorted((ablation.output / name).glob("[0-9]*")):
            files = [folder / file for file in (PLAN_FILE, RESULT_FILE, SECONDS_FILE)]
            if all(file.exists() for file in files):
                plan, result, seconds = (json.loads(file.read_text()) for file in files)
                runs[folder.name] = _numbers(result) | seconds
                settings = {key: result.get(key) for key in ("versions", "devices")}
        if runs:
            rows[name] = {
                "description": row.description,
                "overrides": row.overrides,
                "partial": not {str(seed) for seed in seeds} <= runs.keys(),
                **{key: plan[key] for key in ("flops", "flops_per_step", "steps")},
                "mean": _over_seeds(runs, statistics.mean),
                "deviation": _over_seeds(runs, _deviation),
                "runs": runs,
            }
    return {
        "size": ablation.size,
        "flops": ablation.flops,
        "autoencoder_share": AUTOENCODER_SHARE,
        "protocol": f"small@{ablation.clips}",
        "seeds": list(seeds),
        **settings,
        "rows": rows,
    }


def markdown(found: Mapping[str, Any], json_file: str) -> str:
    """The page for people, of what `summary` gave and the `command` that did; it links the JSON."""
    rows = found["rows"]
    partial = [name for name, row in rows.items() if row["partial"]]
    floors = [row["mean"]["floor_fvd"] for row in rows.values() if "floor_fvd" in row["mean"]]
    lines = [
        "# Ablations",
        "",
        f"Written by `{found['command']}`; [the numbers as JSON]({json_file}). Synthetic skies of "
        f"{found['size']}x{found['size']} pixels, {found['flops']:.3g} training operations for "
        f"every row and seed, {found['autoencoder_share']:.0%} of them for the autoencoder. Scores "
        f"of protocol `{found['protocol']}`: mean ± standard deviation over seeds, in brackets the "
        "mean 95 % interval over clips; so few clips leave them far above published ones, and only "
        "rows of one table compare."
        + (f" Real clips against other real clips: FVD {min(floors):.0f}." if floors else ""),
    ]
    if partial:
        lines += ["", f"Partial, some seeds are still missing: {', '.join(partial)}."]
    for title, columns in (
        ("New videos", _GENERATED),
        ("Motion of new videos, real = 1", _MOVING),
        ("Test clips encoded and decoded", _RECONSTRUCTED),
    ):
        lines += ["", f"## {title}", "", f"| row | {' | '.join(columns)} |"]
        lines.append("|---" * (len(columns) + 1) + "|")
        for name, row in rows.items():
            cells = [column(row) for column in columns.values()]
            lines.append(f"| {_label(name, row)} | {' | '.join(cells)} |")
    lines += ["", "## Rows", "", "| row | seeds | steps | what it is |", "|---|---|---|---|"]
    for name, row in rows.items():
        steps = ", ".join(f"{stage} {count:,}" for stage, count in row["steps"].items())
        cells = (_label(name, row), ", ".join(row["runs"]), steps, row["description"])
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _label(name: str, row: Mapping[str, Any]) -> str:
    return f"{name} (partial)" if row["partial"] else name


def _numbers(result: Mapping[str, Any]) -> dict[str, float]:
    """What is there of `_METRICS`, and how motion compares with that of real clips."""
    numbers = {name: _at(result, path) for name, path in _METRICS.items()}
    for name in _MOTION:
        made, real = numbers[f"{name}_generated"], numbers[f"{name}_real"]
        numbers[f"{name}_share"] = made / real if made is not None and real else None
    return {name: value for name, value in numbers.items() if value is not None}


def _at(tree: Any, path: Sequence[str]) -> float | None:
    for key in path:
        tree = tree.get(key) if isinstance(tree, Mapping) else None
    return tree


def _deviation(values: Sequence[float]) -> float | None:
    return statistics.stdev(values) if len(values) > 1 else None


def _over_seeds(runs: Mapping[str, Mapping[str, float]], compute: Any) -> dict[str, float | None]:
    names = {name: None for numbers in runs.values() for name in numbers}
    return {
        name: compute([numbers[name] for numbers in runs.values() if name in numbers])
        for name in names
    }


def _column(name: str, digits: int) -> Any:
    """A row -> "mean ± deviation" of a metric, or a dash."""

    def cell(row: Mapping[str, Any]) -> str:
        mean, deviation = row["mean"].get(name), row["deviation"].get(name)
        if mean is None:
            return _DASH
        text = f"{mean:.{digits}f}"
        return text if deviation is None else f"{text} ± {deviation:.{digits}f}"

    return cell


def _fvd(row: Mapping[str, Any]) -> str:
    mean = row["mean"]
    return f"{_column('fvd', 0)(row)} [{mean['fvd_low']:.0f}, {mean['fvd_high']:.0f}]"


_GENERATED = {
    "FVD": _fvd,
    "KVD": _column("kvd", 1),
    "precision": _column("precision", 2),
    "recall": _column("recall", 2),
    "coverage": _column("coverage", 2),
    "seconds per video": _column("seconds_per_video", 3),
}
_MOVING = {title: _column(f"{name}_share", 2) for name, title in _MOTION.items()}
_RECONSTRUCTED = {
    "rFVD": _column("rfvd", 0),
    "PSNR at key frames": _column("psnr_db_at_keys", 2),
    "PSNR elsewhere": _column("psnr_db_elsewhere", 2),
    "LPIPS at key frames": _column("lpips_at_keys", 3),
    "LPIPS elsewhere": _column("lpips_elsewhere", 3),
}
