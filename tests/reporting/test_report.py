"""The page is taken apart: it needs nothing but itself, plays, and says what it was given."""

import base64
import io
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import av
import numpy as np
import pytest

from glober_jax.errors import UserError
from glober_jax.reporting.report import numbers
from glober_jax.reporting.report.charts import Line, line_chart
from glober_jax.reporting.report.clips import Clips
from glober_jax.reporting.report.elements import Element
from glober_jax.reporting.report.page import Report, write_report
from glober_jax.reporting.report.sweep import sweep
from tests.reporting.example_report import example_report

_VOID = {"meta", "link", "img", "br", "input", "source"}


class Page(HTMLParser):
    """What a browser would find: elements with attributes, visible text, and open elements."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
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
        if self.open[-1:] != ["script"] and self.open[-1:] != ["style"]:
            self.text += data

    def attributes(self, tag: str, name: str) -> list[str]:
        return [
            attributes[name] for t, attributes in self.elements if t == tag and name in attributes
        ]


def written(path: Path, report: Report) -> Page:
    write_report(path / "report.html", report)
    page = Page((path / "report.html").read_text(encoding="utf-8"))
    assert page.open == []
    return page


@pytest.fixture(scope="module")
def example() -> Report:
    return example_report(size=32, num_clips=4)


def test_needs_nothing_but_itself(tmp_path: Path, example: Report) -> None:
    """Fails when anything is loaded from elsewhere, or a video inside cannot be played."""
    page = written(tmp_path, example)
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|//[a-z]|@import|url\(", html.partition("<main>")[0])
    for _, attributes in page.elements:
        for name in ("src", "href", "poster", "srcset", "data"):
            assert attributes.get(name, "#").startswith(("#", "data:"))
    ids = {attributes.get("id") for _, attributes in page.elements}
    assert {link.removeprefix("#") for link in page.attributes("a", "href")} <= ids
    sources = page.attributes("video", "src")
    # Four generated, four real, three in three versions.
    assert len(sources) == 4 + 4 + 3 * 3
    for source in sources:
        data = base64.b64decode(source.removeprefix("data:video/mp4;base64,"), validate=True)
        with av.open(io.BytesIO(data)) as container:
            assert container.streams.video[0].codec_context.name == "h264"
            assert len(list(container.decode(video=0))) == 16
    assert len(html) < 400_000


def test_clips_play_as_they_are(tmp_path: Path, example: Report) -> None:
    """Fails when a clip stands under another's name, or its colours suffer visibly."""
    page = written(tmp_path, example)
    shown = [attributes for tag, attributes in page.elements if tag == "video"]
    clips = []
    for name, kind in example.samples.items():
        labelled = zip(kind.labels, kind.videos_NTHWC, strict=True)
        clips += [(f"{name}: {label}", clip_THWC) for label, clip_THWC in labelled]
    for number in range(3):
        versions = example.reconstruction.items()
        clips += [(f"{name}, clip {number + 1}", videos[number]) for name, videos in versions]
    for (name, clip_THWC), attributes in zip(clips, shown, strict=True):
        assert attributes["aria-label"] == name
        assert {"loop", "muted", "autoplay", "playsinline"} <= attributes.keys()
        data = base64.b64decode(attributes["src"].partition(",")[2])
        with av.open(io.BytesIO(data)) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        small_THWC = np.stack(frames).reshape(16, 32, 4, 32, 4, 3).mean((2, 4))
        error = np.mean((small_THWC - clip_THWC) ** 2)
        assert 10 * math.log10(255**2 / error) > 36


def test_says_every_number_with_its_floor_and_how_it_was_made(
    tmp_path: Path, example: Report
) -> None:
    page = written(tmp_path, example)
    result = example.results[0]
    lead = "FVD 93.3 (87.2 to 100.6, 95 % interval) over 256 clips. The floor is 35.9"
    assert lead in page.text
    expected = [
        *("4.80", "−0.07", "4.20 to 5.52"),  # noqa: RUF001
        *("0.0142", "0.0131", "0.0013", "26.5", "0.848", "61.7", "12.3", "87 % of real"),
        *("4f1d7c20a9be6635", "b20c99e1d47a5f08", "TPU v5e (8)", "flax 0.12.8", "60,000 steps"),
        *("JPEG or WebP", "FVD by steps", "FVD by condition scale", "lower is better"),
        *(result["command"], '"covariance": "biased"', '"frame_size": 32', "pixel_loss"),
    ]
    for text in expected:
        assert text in page.text, text
    headings = [
        *("Samples", "Scores", "Motion", "Reconstruction"),
        *("Sampling", "Training", "Configuration", "Environment"),
    ]
    places = [page.text.rindex(heading) for heading in headings[:4]]
    assert places == sorted(places)


def test_parts_that_are_missing_leave_no_trace(tmp_path: Path, example: Report) -> None:
    page = written(tmp_path, Report(title="Nothing"))
    tags = {tag for tag, _ in page.elements}
    assert "section" not in tags and "video" not in tags and "None" not in page.text
    whole = example.results[0]
    for name in whole:
        part = {key: value for key, value in whole.items() if key != name}
        assert "None" not in written(tmp_path, Report(title="Part", results=[part])).text
        alone = written(tmp_path, Report(title="Alone", results=[{name: whole[name]}]))
        assert "None" not in alone.text
    scores = {"fvd": {"value": 93.1}, "is_c3d": {"value": 27.0}}
    page = written(tmp_path, Report(title="Bare", results=[{"scores": scores}]))
    assert "FVD 93.1." in page.text and "is c3d" in page.text
    unlabelled = {"Generated": Clips(example.samples["Generated"].videos_NTHWC[:1])}
    page = written(tmp_path, Report(title="Clips", samples=unlabelled))
    assert page.attributes("section", "id") == ["samples"]


def test_text_from_outside_stays_text(tmp_path: Path, example: Report) -> None:
    """Fails when a caption, a path or a name could run in the reader's browser."""
    evil = "</script><script>alert('&')</script>\" onload=\"x \udcff 雲"
    result = {
        "protocol": {"name": evil},
        "scores": {evil: {"value": 1.0}},
        "motion": {evil: {"real": 1.0, "generated": 1.0, "distance": 0.0}},
        "model": {"workdir": evil, "sampling": {evil: evil}},
        "data": {"real": {"source": evil}},
        "notes": [evil],
        "versions": {evil: evil},
        "devices": [evil],
        "command": evil,
    }
    videos_NTHWC = example.samples["Real"].videos_NTHWC[:1]
    report = Report(
        title=evil,
        results=[result],
        samples={evil: Clips(videos_NTHWC, [evil])},
        reconstruction={evil: videos_NTHWC},
        metrics=[{"stage": evil, "step": 1, "time": 0.0, f"{evil}loss": 1.0}],
        config={evil: evil},
    )
    page = written(tmp_path, report)
    assert [tag for tag, _ in page.elements].count("script") == 1
    assert not any("onload" in attributes for _, attributes in page.elements)
    assert page.text.count("</script><script>alert('&')</script>") >= 8


def test_a_long_run_makes_no_long_page(tmp_path: Path) -> None:
    steps = np.arange(20_000)
    values = 1 / (1 + steps)
    rows = [
        {"stage": "generator", "step": int(s), "time": 0.0, "loss": float(v), "grad_norm": None}
        for s, v in zip(steps, values, strict=True)
    ]
    written(tmp_path, Report(title="Long", metrics=rows))
    assert (tmp_path / "report.html").stat().st_size < 60_000


def points(chart: Element, class_: str) -> np.ndarray:
    """Positions of a line's points, [points, 2]."""
    line = next(e for e in chart.iter("polyline") if e.get("class") == class_)
    return np.array([[float(v) for v in point.split(",")] for point in line.get("points").split()])


@pytest.mark.parametrize("log", [False, True])
def test_charts_draw_to_scale(log: bool) -> None:
    """Fails when a point stands elsewhere than its value, on either kind of axis."""
    x, y = np.array([1.0, 3.0, 10.0, 100.0]), np.array([2.0, 500.0, 20.0, 4.0])
    intervals = list(zip(y / 1.1, y * 1.1, strict=True))
    line = Line(label="a", x=x, y=y, intervals=intervals, faint=y[::-1])
    chart = line_chart("t", [line], x_label="x", log_x=log, log_y=log)
    for class_, values in (("stroke", y), ("faint", y[::-1])):
        drawn = points(chart, class_)
        for column, expected in ((0, x), (1, values)):
            expected = np.log(expected) if log else expected
            correlation = np.corrcoef(drawn[:, column], expected)[0, 1]
            assert correlation == pytest.approx(1 if column == 0 else -1, abs=1e-5)
    bars = [e for e in chart.iter("line") if e.get("class") == "bar"]
    assert len(bars) == 4 and all(float(b.get("y1")) < float(b.get("y2")) for b in bars)
    labels = [e.text for e in chart.iter("text")]
    assert 7 <= len(labels) <= 18


@pytest.mark.parametrize("values", [[0.0], [7.0], [3.0, 3.0], [-2.0, 1e-9, 5.0], [1e9, 2e9]])
def test_charts_of_odd_values_stay_inside(values: list[float]) -> None:
    chart = line_chart("t", [Line(label="a", x=range(len(values)), y=values)], x_label="x")
    drawn = points(chart, "stroke")
    assert np.isfinite(drawn).all()
    assert (drawn >= 0).all() and (drawn <= [360, 210]).all()


def test_sweep_compares_only_what_can_be_compared(example: Report) -> None:
    """Fails when other protocols, data, networks or numbers, or two knobs at once, make a line."""
    first, *others = example.results
    best = {name: {**score, "value": 1.0} for name, score in first["scores"].items()}
    foreign = [
        {**first, "protocol": {"name": "digan"}, "scores": best},
        {**first, "data": {"real": {"fingerprint": "other"}}, "scores": best},
        {**first, "model": {**others[0]["model"], "workdir": "other"}, "scores": best},
        {**others[0], "scores": {**best, "fvd": {**best["fvd"], "num_generated": 2048}}},
    ]
    charts, table = sweep([first, *others, *foreign])
    by_steps, by_scale = charts
    assert points(by_steps, "stroke").shape == (4, 2) and points(by_scale, "stroke").shape == (3, 2)
    rows = [["".join(cell.itertext()) for cell in row] for row in table.iter("tr")]
    assert rows[0] == ["steps", "condition scale", "FVD", "KVD", "FD-Alex"]
    assert [row[:2] for row in rows[1:]] == [
        *(["5", "2"], ["10", "2"], ["20", "1"], ["20", "2"], ["20", "4"], ["50", "2"]),
    ]
    assert [cell.text for cell in table.iter("b")] == rows[-1][2:]
    assert sweep([first]) == [] and sweep([first, *foreign]) == [] and sweep([]) == []


def test_numbers_as_people_read_them() -> None:
    minus, dash = "\N{MINUS SIGN}", "\N{EN DASH}"
    values = (93.14, 1431.2, 4.8, -0.07, 0.01234, 0.0, 1e-9, math.inf, math.nan, None, 1234)
    texts = ("93.1", "1,431.2", "4.80", f"{minus}0.0700", "0.0123", "0.00", "0.00000")
    assert [numbers.written(value) for value in values] == [*texts, "∞", dash, dash, "1,234"]
    assert [numbers.short(v) for v in (20_000, 1.5e6, 0.02, -5, 500)] == [
        *("20k", "1.5M", "0.02", f"{minus}5", "500"),
    ]
    assert [numbers.duration(s) for s in (12.34, 431, 7260)] == ["12.3 s", "7 min", "2 h 01 min"]


def test_unwritable_path_is_one_sentence(tmp_path: Path, example: Report) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UserError, match=r"cannot write .*report.html"):
        write_report(tmp_path / "file" / "report.html", replace(example, samples={}))
