"""`glober_jax.demo` as a person meets it: in a browser, with real clicks and a playing video."""

import io
import shlex
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from glober_jax import media
from tests.end_to_end.browser import Page, chromium, find_chromium

# Of the tab that is open.
_SEEN = "[...document.querySelectorAll({!r})].filter(found => found.offsetParent)"
DONE = _SEEN.format(".stage") + ".some(note => note.innerText.includes('Done in'))"
COMMAND = _SEEN.format(".cm-content") + "[0].innerText"
SHEET = _SEEN.format("img[src*='/file=']") + "[0]?.src"
PLAYING = (
    _SEEN.format("video")
    + """.filter(video => video.autoplay && video.readyState >= 3 && video.currentTime > 0.1
    && !video.paused).map(video => video.videoWidth + 'x' + video.videoHeight).join()"""
)


class Demo(NamedTuple):
    """A running server, its log, and a browser on it."""

    url: str
    log: Path
    page: Page


@pytest.fixture(scope="module")
def demo(commands: Any, finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    executable = find_chromium()
    if executable is None:
        pytest.skip("drives a browser: install Chromium or Chrome and put it on the path")
    folder = tmp_path_factory.mktemp("demo")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url, log = f"http://127.0.0.1:{port}/", folder / "log"
    server = commands.start("demo", f"--workdir={finished}", f"--port={port}", stderr=log)
    try:
        _wait_for(url, server, log)
        with chromium(executable, folder / "profile") as page:
            yield Demo(url, log, page)
    finally:
        # Not SIGINT, which is ignored by all that a shell started in the background.
        server.terminate()
        server.wait(30)


def test_opens_with_a_video(demo: Demo) -> None:
    """Fails when the page opens with an empty box, or another seed makes no other video."""
    page = demo.page
    page.open(demo.url)
    page.wait(f"{PLAYING} === '320x320'")
    assert "--seed=0" in page.evaluate(COMMAND)
    first = page.wait(SHEET)

    page.click("With another seed")
    page.wait(f"{DONE} && {SHEET} && {SHEET} !== {first!r} && !{COMMAND}.includes('--seed=0 ')")
    page.wait(f"{PLAYING} === '320x320'")


def test_time(demo: Demo, commands: Any, tmp_path: Path) -> None:
    """Fails when the two videos do not play, a range is ignored, or the command makes another."""
    # Imports Gradio, which takes seconds.
    from glober_jax.demonstration.components import sheet

    page = demo.page
    page.open(demo.url)
    page.fill(".seed input, .seed textarea", "3")
    page.click("Time")
    # The tab begins by itself, with what was chosen before.
    page.wait(DONE)
    page.wait(f"{PLAYING} === '320x320,320x320'")
    assert {"--seed=3", "--start=0.25", "--rate=4.0"} <= set(page.evaluate(COMMAND).split())

    page.fill("[aria-label$='for Start']", "0.5")
    page.click("Number of frames")
    page.fill("[aria-label='Frames']", "4")
    page.wait(f"{_SEEN.format('.length-line')}[0].innerText.startsWith('4 frames, 0.5 s')")
    page.click("Make both videos")
    page.wait(f"{COMMAND}.includes('--num_frames=4') && {DONE}")
    page.wait(f"{PLAYING} === '320x320,320x320'")

    command = shlex.split(page.evaluate(COMMAND).replace("\\\n", ""))
    commands.succeed("sample", *command[3:], f"--output={tmp_path}", "--save_arrays")
    with np.load(tmp_path / "frames.npz") as arrays:
        expected = sheet(arrays["frames"][0], total=4).astype(int)
    with urllib.request.urlopen(page.wait(SHEET)) as answer:
        shown = np.asarray(Image.open(io.BytesIO(answer.read())).convert("RGB"))
    # Another batch size may sum in another order: about the last bit of a pixel.
    assert shown.shape == expected.shape and np.abs(shown - expected).mean() < 0.1


def test_between_two(demo: Demo) -> None:
    """Fails when the way between two seeds does not play as a row of videos."""
    page = demo.page
    page.open(demo.url)
    page.click("Between two")
    page.wait(DONE)
    # Five videos of 16 pixels with 1 between them, enlarged.
    page.wait(f"{PLAYING} === '924x176'")


def test_bad_input_is_answered_in_a_sentence(demo: Demo) -> None:
    """Fails when nonsense is accepted, or leaves a stack trace on the page or in the log."""
    page = demo.page
    page.open(demo.url)
    page.fill("[aria-label='Class']", "<b>fog")
    page.click("Make the video")
    _is_told(page, "There is no class <b>fog: choose one of clear, broken, overcast, sunset")
    page.click("Time")
    page.click("Number of frames")
    page.fill("[aria-label='Frames']", "0")
    page.click("Make both videos")
    _is_told(page, "The number of frames is 0, but must be a whole number from 1 to 512")
    page.fill("[aria-label='Frames']", "4")
    page.fill("[aria-label$='for End']", "0")
    page.click("Make both videos")
    _is_told(page, "The end (0) must lie after the start (0.25)")
    assert "Traceback" not in demo.log.read_text()


def test_redraws_an_upload(demo: Demo, tmp_path: Path) -> None:
    """Fails when an uploaded video is not played beside its reconstruction."""
    page = demo.page
    page.open(demo.url)
    page.click("Your video")
    # The first video is there to be redrawn. Two squares of 16 pixels, enlarged.
    page.wait(DONE)
    page.wait(f"{PLAYING}.includes('640x320')")
    redrawn = page.wait(SHEET)
    page.evaluate("document.querySelector('button[aria-label=Clear]').click()")
    page.click("Encode and redraw")
    _is_told(page, "There is no video yet: upload one")
    frames = np.random.default_rng(0).integers(0, 256, (20, 24, 40, 3), np.uint8)
    media.write_mp4(tmp_path / "mine.mp4", frames, 10)
    page.wait("document.querySelector('input[type=file]') !== null")
    page.choose_file("input[type=file]", tmp_path / "mine.mp4")
    page.wait("[...document.querySelectorAll('video')].some(video => video.videoWidth === 40)")
    page.click("Encode and redraw")
    page.wait(f"{DONE} && {SHEET} && {SHEET} !== {redrawn!r}")
    page.wait(f"{PLAYING}.includes('640x320')")
    assert "Traceback" not in demo.log.read_text()


def test_nothing_comes_from_elsewhere(demo: Demo) -> None:
    """Fails when the page needs fonts, scripts or anything else from the internet."""
    demo.page.open(demo.url)
    demo.page.wait(PLAYING)
    web = [url for url in demo.page.requested if url.startswith(("http", "ws"))]
    assert len(web) > 10
    assert [url for url in web if not url.startswith(demo.url)] == []


def test_says_what_to_install(commands: Any) -> None:
    """Fails when a missing Gradio ends in a stack trace."""
    script = (
        "import importlib.util, runpy, sys; find = importlib.util.find_spec;"
        "importlib.util.find_spec = lambda name, *a: None if name == 'gradio' else find(name, *a);"
        "sys.argv = ['demo', '--workdir=x'];"
        "runpy.run_module('glober_jax.demo', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=commands.environment, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.strip() == (
        "error: the demo needs the package gradio; install it with "
        "python -m pip install -r requirements-demo.txt"
    )


def _is_told(page: Page, sentence: str) -> None:
    toasts = "[...document.querySelectorAll('[data-testid=\"toast-body\"]')]"
    page.wait(f"{toasts}.some(toast => toast.innerText.includes({sentence!r}))", seconds=20)


def _wait_for(url: str, server: subprocess.Popen[str], log: Path) -> None:
    for _ in range(1800):
        assert server.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(url).close()
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"no server within three minutes:\n{log.read_text()}")
