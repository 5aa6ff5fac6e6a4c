"""The results of all finished runs as Markdown and JSON."""

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from glober_jax.ablations.runs import (
    AUTOENCODER_SHARE,
    PLAN_FILE,
    RESULT_FILE,
    SECONDS_FILE,
    Ablation,
)

_MADE_AGAIN = "reconstruction.kinds.reconstruction"
_MOTION = {"difference": "frame difference", "flow_magnitude": "flow", "roughness": "roughness"}
# Paths of a run's numbers in its result; missing ones are shown as a dash.
_METRICS = {
    "fvd": "scores.fvd.value",
    "fvd_low": "scores.fvd.low",
    "fvd_high": "scores.fvd.high",
    "kvd": "scores.kvd.value",
    **{name: f"coverage.{name}" for name in ("precision", "recall", "coverage")},
    **{f"{name}_{of}": f"motion.{name}.{of}" for name in _MOTION for of in ("generated", "real")},
    "rfvd": f"{_MADE_AGAIN}.scores.fvd.value",
    **{
        f"{name}_{place}": f"{_MADE_AGAIN}.{name}.{place}"
        for name in ("psnr_db", "lpips")
        for place in ("at_keys", "elsewhere")
    },
    "floor_fvd": "floor.fvd.value",
}
# Metric and digits of each column of each table.
_TABLES = {
    "New videos": {
        "FVD": ("fvd", 0),
        "KVD": ("kvd", 1),
        "precision": ("precision", 2),
        "recall": ("recall", 2),
        "coverage": ("coverage", 2),
        "seconds per video": ("seconds_per_video", 3),
    },
    "Motion of new videos, real = 1": {
        title: (f"{name}_share", 2) for name, title in _MOTION.items()
    },
    "Test clips encoded and decoded": {
        "rFVD": ("rfvd", 0),
        "PSNR at key frames": ("psnr_db_at_keys", 2),
        "PSNR elsewhere": ("psnr_db_elsewhere", 2),
        "LPIPS at key frames": ("lpips_at_keys", 3),
        "LPIPS elsewhere": ("lpips_elsewhere", 3),
    },
}


def summary(ablation: Ablation, seeds: Sequence[int]) -> dict[str, Any]:
    """Every row of the config with a finished run, as JSON; partial where it lacks one of `seeds`.

    Finished runs of other seeds count too.
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
                "deviation": _over_seeds(runs, lambda v: statistics.stdev(v) if v[1:] else None),
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
    """The Markdown page of a `summary` with its `command`; it links the JSON."""
    rows = found["rows"]
    labels = {name: f"{name} (partial)" if row["partial"] else name for name, row in rows.items()}
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
    for title, columns in _TABLES.items():
        lines += ["", f"## {title}", "", f"| row | {' | '.join(columns)} |"]
        lines.append("|---" * (len(columns) + 1) + "|")
        for name, row in rows.items():
            cells = [labels[name], *(_cell(row, *column) for column in columns.values())]
            lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "## Rows", "", "| row | seeds | steps | what it is |", "|---|---|---|---|"]
    for name, row in rows.items():
        steps = ", ".join(f"{stage} {count:,}" for stage, count in row["steps"].items())
        cells = (labels[name], ", ".join(row["runs"]), steps, row["description"])
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _numbers(result: Mapping[str, Any]) -> dict[str, float]:
    """The `_METRICS` in a result, and shares of real motion."""
    numbers: dict[str, float | None] = {}
    for name, path in _METRICS.items():
        value: Any = result
        for key in path.split("."):
            value = (value or {}).get(key)
        numbers[name] = value
    for name in _MOTION:
        made, real = numbers[f"{name}_generated"], numbers[f"{name}_real"]
        numbers[f"{name}_share"] = made / real if made is not None and real else None
    return {name: value for name, value in numbers.items() if value is not None}


def _over_seeds(
    runs: Mapping[str, Mapping[str, float]], compute: Callable[[list[float]], float | None]
) -> dict[str, float | None]:
    names = dict.fromkeys(name for numbers in runs.values() for name in numbers)
    return {
        name: compute([numbers[name] for numbers in runs.values() if name in numbers])
        for name in names
    }


def _cell(row: Mapping[str, Any], name: str, digits: int) -> str:
    """ "mean ± deviation" of a metric, of FVD with its interval; or a dash."""
    mean, deviation = row["mean"], row["deviation"].get(name)
    if name not in mean:
        return "\N{EN DASH}"
    text = f"{mean[name]:.{digits}f}"
    if deviation is not None:
        text += f" ± {deviation:.{digits}f}"
    if name == "fvd":
        text += f" [{mean['fvd_low']:.0f}, {mean['fvd_high']:.0f}]"
    return text
