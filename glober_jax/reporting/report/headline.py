"""The main numbers on top of the report: at most three, each with a reference value."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from glober_jax.reporting.report.explanations import title
from glober_jax.reporting.report.numbers import number, percent
from glober_jax.reporting.report.score_tables import score_names

_STAGE_OF = {"codec": "codec", "reconstruction": "autoencoder"}


class Headline(NamedTuple):
    """A value, its reference ("" for none), and its meaning."""

    name: str
    value: str
    reference: str
    meaning: str


def headlines(
    result: Mapping[str, Any], summary: Mapping[str, Any], metrics: Sequence[Mapping[str, Any]]
) -> list[Headline]:
    """The three most important numbers there are of a run.

    `result` is of an evaluation, `summary` the workdir's `summary.json`, either of them {} where
    missing; `metrics` are rows of `logs/metrics.jsonl`.
    """
    found = [*_evaluated(result)]
    codec, reconstruction = (
        _psnr(kind, result, summary, metrics) for kind in ("codec", "reconstruction")
    )
    if reconstruction:
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


def _evaluated(result: Mapping[str, Any]) -> Iterator[Headline]:
    """The first score, and optical flow (or else the change of pixels) as a share of real."""
    for name in score_names(result)[:1]:
        score, floor = result["scores"][name], result["floor"][name]["value"]
        text = (
            "How far generated videos are from real ones; lower is better. "
            f"{percent(score['confidence'])} interval: {number(score['low'])} to "
            f"{number(score['high'])}."
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


def _psnr(
    kind: str,
    result: Mapping[str, Any],
    summary: Mapping[str, Any],
    metrics: Sequence[Mapping[str, Any]],
) -> str:
    """On held-out clips: of the evaluation, else of the summary, else of training."""
    kinds = result.get("reconstruction", {}).get("kinds", {})
    logged = [row.get("held_out_psnr") for row in metrics if row["stage"] == _STAGE_OF[kind]]
    known = (
        kinds.get(kind, {}).get("psnr_db", {}).get("value"),
        summary.get("psnr_db", {}).get(kind),
        *reversed(logged),
    )
    value = next((value for value in known if value is not None), None)
    return "" if value is None else f"{number(value)}\N{NO-BREAK SPACE}dB"
