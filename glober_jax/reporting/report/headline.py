"""The numbers of the first screen: at most three, each beside what to read it against."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from glober_jax.reporting.report.explanations import title
from glober_jax.reporting.report.numbers import number, percent
from glober_jax.reporting.report.tables import score_names

_STAGE_OF = {"codec": "codec", "reconstruction": "autoencoder"}


class Headline(NamedTuple):
    """A value, the value to read it against ("" for none), and what it says in plain words."""

    name: str
    value: str
    reference: str
    meaning: str


def headlines(
    result: Mapping[str, Any], summary: Mapping[str, Any], metrics: Sequence[Mapping[str, Any]]
) -> list[Headline]:
    """The three most telling numbers of a run, or as many as there are.

    Args:
      result: of an evaluation, see `evaluation.results`; {} where there is none.
      summary: the workdir's `summary.json`, or {}.
      metrics: rows of `logs/metrics.jsonl`.
    """
    psnr = {kind: _psnr(kind, result, summary, metrics) for kind in _STAGE_OF}
    limit = f"codec limit: {psnr['codec']}" if psnr["codec"] else ""
    found = [*_distance(result), *_motion(result)]
    if psnr["reconstruction"]:
        text = (
            "Real videos, compressed to a global feature and decoded again. Higher is closer to "
            "the original; the frame codec alone is the limit."
        )
        found.append(Headline("Reconstruction (PSNR)", psnr["reconstruction"], limit, text))
    if psnr["codec"]:
        text = (
            "Real frames, encoded and decoded one by one. Higher is closer to the original, and "
            "no other part of the model can exceed it."
        )
        found.append(Headline("Frame codec (PSNR)", psnr["codec"], "", text))
    if metrics:
        steps = {row["stage"]: row["step"] for row in metrics}
        stages = ", ".join(f"{stage} {number(step)}" for stage, step in steps.items())
        found.append(Headline("Training steps", number(sum(steps.values())), "", f"{stages}."))
    return found[:3]


def _distance(result: Mapping[str, Any]) -> list[Headline]:
    """The first score; [] without an evaluation."""
    if not (names := score_names(result)):
        return []
    score, floor = result["scores"][names[0]], result["floor"][names[0]]["value"]
    text = (
        "How far generated videos are from real ones; lower is better. "
        f"{percent(score['confidence'])} interval: {number(score['low'])} to "
        f"{number(score['high'])}."
    )
    # A distance without bias may be negative between real sets.
    if floor > 0:
        text += f" {score['value'] / floor:.1f} times as far as two sets of real videos are apart."
    name = f"Distance to real videos ({title(names[0])})"
    return [Headline(name, number(score["value"]), f"real videos: {number(floor)}", text)]


def _motion(result: Mapping[str, Any]) -> list[Headline]:
    """Optical flow, or the change of pixels, as a share of real; [] where neither is known."""
    text = (
        "How much moves from one frame to the next. Much less than real looks frozen, much more "
        "restless."
    )
    motion = result.get("motion", {})
    return [
        Headline(
            f"Motion ({title(name).lower()})", percent(share), f"real videos: {percent(1)}", text
        )
        for name in ("flow_magnitude", "difference")
        if (share := motion.get(name, {}).get("share")) is not None
    ][:1]


def _psnr(
    kind: str,
    result: Mapping[str, Any],
    summary: Mapping[str, Any],
    metrics: Sequence[Mapping[str, Any]],
) -> str:
    """On held-out clips: of the evaluation, else at the end of training, else while it trained."""
    kinds = result.get("reconstruction", {}).get("kinds", {})
    logged = [row.get("held_out_psnr") for row in metrics if row["stage"] == _STAGE_OF[kind]]
    known = (
        kinds.get(kind, {}).get("psnr_db", {}).get("value"),
        summary.get("psnr_db", {}).get(kind),
        *reversed(logged),
    )
    value = next((value for value in known if value is not None), None)
    return "" if value is None else f"{number(value)}\N{NO-BREAK SPACE}dB"
