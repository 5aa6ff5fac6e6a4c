"""The tables of a result: a row for each measure with title, explanation and values."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from glober_jax.reporting.report.explanations import SCORES, sentence, title
from glober_jax.reporting.report.numbers import NOTHING, number, percent

Result = Mapping[str, Any]


class Row(NamedTuple):
    """The name of a row, its explanation or "", and its cells."""

    name: str
    meaning: str
    cells: Sequence[str]


class Table(NamedTuple):
    """Names of all columns, that of the rows' names included, and rows."""

    columns: Sequence[str]
    rows: Sequence[Row]


def scores(result: Result) -> Table:
    """Every score with its interval, and the same of real against real clips."""
    rows = []
    for name in score_names(result):
        cells = []
        for score in (result["scores"][name], result["floor"][name]):
            interval = f"{number(score['low'])} to {number(score['high'])}"
            cells += [number(score["value"]), interval]
        rows.append(Row(title(name), sentence(name), cells))
    return Table(("", "generated", "interval", "real vs. real", "interval"), rows)


def controls(result: Result) -> Table:
    """Scores of real clips that are broken, a row for each way."""
    section = result["controls"]
    names = score_names(next(iter(section.values())))
    rows = [
        Row(kind, "", [number(found["scores"][name]["value"]) for name in names])
        for kind, found in section.items()
    ]
    return Table(("", *map(title, names)), rows)


def motion(result: Result) -> Table:
    """Motion of real and generated clips, and the distance of their distributions."""
    rows = []
    for name, entry in result["motion"].items():
        made, real, distance = (number(entry[key]) for key in ("generated", "real", "distance"))
        cells = (made, real, percent(entry.get("share")), distance, number(entry.get("floor")))
        rows.append(Row(title(name), sentence(name), cells))
    return Table(("", "generated", "real", "share of real", "distance", "real vs. real"), rows)


def coverage(result: Result) -> Table:
    """Coverage of real clips, and distances to training clips."""
    rows = [
        Row(title(name), sentence(name), [number(value)])
        for name, value in result["coverage"].items()
        if isinstance(value, int | float)
    ]
    return Table(("", "value"), rows)


def reconstruction(kinds: Mapping[str, Mapping[str, Any]]) -> Table:
    """The measures of each kind of reconstruction; those of other tables without explanation."""
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for kind, section in kinds.items():
        for name, entry in {**section, **section.get("scores", {})}.items():
            if "value" in entry:
                meaning = sentence(name) if name in section else ""
                cells.setdefault((title(name), meaning), {})[kind] = number(entry["value"])
        for name, entry in section.get("motion", {}).items():
            if entry.get("share") is not None:
                share = f"{percent(entry['share'])} of real"
                cells.setdefault((title(name), ""), {})[kind] = share
    rows = [
        Row(*row, [by_kind.get(kind, NOTHING) for kind in kinds]) for row, by_kind in cells.items()
    ]
    return Table(("", *kinds), rows)


def score_names(result: Result) -> list[str]:
    """Names of a result's scores, the headline first."""
    found = result.get("scores", {})
    return [name for name in dict.fromkeys((*SCORES, *found)) if name in found]
