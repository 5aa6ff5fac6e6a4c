"""The page is taken apart: it needs nothing but itself, plays, and says what it was given."""

import base64
import io
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from glober_jax.reporting.curves import plot_curves
from glober_jax.reporting.report import all_evaluations, wording
from glober_jax.reporting.report.charts import Chart, Line
from glober_jax.reporting.report.workdir_report import Report, write_report
from glober_jax.training.metric_writer import MetricsWriter
from tests.end_to_end.browser import chromium, find_chromium
from tests.reporting.example_report import example_report

_VOID = {"meta", "link", "img", "br", "input", "source"}
_MINUS, _DASH, _SPACE = "\N{MINUS SIGN}", "\N{EN DASH}", "\N{NO-BREAK SPACE}"


class Page(HTMLParser):
    """What a browser would find: elements with attributes, visible text, and open elements."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.texts: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.text += data
            self.texts.append((self.open[-1], data))

    def videos(self) -> list[dict[str, str]]:
        return [attributes for tag, attributes in self.elements if tag == "video"]

    def headlines(self) -> list[str]:
        """The large numbers of the first screen."""
        return [text for tag, text in self.texts if tag == "b"]


def written(path: Path, report: Report) -> Page:
    write_report(path / "report.html", report)
    page = Page((path / "report.html").read_text(encoding="utf-8"))
    assert page.open == [] and "None" not in page.text
    page.text = re.sub(r"[ \n]+", " ", page.text)
    return page


def frames_of(video: dict[str, str]) -> np.ndarray:
    """uint8 [T, H, W, 3] of a `<video>`, which holds an H.264 file."""
    data = base64.b64decode(video["src"].removeprefix("data:video/mp4;base64,"), validate=True)
    with av.open(io.BytesIO(data)) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


@pytest.fixture(scope="module")
def example() -> Report:
    return example_report(size=32, num_clips=4)


@pytest.fixture(scope="module")
def page(example: Report, tmp_path_factory: pytest.TempPathFactory) -> Page:
    return written(tmp_path_factory.mktemp("example"), example)


def test_needs_nothing_but_itself_and_plays_every_clip(page: Page, example: Report) -> None:
    """Fails when anything is loaded from elsewhere, a clip is missing, stands under another's name,
    or its colours suffer visibly."""
    assert not re.search(r"@import|url\((?!#)", page.html)
    for tag, attributes in page.elements:
        for name in ("src", "href", "xlink:href", "poster", "srcset", "data", "action"):
            assert attributes.get(name, "#").startswith(("#", "data:")), (tag, name)
    clips = [
        (f"{name}: {label}", clip_THWC)
        for name, videos in example.samples.items()
        for label, clip_THWC in zip(example.labels[name], videos, strict=True)
    ]
    for name, videos in example.reconstruction.items():
        clips += [(f"{name}: {number}", clip) for number, clip in enumerate(videos, 1)]
    for (name, clip_THWC), video in zip(clips, page.videos(), strict=True):
        assert video["aria-label"] == name
        assert {"loop", "muted", "autoplay", "playsinline"} <= video.keys()
        small_THWC = frames_of(video).reshape(16, 32, 4, 32, 4, 3).mean((2, 4))
        error = np.mean((small_THWC - clip_THWC) ** 2)
        assert 10 * math.log10(255**2 / error) > 36
    assert len(page.html) < 600_000


def test_first_screen_has_the_numbers_of_the_result(page: Page, example: Report) -> None:
    """Fails when a headline is another number than the result's, or stands below other sections."""
    result = example.results[0]
    kinds = result["reconstruction"]["kinds"]
    psnr, codec = (kinds[kind]["psnr_db"]["value"] for kind in ("reconstruction", "codec"))
    assert page.headlines() == [
        wording.number(result["scores"]["fvd"]["value"]),
        f"{100 * result['motion']['flow_magnitude']['share']:.0f}{_SPACE}%",
        f"{psnr:.1f}{_SPACE}dB",
    ]
    first_screen = page.text[: page.text.index("Compare scores only of one protocol")]
    expected = (
        f"real videos: {result['floor']['fvd']['value']}",
        "2.6 times as far as two sets of real videos",
        f"95{_SPACE}% interval: 87.2 to 101",
        f"codec limit: {codec:.1f}{_SPACE}dB",
    )
    for text in expected:
        assert text in first_screen, text
    headings = [text for tag, text in page.texts if tag in ("h2", "h3")]
    assert headings[:2] == ["Generated", "Real"] and headings[5] == "Scores"


def test_says_how_each_number_was_made(page: Page, example: Report) -> None:
    """Fails when a score, a baseline, a note or the conditions of a result are left out."""
    result = example.results[0]
    expected = [
        *("4.8", f"{_MINUS}0.07", "4.2 to 5.52", "0.0142", "0.0131", f"92{_SPACE}%", "0.0013"),
        *("frozen", "322", "shuffled", "162"),
        *("26.5", "0.848", "61.7", "12.3", f"87{_SPACE}% of real", "JPEG or WebP"),
        *("4f1d7c20a9be6635", "b20c99e1d47a5f08", "TPU v5e (8)", '"flax": "0.12.8"'),
        *(result["command"], '"covariance": "biased"', '"frame_size": 32', '"generator": 60000'),
    ]
    for text in expected:
        assert text in page.text, text


def test_runs_with_less_say_what_is_there(tmp_path: Path, example: Report) -> None:
    """Fails when a run that was not evaluated, or only part of it trained, has no page."""
    summary = {
        "psnr_db": {"codec": 34.21, "reconstruction": 27.64},
        "evaluation": "not measured: no <I3D>",
        "seconds": {"codec": 61.0},
    }
    unmeasured = replace(example, results=[], summary=summary)
    page = written(tmp_path, unmeasured)
    assert page.headlines() == [f"27.6{_SPACE}dB", f"34.2{_SPACE}dB", "80,000"]
    assert "real ones is not measured: no <I3D>." in page.text and "Scores" not in page.text
    assert "glober_jax.evaluate --workdir" in page.text
    rows = [{"stage": "codec", "step": s, "loss": 1.0, "held_out_psnr": 20.0 + s} for s in (1, 2)]
    page = written(tmp_path, Report(title="Codec", metrics=rows))
    assert page.headlines() == [f"22{_SPACE}dB", "2"] and "PSNR" in page.text
    rows = [{"stage": "generator", "step": s, "loss": 1 / (1 + s)} for s in range(20_000)]
    page = written(tmp_path, Report(title="Long", metrics=rows))
    assert re.search(r"loss: 0\.00005\d", page.text) and "15k" in page.text
    # Thinned, however long a run is.
    assert len(page.html) < 80_000
    page = written(tmp_path, Report(title="Nothing"))
    assert not page.headlines() and not page.videos() and "svg" not in dict(page.elements)
    bare = {
        k: v
        for k, v in example.results[0].items()
        if k not in ("reconstruction", "coverage", "controls")
    }
    page = written(tmp_path, Report(title="Scores", results=[bare]))
    assert len(page.headlines()) == 2


def test_text_from_outside_stays_text(tmp_path: Path, example: Report) -> None:
    """Fails when a caption, a path or a name could run in the reader's browser."""
    evil = "</script><script>alert('&')</script>\" onload=\"x $a_b$ 雲"
    result = json.loads(json.dumps(example.results[0]))
    result["scores"][evil], result["floor"][evil] = [result["scores"]["fvd"]] * 2
    result["motion"][evil] = result["motion"]["difference"]
    result["model"] |= {"workdir": evil, "sampling": {evil: evil}}
    result |= {"notes": [evil], "versions": {evil: evil}, "devices": [evil], "command": evil}
    result["data"]["real"]["source"] = f"{evil}\udcff"
    result["protocol"]["name"] = evil
    videos_NTHWC = example.samples["Real"][:1]
    report = Report(
        title=evil,
        results=[result, example.results[0]],
        samples={evil: videos_NTHWC},
        labels={evil: [evil]},
        reconstruction={evil: videos_NTHWC},
        metrics=[{"stage": evil, "step": 1, "time": 0.0, "<script>$a_b$ loss": 1.0}],
        summary={"evaluation": evil, "seconds": {evil: 1.0}},
        config={evil: evil},
    )
    page = written(tmp_path, report)
    assert [tag for tag, _ in page.elements].count("script") == 1
    assert not any("onload" in attributes for _, attributes in page.elements)
    assert page.text.count("</script><script>alert('&')</script>") >= 16
    # Names of metrics are drawn too.
    assert "<script>$a b$ loss: 1" in page.text


def texts_of(chart: Chart) -> list[str]:
    page = Page(chart.svg())
    assert page.open == []
    return [text for tag, text in page.texts if tag == "text"]


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("values", [[7.0], [3.0, 3.0], [1e-9, 5.0, 1e9]])
def test_charts_read_without_hovering(log: bool, values: list[float]) -> None:
    """Fails when a title, an axis, its ticks, or a line's name and last value are not drawn."""
    y = np.array(values)
    lines = [
        Line(label=f"line {i}", x=np.arange(len(y)) + 1.0, y=y, interval=(y, y), faint=y)
        for i in range(5)
    ]
    chart = Chart(title="Losses", x_label="step", y_label="dB", lines=lines, log_x=log, log_y=log)
    texts = texts_of(chart)
    last = wording.number(values[-1])
    assert {"Losses", "step", "dB", *(f"line {i}: {last}" for i in range(5))} <= set(texts)
    assert len(texts) >= 3 + 5 + 2


def test_curves_are_drawn_for_every_stage(tmp_path: Path) -> None:
    """Fails when a stage or panel is missing, or a run that logged nothing has no summary."""
    plot_curves(tmp_path / "metrics.jsonl", tmp_path / "curves.png")
    assert not (tmp_path / "curves.png").exists()
    with MetricsWriter(tmp_path, enabled=True) as writer:
        for step in range(1, 60):
            loss = math.nan if step == 7 else 1.0 / step
            writer.write_scalars("codec", step, {"loss": 1 / step, "grad_norm": step})
            values = {"d_loss": step - 20, "diffusion_loss": loss, "kl": 3.0, "learning_rate": 1.0}
            writer.write_scalars("autoencoder", step, values)
    plot_curves(tmp_path / "metrics.jsonl", tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as picture:
        # Two rows; three panels in the longer: losses, adversarial losses, KL.
        assert picture.size == (3 * 552, 2 * 384)
        assert np.asarray(picture.convert("L")).std() > 5


def test_sweep_compares_only_what_can_be_compared(example: Report) -> None:
    """Fails when other protocols, data, networks or numbers, or two knobs at once, make a line."""
    first, *others = example.results
    best: dict[str, Any] = {name: {**s, "value": 1.0} for name, s in first["scores"].items()}
    foreign = [
        {**first, "protocol": {"name": "digan"}, "scores": best},
        {**first, "data": {"real": {"fingerprint": "other"}}, "scores": best},
        {**first, "model": {**others[0]["model"], "workdir": "other"}, "scores": best},
        {**others[0], "scores": {**best, "fvd": {**best["fvd"], "num_generated": 2048}}},
    ]
    by_steps, by_scale = all_evaluations.charts([first, *others, *foreign])
    assert [chart.title for chart in (by_steps, by_scale)] == [
        "FVD by steps",
        "FVD by condition scale",
    ]
    (line,) = by_steps.lines
    assert line.x.tolist() == [5, 10, 20, 50] and by_steps.log_x and not by_scale.log_x
    assert line.y[2] == first["scores"]["fvd"]["value"]
    assert [line.x.tolist() for line in by_scale.lines] == [[1, 2, 4]]
    table = all_evaluations.table([first, *others])
    assert table.columns == ["steps", "condition scale", "FVD", "KVD", "FD-Alex"]
    assert [(row.name, row.cells[0]) for row in table.rows] == [
        *(("50", "2"), ("20", "2"), ("10", "2"), ("20", "1"), ("5", "2"), ("20", "4")),
    ]
    wide = all_evaluations.table([first, *others, *foreign])
    assert {"protocol", "run", "real clips", "clips"} <= set(wide.columns) and len(wide.rows) == 10
    assert all_evaluations.charts([first]) == all_evaluations.charts([first, *foreign]) == []


def test_numbers_as_people_read_them() -> None:
    values = (93.14, 1431.2, 4.8, -0.07, 0.01234, 0.0, 2e-5, math.nan, None, 1234)
    texts = ("93.1", "1,431", "4.8", f"{_MINUS}0.07", "0.0123", "0", "0.00002")
    assert [wording.number(value) for value in values] == [*texts, _DASH, _DASH, "1,234"]
    assert [wording.duration(s) for s in (12.34, 431, 7260)] == ["12.3 s", "7 min", "2 h 01 min"]


def test_in_a_browser_from_a_phone_to_a_wide_screen(tmp_path: Path, example: Report) -> None:
    """Fails when the page is wider than a phone, a text is cut off by its chart, the numbers are
    below the first screen, clips do not play, or anything is fetched."""
    if (executable := find_chromium()) is None:
        pytest.skip("drives a browser: install Chromium or Chrome and put it on the path")
    captions = ["A drone shot over a quiet lake at sunrise, mist rising"] * 4
    title = "a_run_with_one_long_name_" * 3
    captioned = replace(example, title=title, labels={"Generated": captions})
    write_report(tmp_path / "captioned.html", captioned)
    write_report(tmp_path / "report.html", example)
    playing = "[...document.querySelectorAll('.samples video')].every(v => v.currentTime > 0)"
    with chromium(executable, tmp_path / "profile") as page:
        for name in ("captioned.html", "report.html"):
            page.open(f"file://{tmp_path / name}", 360, 780)
            third = "document.querySelectorAll('.value')[2].getBoundingClientRect().bottom"
            assert name == "captioned.html" or page.evaluate(third) < 780
            for width in (360, 700, 1280):
                page.resize(width, 800)
                assert page.evaluate("document.documentElement.scrollWidth") <= width
                outside = """[...document.querySelectorAll('svg text')].filter(text => {
                    const box = text.getBoundingClientRect()
                    const frame = text.closest('svg').getBoundingClientRect()
                    return box.left < frame.left - 1 || box.right > frame.right + 1
                }).map(text => text.textContent)"""
                assert page.evaluate(outside) == []
            bottom = "document.querySelector('.headlines').getBoundingClientRect().bottom"
            assert page.evaluate(bottom) < 800
            page.wait(playing)
        page.click("Pause")
        page.wait("[...document.querySelectorAll('video')].every(video => video.paused)")
        assert page.complaints == []
        assert all(url.startswith(("file:", "data:")) for url in page.requested)
