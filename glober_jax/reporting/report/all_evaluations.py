"""Several evaluations: a table of their differing conditions, and scores over sampling options."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from glober_jax.reporting.report.charts import Chart, Line
from glober_jax.reporting.report.scores import Result, Row, Table, score_names
from glober_jax.reporting.report.wording import number, title

# The least ratio of largest to smallest value for a log axis, such as for 5, 10, 20, 50 steps.
_LOG_RATIO = 8.0


def table(results: Sequence[Result]) -> Table:
    """A row for each result: the conditions in which any two differ, and all scores.

    Results that differ only in sampling are grouped, by ascending score.
    """
    differing = _differing(results)
    scores = list(dict.fromkeys(name for result in results for name in score_names(result)))
    rows = []
    for result in sorted(results, key=lambda r: (repr(_setting(r)), _value(r, scores[0]))):
        conditions = _conditions(result)
        cells = [_text(conditions.get(name)) for name in differing]
        cells += [number(_value(result, name)) for name in scores]
        rows.append(Row(cells[0], "", cells[1:]))
    return Table([*differing, *map(title, scores)], rows)


def charts(results: Sequence[Result]) -> list[Chart]:
    """The first score over each numeric sampling option, with a line for each choice of the others.

    Only of results that differ from the first one in sampling alone.
    """
    compared = [result for result in results if _setting(result) == _setting(results[0])]
    differing = _differing(compared)
    return [chart for name in differing if (chart := _chart(name, differing, compared))]


def _chart(name: str, differing: Sequence[str], results: Sequence[Result]) -> Chart | None:
    """None where no two results differ only in this condition."""
    score = score_names(results[0])[0]
    groups: dict[str, list[tuple[float, ...]]] = {}
    for result in results:
        conditions = _conditions(result)
        if isinstance(conditions.get(name), int | float):
            others = [f"{n} {_text(conditions.get(n))}" for n in differing if n != name]
            entry = result["scores"][score]
            point = (conditions[name], entry["value"], entry["low"], entry["high"])
            groups.setdefault(", ".join(others), []).append(point)
    lines = []
    for label, points in groups.items():
        if len(points) > 1:
            x, y, low, high = np.array(sorted(points)).T
            lines.append(Line(label=label, x=x, y=y, interval=(low, high)))
    if not lines:
        return None
    every_x = np.concatenate([line.x for line in lines])
    return Chart(
        title=f"{title(score)} by {name}",
        x_label=name,
        y_label=f"{title(score)}, lower is better",
        lines=lines,
        log_x=0 < _LOG_RATIO * every_x.min() <= every_x.max(),
    )


def _setting(result: Result) -> dict[str, Any]:
    """All that scores depend on besides sampling, by displayed name."""
    model, real = result["model"], result["data"].get("real", {})
    return {
        "protocol": result["protocol"]["name"],
        "run": model.get("workdir"),
        **{f"{stage} steps": n for stage, n in model.get("checkpoint_steps", {}).items()},
        "real clips": real.get("fingerprint"),
        "clips": next((score["num_generated"] for score in result["scores"].values()), None),
    }


def _conditions(result: Result) -> dict[str, Any]:
    sampling = result["model"].get("sampling", {})
    choices = {name.replace("_", " "): value for name, value in sampling.items()}
    return _setting(result) | choices | {"seed": result["model"].get("seed")}


def _differing(results: Sequence[Result]) -> list[str]:
    """Names of conditions in which any two results differ."""
    conditions = [_conditions(result) for result in results]
    names = dict.fromkeys(name for found in conditions for name in found)
    return [name for name in names if len({repr(found.get(name)) for found in conditions}) > 1]


def _value(result: Result, score: str) -> float | None:
    return result["scores"].get(score, {}).get("value")


def _text(value: Any) -> str:
    return number(value) if value is None or isinstance(value, int | float) else str(value)
