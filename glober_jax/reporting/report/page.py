"""Puts a run's results into one HTML file; what is not there leaves no trace in it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from etils import epath

from glober_jax import media
from glober_jax.reporting.curves import group_curves, has_log_axis, smooth
from glober_jax.reporting.report import clips, scores
from glober_jax.reporting.report.charts import Line, line_chart
from glober_jax.reporting.report.clips import Clips
from glober_jax.reporting.report.elements import Element, table, tag, to_html
from glober_jax.reporting.report.numbers import duration
from glober_jax.reporting.report.sweep import comparable, sweep


@dataclass(frozen=True, kw_only=True)
class Report:
    """What is known of a run; every part may be missing.

    Attributes:
      title: heading of the page.
      results: what `evaluate --output` writes, read from JSON. The first one is shown in full,
        others beside it where nothing but sampling was different.
      samples: kinds of clips to play beside each other, such as generated and real.
      reconstruction: the same clips in several versions, such as real, codec and GLOBER, each
        uint8 [N, T, H, W, 3].
      metrics: rows of `logs/metrics.jsonl`.
      config: the experiment's.
      fps: frames per second of every clip.
    """

    title: str
    results: Sequence[Mapping[str, Any]] = ()
    samples: Mapping[str, Clips] = field(default_factory=dict)
    reconstruction: Mapping[str, Any] = field(default_factory=dict)
    metrics: Sequence[dict[str, Any]] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    fps: float = 8.0


def write_report(path: epath.PathLike, report: Report) -> None:
    """Writes the page, with style, script, charts and videos inside: it needs nothing else.

    Raises:
      UserError: the path cannot be written.
    """
    media.write_file(path, to_html(_page(report)))


def _page(report: Report) -> Element:
    result = report.results[0] if report.results else {}
    sections = [
        _samples(report),
        _scores(result),
        _motion(result),
        _reconstruction(report, result),
        _sweep(report.results),
        _curves(report.metrics),
        _configuration(report, result),
        _environment(result, comparable(report.results)),
    ]
    shown = [section for section in sections if section is not None]
    links = [tag("a", s.find("h2").text, href=f"#{s.get('id')}") for s in shown]
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", report.title),
        tag("style", _asset("style.css")),
    )
    body = tag(
        "body",
        tag("header", *_heading(report, result), tag("nav", *links)),
        tag("main", *shown),
        tag("script", _asset("player.js")),
    )
    return tag("html", head, body, lang="en")


def _heading(report: Report, result: Mapping[str, Any]) -> list[Element | None]:
    protocol = (result.get("protocol") or {}).get("name")
    sentence = scores.headline(result)
    return [
        tag("p", f"Protocol {protocol}", class_="eyebrow") if protocol else None,
        tag("h1", report.title),
        tag("p", sentence, class_="lead") if sentence else None,
        scores.score_cards(result),
    ]


def _section(title: str, text: str, *children: Element | None) -> Element:
    name = title.lower().replace(" ", "-")
    return tag("section", tag("h2", title), tag("p", text) if text else None, *children, id=name)


def _samples(report: Report) -> Element | None:
    if not report.samples:
        return None
    text = "Clips as they come, not chosen. Playback is compressed; every number is of the pixels."
    return _section("Samples", text, clips.side_by_side(report.samples, report.fps))


def _scores(result: Mapping[str, Any]) -> Element | None:
    numbers = scores.score_table(result)
    if numbers is None:
        return None
    text = (
        "The floor is the score of real clips against other real clips, of the same number: what "
        "a perfect model would get. Compare scores only of one protocol and equal numbers."
    )
    notes = [tag("li", note) for note in result.get("notes") or ()]
    coverage = result.get("coverage")
    return _section(
        "Scores",
        text,
        numbers,
        tag("ul", *notes, class_="notes") if notes else None,
        tag("h3", "Coverage") if coverage else None,
        scores.value_table(coverage) if coverage else None,
    )


def _motion(result: Mapping[str, Any]) -> Element | None:
    motion = result.get("motion")
    if not motion:
        return None
    text = "Good motion is motion like that of the real clips: neither more nor less of it."
    return _section("Motion", text, scores.motion_table(motion))


def _reconstruction(report: Report, result: Mapping[str, Any]) -> Element | None:
    kinds = (result.get("reconstruction") or {}).get("kinds") or {}
    if not kinds and not report.reconstruction:
        return None
    charts = scores.charts_by_index(kinds)
    return _section(
        "Reconstruction",
        "Real clips through the frame codec alone, with latents interpolated between key frames, "
        "and through encoder and decoder: what is lost here, no generator can bring back.",
        tag(
            "div",
            clips.aligned(report.reconstruction, report.fps) if report.reconstruction else None,
            scores.kinds_table(kinds) if kinds else None,
            class_="split",
        ),
        tag("div", *charts, class_="charts") if charts else None,
    )


def _sweep(results: Sequence[Mapping[str, Any]]) -> Element | None:
    compared = sweep(results)
    if not compared:
        return None
    text = "The same networks, sampled in other ways."
    if left_out := len(results) - len(comparable(results)):
        text += f" {left_out} results of other networks, data or protocols are left out."
    return _section("Sampling", text, *compared)


def _curves(metrics: Sequence[dict[str, Any]]) -> Element | None:
    stages = []
    for stage, panels in group_curves(metrics).items():
        charts = []
        for title, curves in panels:
            lines = [
                Line(label=name, x=steps, y=smooth(steps, values)[1], faint=values)
                for name, (steps, values) in curves.items()
            ]
            log_y = has_log_axis(title, curves)
            charts.append(line_chart(_capital(title), lines, x_label="step", log_y=log_y))
        stages += [tag("h3", _capital(stage)), tag("div", *charts, class_="charts")]
    return _section("Training", "", *stages) if stages else None


def _configuration(report: Report, result: Mapping[str, Any]) -> Element | None:
    model = result.get("model") or {}
    parts = {
        "Protocol": result.get("protocol"),
        "Sampling": model.get("sampling"),
        "Experiment": report.config,
    }
    folded = [
        tag("details", tag("summary", name), tag("pre", json.dumps(part, indent=2, default=str)))
        for name, part in parts.items()
        if part
    ]
    return _section("Configuration", "", *folded) if folded else None


def _environment(
    result: Mapping[str, Any], compared: Sequence[Mapping[str, Any]]
) -> Element | None:
    facts: dict[str, Element | str | None] = {}
    model = result.get("model") or {}
    facts["Run"] = model.get("workdir")
    steps = model.get("checkpoint_steps") or {}
    facts["Trained"] = ", ".join(f"{stage} {count:,} steps" for stage, count in steps.items())
    if model.get("seed") is not None:
        facts["Seed"] = str(model["seed"])
    for kind, data in (result.get("data") or {}).items():
        mark, source = data.get("fingerprint"), str(data.get("source", ""))
        facts[f"{_capital(kind)} clips"] = tag(
            "div", source, tag("small", f"fingerprint {mark}") if mark else None
        )
    facts["Devices"] = ", ".join(map(str, result.get("devices") or ()))
    if result.get("seconds") is not None:
        facts["Time"] = duration(result["seconds"])
    versions = result.get("versions") or {}
    facts["Versions"] = ", ".join(f"{name} {version}" for name, version in versions.items())
    rows = [(name, value) for name, value in facts.items() if value]
    commands = dict.fromkeys(r["command"] for r in (result, *compared) if r.get("command"))
    if not rows and not commands:
        return None
    return _section(
        "Environment",
        "",
        table((), rows) if rows else None,
        tag("h3", "Commands") if commands else None,
        *(tag("pre", command) for command in commands),
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _asset(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
