"""Results that differ in how they were sampled, beside each other."""

from collections.abc import Mapping, Sequence
from typing import Any

from glober_jax.reporting.report.charts import Line, line_chart
from glober_jax.reporting.report.elements import Element, table, tag
from glober_jax.reporting.report.explanations import meaning
from glober_jax.reporting.report.numbers import NOTHING, decimals, written
from glober_jax.reporting.report.scores import in_order

# An axis of steps such as 5, 10, 20, 50, 100 is read more easily with equal ratios apart.
_LOG_RATIO = 8.0

Result = Mapping[str, Any]
_Knobs = dict[str, Any]


def comparable(results: Sequence[Result]) -> list[Result]:
    """The results with scores that differ from the first one in nothing but sampling."""
    scored = [result for result in results if result.get("scores")]
    return [result for result in scored if _conditions(result) == _conditions(results[0])]


def sweep(results: Sequence[Result]) -> list[Element]:
    """Charts and a table over what differs in sampling; [] where nothing does.

    A chart for each numeric knob: its values along the axis, the headline score up, a line for
    every choice of the other knobs.
    """
    compared = comparable(results)
    sampling = [dict((result.get("model") or {}).get("sampling") or {}) for result in compared]
    knobs = [
        name
        for name in dict.fromkeys(name for choice in sampling for name in choice)
        if len({repr(choice.get(name)) for choice in sampling}) > 1
    ]
    if not knobs:
        return []
    choices = [{name: choice.get(name) for name in knobs} for choice in sampling]
    order = sorted(range(len(choices)), key=lambda i: _sort_key(choices[i]))
    choices, compared = [choices[i] for i in order], [compared[i] for i in order]
    score = in_order(compared[0]["scores"])[0]
    charts = [chart for name in knobs if (chart := _chart(name, score, choices, compared))]
    return [
        *([tag("div", *charts, class_="charts")] if charts else []),
        _table(choices, compared),
    ]


def _conditions(result: Result) -> tuple[Any, ...]:
    """Protocol, networks, real clips and numbers of clips."""
    model, real = result.get("model") or {}, (result.get("data") or {}).get("real") or {}
    scores = result.get("scores") or {}
    counts = {name: (s.get("num_real"), s.get("num_generated")) for name, s in scores.items()}
    networks = (model.get("workdir"), model.get("checkpoint_steps"))
    return result.get("protocol"), *networks, real.get("fingerprint"), counts


def _chart(
    knob: str, score: str, choices: Sequence[_Knobs], results: Sequence[Result]
) -> Element | None:
    """None where no two results differ in `knob` alone."""
    found: dict[str, list[tuple[float, Mapping[str, Any]]]] = {}
    for choice, result in zip(choices, results, strict=True):
        value, numbers = choice[knob], result["scores"].get(score)
        if not _is_number(value) or numbers is None or not _is_number(numbers.get("value")):
            continue
        others = ", ".join(f"{_words(n)} {_shown(v)}" for n, v in choice.items() if n != knob)
        found.setdefault(others, []).append((value, numbers))
    title = meaning(score).title
    lines = [_line(others or title, points) for others, points in found.items() if len(points) > 1]
    if not lines:
        return None
    every = [x for line in lines for x in line.x]
    log_x = min(every) > 0 and max(every) >= _LOG_RATIO * min(every)
    heading = f"{title} by {_words(knob)}"
    return line_chart(heading, lines, x_label=_words(knob), log_x=log_x, caption="lower is better")


def _line(label: str, points: Sequence[tuple[float, Mapping[str, Any]]]) -> Line:
    ordered = sorted(points, key=lambda point: point[0])
    numbers = [score for _, score in ordered]
    has_intervals = all(n.get("low") is not None and n.get("high") is not None for n in numbers)
    return Line(
        label=label,
        x=[x for x, _ in ordered],
        y=[n["value"] for n in numbers],
        intervals=[(n["low"], n["high"]) for n in numbers] if has_intervals else (),
    )


def _table(choices: Sequence[_Knobs], results: Sequence[Result]) -> Element:
    scores = in_order({name: {} for result in results for name in result["scores"]})
    best = {name: min(_values(name, results), default=None) for name in scores}
    rows = []
    for choice, result in zip(choices, results, strict=True):
        cells: list[Element | str] = [_shown(value) for value in choice.values()]
        for name in scores:
            value = result["scores"].get(name, {}).get("value")
            text = written(value, decimals(best[name]))
            cells.append(tag("b", text) if value is not None and value == best[name] else text)
        rows.append(cells)
    heads = [*map(_words, choices[0]), *(meaning(name).title for name in scores)]
    return table(heads, rows)


def _values(name: str, results: Sequence[Result]) -> list[float]:
    values = [result["scores"].get(name, {}).get("value") for result in results]
    return [value for value in values if _is_number(value)]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _sort_key(choice: _Knobs) -> list[tuple[bool, float, str]]:
    """Numbers by value, and after them what is none."""
    return [(not _is_number(v), v if _is_number(v) else 0.0, str(v)) for v in choice.values()]


def _words(name: str) -> str:
    return name.replace("_", " ")


def _shown(value: object) -> str:
    if value is None:
        return NOTHING
    return f"{value:g}" if isinstance(value, float) else str(value)
