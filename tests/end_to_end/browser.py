"""A headless Chromium to drive, by the DevTools protocol over two pipes: needs no package."""

import base64
import itertools
import json
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def find_chromium() -> str | None:
    """The first Chromium or Chrome on the path."""
    return next(filter(None, map(shutil.which, _NAMES)), None)


class Page:
    """One tab.

    Attributes:
      requested: the address of everything that was fetched so far.
      complaints: what the page wrote to its console as an error, uncaught exceptions included.
    """

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from = os.fdopen(to_browser, "wb"), os.fdopen(from_browser, "rb")
        self._numbers, self._session = itertools.count(1), {}
        self.requested: list[str] = []
        self.complaints: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = {"sessionId": attached["sessionId"]}
        for domain in ("Page", "Runtime", "Network", "DOM"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The result of a method of the protocol; events that arrive before it are noted."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters, **self._session}
        self._to.write(json.dumps(message).encode() + b"\0")
        self._to.flush()
        while (answer := self._read()).get("id") != number:
            self._note(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def open(self, url: str, width: int = 1280, height: int = 900) -> None:
        self.resize(width, height)
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete'")

    def resize(self, width: int, height: int) -> None:
        size = {"width": width, "height": height, "deviceScaleFactor": 1}
        self.call("Emulation.setDeviceMetricsOverride", mobile=width < 600, **size)

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, awaited where it is a promise."""
        answer = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def wait(self, expression: str, seconds: float = 60) -> Any:
        """The first true value of the expression; AssertionError if there is none in time."""
        deadline = time.monotonic() + seconds
        while not (value := self.evaluate(expression)):
            if time.monotonic() > deadline:
                shown = self.evaluate("document.body.innerText")
                raise AssertionError(f"never true: {expression}\nThe page says:\n{shown}")
            time.sleep(0.1)
        return value

    def click(self, text: str) -> None:
        """Clicks, as a person does, on the button or label that shows this text and no more."""
        x, y = self.wait(f"""(() => {{
            for (const element of document.querySelectorAll('button, label')) {{
                if (element.innerText.trim() !== {text!r}) continue
                element.scrollIntoView({{block: 'center', behavior: 'instant'}})
                const box = element.getBoundingClientRect()
                const middle = [box.x + box.width / 2, box.y + box.height / 2]
                if (element.contains(document.elementFromPoint(...middle))) return middle
            }} }})()""")
        place = {"x": x, "y": y}
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **place)

    def fill(self, selector: str, text: str) -> None:
        """Replaces the text of the first visible field that fits, and leaves the field."""
        found = f"[...document.querySelectorAll({selector!r})].find(field => field.offsetParent)"
        self.wait(f"{found} !== undefined")
        self.evaluate(f"{found}.focus(), {found}.select()")
        self.call("Input.insertText", text=text)
        self.evaluate("document.activeElement.blur()")

    def choose_file(self, selector: str, path: Path) -> None:
        """Gives a file to an `<input type="file">`."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def screenshot(self, path: Path, whole: bool = True) -> None:
        picture = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(picture["data"]))

    def _read(self) -> dict[str, Any]:
        message = bytearray()
        while (byte := self._from.read(1)) != b"\0":
            if not byte:
                raise RuntimeError("the browser ended")
            message += byte
        return json.loads(message)

    def _note(self, event: dict[str, Any]) -> None:
        parameters = event.get("params", {})
        if event.get("method") == "Network.requestWillBeSent":
            self.requested.append(parameters["request"]["url"])
        if event.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(parameters["exceptionDetails"]["text"])
        if event.get("method") == "Runtime.consoleAPICalled" and parameters["type"] == "error":
            self.complaints.append(str([a.get("value") for a in parameters["args"]]))


@contextmanager
def chromium(executable: str, profile: Path) -> Iterator[Page]:
    """A browser with one tab, in an empty profile; ended at the end."""
    read_by_browser, to_browser = os.pipe()
    from_browser, written_by_browser = os.pipe()
    flags = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--autoplay-policy=document-user-activation-required",
        f"--user-data-dir={profile}",
        "--remote-debugging-pipe",
    ]
    # Chromium reads commands from descriptor 3 and answers on 4.
    pipes = f"3<&{read_by_browser} 4>&{written_by_browser}"
    browser = subprocess.Popen(
        ["bash", "-c", f"exec {shlex.join([executable, *flags])} {pipes}"],
        pass_fds=(read_by_browser, written_by_browser),
        stderr=subprocess.DEVNULL,
    )
    os.close(read_by_browser)
    os.close(written_by_browser)
    try:
        yield Page(to_browser, from_browser)
    finally:
        browser.terminate()
        browser.wait(30)
