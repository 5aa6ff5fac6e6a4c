"""Numbers of one result as cards and tables, each with what it means beside it."""

from collections.abc import Mapping
from typing import Any

from glober_jax.reporting.report.charts import Line, line_chart
from glober_jax.reporting.report.elements import Element, table, tag
from glober_jax.reporting.report.explanations import SCORE_ORDER, meaning
from glober_jax.reporting.report.numbers import NOTHING, decimals, written

Score = Mapping[str, Any]
Result = Mapping[str, Any]


def in_order(scores: Mapping[str, Score]) -> list[str]:
    """Names of scores, the known ones first."""
    return [*(n for n in SCORE_ORDER if n in scores), *(n for n in scores if n not in SCORE_ORDER)]


def headline(result: Result) -> str:
    """The most telling number in one sentence; "" where nothing was scored."""
    scores = result.get("scores") or {}
    if not scores:
        return ""
    name = in_order(scores)[0]
    score, floor = scores[name], (result.get("floor") or {}).get(name)
    places = decimals(score["value"])
    sentence = f"{meaning(name).title} {written(score['value'], places)}"
    if interval := _interval(score, places):
        sentence += f" ({interval}, {_confidence(score)} interval)"
    if numbers := _counts(score):
        sentence += f" over {numbers} clips"
    if floor:
        sentence += (
            f". The floor is {written(floor['value'], places)}: what a perfect model would get"
        )
    return f"{sentence}."


def score_cards(result: Result) -> Element | None:
    """A card for each score: the value, and a bar that shows interval and floor."""
    scores, floors = result.get("scores") or {}, result.get("floor") or {}
    cards = [
        tag(
            "div",
            tag("span", meaning(name).title, class_="name"),
            tag("span", written(scores[name]["value"]), class_="value"),
            _range_bar(scores[name], floors.get(name)),
            tag("span", _card_note(scores[name], floors.get(name)), class_="note"),
            class_="card",
        )
        for name in in_order(scores)
    ]
    return tag("div", *cards, class_="cards") if cards else None


def score_table(result: Result) -> Element | None:
    """Every score with its interval, its floor and the numbers of clips."""
    scores, floors = result.get("scores") or {}, result.get("floor") or {}
    if not scores:
        return None
    rows = []
    for name in in_order(scores):
        score, floor = scores[name], floors.get(name) or {}
        places = decimals(score["value"])
        rows.append(
            (
                explained(name),
                tag("b", written(score["value"], places)),
                _interval(score, places) or NOTHING,
                written(floor.get("value"), places),
                _interval(floor, places) or NOTHING,
                _counts(score) or NOTHING,
            )
        )
    head = ("", "value", "interval", "floor", "floor interval", "real / generated")
    return table(head, rows, stacks=True)


def motion_table(motion: Mapping[str, Mapping[str, float]]) -> Element:
    """Motion of real and generated clips beside each other, and how far apart they are."""
    rows = []
    for name, numbers in motion.items():
        real, generated = numbers.get("real"), numbers.get("generated")
        # All with the digits of the larger one, so that they can be compared at a glance.
        places = decimals(max(real or 0.0, generated or 0.0))
        shown = (real, generated, numbers.get("distance"), numbers.get("floor"))
        rows.append((explained(name), *(written(number, places) for number in shown)))
    return table(("", "real", "generated", "distance", "floor"), rows, stacks=True)


def value_table(values: Mapping[str, Any]) -> Element | None:
    """Numbers that are single values, or hold one under "value"; others are left out."""
    rows = []
    for name, value in values.items():
        number = value.get("value") if isinstance(value, Mapping) else value
        if isinstance(number, int | float):
            rows.append((explained(name), tag("b", written(number))))
    return table(("", "value"), rows) if rows else None


def kinds_table(kinds: Mapping[str, Mapping[str, Any]]) -> Element:
    """What was measured of each kind of reconstruction, a column for each; motion as its share."""
    columns = {}
    for kind, section in kinds.items():
        cells = {
            name: entry["value"]
            for name, entry in (section | section.get("scores", {})).items()
            if isinstance(entry, Mapping) and "value" in entry
        }
        columns[kind] = {name: written(value) for name, value in cells.items()}
        for name, entry in section.get("motion", {}).items():
            if (share := entry.get("share")) is not None:
                columns[kind][name] = f"{written(100 * share, 0)} % of real"
    names = dict.fromkeys(name for cells in columns.values() for name in cells)
    rows = [
        (explained(name), *(cells.get(name, NOTHING) for cells in columns.values()))
        for name in names
    ]
    return table(("", *columns), rows, stacks=True)


def charts_by_index(kinds: Mapping[str, Mapping[str, Any]]) -> list[Element]:
    """A chart for each number known by a frame's place in the clip, with a line for each kind."""
    lines: dict[str, list[Line]] = {}
    for kind, section in kinds.items():
        for name, value in section.items():
            by_index = value.get("by_index") if isinstance(value, Mapping) else None
            # JSON has null where a number was not finite.
            points = [(i, y) for i, y in enumerate(by_index or ()) if y is not None]
            if points:
                line = Line(label=kind, x=[i for i, _ in points], y=[y for _, y in points])
                lines.setdefault(name, []).append(line)
    return [
        line_chart(f"{meaning(name).title} by frame", found, x_label="frame of the clip")
        for name, found in lines.items()
    ]


def explained(name: str) -> Element:
    """A number's name, and below it what it means."""
    title, sentence = meaning(name)
    return tag("div", title, tag("small", sentence) if sentence else None)


def _interval(score: Score, places: int) -> str:
    low, high = score.get("low"), score.get("high")
    if low is None or high is None:
        return ""
    return f"{written(low, places)} to {written(high, places)}"


def _confidence(score: Score) -> str:
    return f"{100 * score.get('confidence', 0.95):g} %"


def _counts(score: Score) -> str:
    real, generated = score.get("num_real"), score.get("num_generated")
    if real is None or generated is None:
        return ""
    return f"{real:,}" if real == generated else f"{real:,} / {generated:,}"


def _card_note(score: Score, floor: Score | None) -> str:
    places = decimals(score["value"])
    parts = [_interval(score, places)]
    if floor:
        parts.append(f"floor {written(floor['value'], places)}")
    return " · ".join(part for part in parts if part)


def _range_bar(score: Score, floor: Score | None) -> Element | None:
    """A track from zero on: interval as a band, value as a dot, floor as a line."""
    marks = [score["value"], score.get("low"), score.get("high"), (floor or {}).get("value")]
    known = [mark for mark in marks if mark is not None]
    if len(known) < 2:
        return None
    start = min(0.0, *known)
    spread = (max(0.0, *known) - start) * 1.08 or 1.0

    def place(value: float) -> str:
        return f"{100 * (value - start) / spread:.1f}%"

    value, low, high, bottom = marks
    band = line = None
    if low is not None and high is not None:
        width = f"{100 * (high - low) / spread:.1f}%"
        band = tag("i", class_="band", style=f"left: {place(low)}; width: {width}")
    if bottom is not None:
        line = tag("i", class_="floor", style=f"left: {place(bottom)}", title="floor")
    dot = tag("i", class_="dot", style=f"left: {place(value)}")
    return tag("div", band, line, dot, class_="range", aria_hidden="true")
