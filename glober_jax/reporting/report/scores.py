"""The numbers of a result: headlines, and tables with a row for each measure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from glober_jax.reporting.report.wording import (
    NOTHING,
    SCORES,
    number,
    percent,
    sentence,
    title,
)

Result = Mapping[str, Any]


class Headline(NamedTuple):
    """A value, its reference ("" for none), and its meaning."""

    name: str
    value: str
    reference: str
    meaning: str


class Row(NamedTuple):
    """The name of a row, its explanation or "", and its cells."""

    name: str
    meaning: str
    cells: Sequence[str]


class Table(NamedTuple):
    """Names of all columns, that of the rows' names included, and rows."""

    columns: Sequence[str]
    rows: Sequence[Row]


def headlines(result: Result, summary: Result, metrics: Sequence[Result]) -> list[Headline]:
    """The three most important numbers there are of a run.

    `result` is of an evaluation and `summary` the workdir's `summary.json`, {} where missing;
    `metrics` are rows of `logs/metrics.jsonl`.
    """
    found = [*_evaluated(result)]
    kinds = result.get("reconstruction", {}).get("kinds", {})

    def psnr(kind: str, stage: str) -> str:
        """On held-out clips: of the evaluation, else of the summary, else of training."""
        logged = [row.get("held_out_psnr") for row in metrics if row["stage"] == stage]
        measured = kinds.get(kind, {}).get("psnr_db", {}).get("value")
        known = (measured, summary.get("psnr_db", {}).get(kind), *reversed(logged))
        value = next((value for value in known if value is not None), None)
        return "" if value is None else f"{number(value)}\N{NO-BREAK SPACE}dB"

    codec = psnr("codec", "codec")
    if reconstruction := psnr("reconstruction", "autoencoder"):
        text = (
            "Real videos, compressed to a global feature and decoded again. Higher is closer to "
            "the original; the frame codec alone is the limit."
        )
        limit = f"codec limit: {codec}" if codec else ""
        found.append(Headline("Reconstruction (PSNR)", reconstruction, limit, text))
    if codec:
        text = (
            "Real frames, encoded and decoded one by one. Higher is closer to the original, and "
            "no other part of the model can exceed it."
        )
        found.append(Headline("Frame codec (PSNR)", codec, "", text))
    if metrics:
        steps = {row["stage"]: row["step"] for row in metrics}
        stages = ", ".join(f"{stage} {number(step)}" for stage, step in steps.items())
        found.append(Headline("Training steps", number(sum(steps.values())), "", f"{stages}."))
    return found[:3]


def _evaluated(result: Result) -> Iterator[Headline]:
    """The first score, and optical flow (or else the change of pixels) as a share of real."""
    for name in score_names(result)[:1]:
        score, floor = result["scores"][name], result["floor"][name]["value"]
        text = (
            "How far generated videos are from real ones; lower is better. "
            f"{percent(score['confidence'])} interval: {_interval(score)}."
        )
        # An unbiased distance between real sets may be negative.
        if floor > 0:
            times = score["value"] / floor
            text += f" {times:.1f} times as far as two sets of real videos are apart."
        heading, reference = f"Distance to real videos ({title(name)})", number(floor)
        yield Headline(heading, number(score["value"]), f"real videos: {reference}", text)
    motion = result.get("motion", {})
    for name in ("flow_magnitude", "difference"):
        if (share := motion.get(name, {}).get("share")) is not None:
            heading, reference = f"Motion ({title(name).lower()})", f"real videos: {percent(1)}"
            text = (
                "How much moves from one frame to the next. Much less than real looks frozen, much "
                "more restless."
            )
            yield Headline(heading, percent(share), reference, text)
            break


def scores(result: Result) -> Table:
    """Every score with its interval, and the same of real against real clips."""
    rows = []
    for name in score_names(result):
        cells = []
        for score in (result["scores"][name], result["floor"][name]):
            cells += [number(score["value"]), _interval(score)]
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


def reconstruction(kinds: Mapping[str, Result]) -> Table:
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


def _interval(score: Result) -> str:
    return f"{number(score['low'])} to {number(score['high'])}"
