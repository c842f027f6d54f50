"""Debian's Chromium, driven over its DevTools socket: open a page, see what it says on the console, how wide it is, how it looks."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

from tests import engines

FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--hide-scrollbars", "--remote-debugging-port=0")  # fmt: skip
LOUD = ("error", "warning")
NAVIGATED = "Inspected target navigated"
CODES = {"Enter": 13, "Escape": 27, " ": 32, "Tab": 9, "?": 191}


class Navigated(AssertionError):
    """The page went away before it could answer."""


class Page:
    """One tab."""

    def __init__(self, socket: ClientConnection, session: str) -> None:
        self._socket = socket
        self._session = session
        self._last = 0
        self.said: list[str] = []  # errors and warnings of the page
        self.requested: list[str] = []
        self.sent: list[str] = []  # the same, with their methods
        self.referrers: list[str] = []

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        self._last += 1
        self._socket.send(
            json.dumps({"id": self._last, "sessionId": self._session, "method": method, "params": params})
        )
        while True:
            message = self._received()
            if message.get("id") == self._last:
                if NAVIGATED in str(message.get("error")):
                    raise Navigated(message)
                assert "error" not in message, message
                return dict(message["result"])

    def open(self, url: str, *, width: int = 1280, scheme: str = "light") -> None:
        """Go there and wait until it is loaded."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call("Page.navigate", url=url)
        while self._received().get("method") != "Page.loadEventFired":
            pass

    def evaluate(self, expression: str, *, promise: bool = False) -> Any:
        done = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=promise)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def until(self, expression: str, timeout_s: float = 60) -> None:
        """Ask until it is true; through navigations too, which end what a page was asked."""
        ends_at = time.monotonic() + timeout_s
        while True:
            with suppress(Navigated):
                done = self.call("Runtime.evaluate", expression=f"Boolean({expression})", returnByValue=True)
                if done["result"].get("value") is True:
                    return
            if time.monotonic() > ends_at:
                shown = self.evaluate("[location.href, document.body?.innerText.slice(0, 2000)]")
                raise AssertionError(f"never: {expression}\n{self.said}\n{shown}")
            time.sleep(0.02)

    def press(self, key: str, *, held_ms: int = 0) -> None:
        """A key, as a person presses it."""
        code = CODES.get(key, ord(key.upper()) if len(key) == 1 else 0)
        text = {"Enter": "\r", " ": " "}.get(key, key if len(key) == 1 else "")
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, text=text, windowsVirtualKeyCode=code)
        if held_ms:
            self.evaluate(f"new Promise((done) => setTimeout(done, {held_ms}))", promise=True)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)

    def type(self, text: str) -> None:
        self.call("Input.insertText", text=text)

    def click(self, selector: str) -> None:
        """In the middle of it, as a hand does: what lies over it is what is hit."""
        self.pressed(selector)()

    def pressed(self, selector: str) -> Callable[[], None]:
        """The button of the mouse goes down there; what is returned lets it go."""
        self.until(f"document.querySelector({json.dumps(selector)})")
        place = self.evaluate(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.scrollIntoView({{block: 'center'}});"
            " const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )

        def mouse(type: str) -> None:
            self.call("Input.dispatchMouseEvent", type=type, x=place[0], y=place[1], button="left", clickCount=1)

        mouse("mousePressed")
        return lambda: mouse("mouseReleased")

    def pass_s(self, seconds: int) -> None:
        """So much of the page's own time goes by, in less of ours: its timers run, its clock moves."""
        self.call("Emulation.setVirtualTimePolicy", policy="advance", budget=seconds * 1_000)
        while self._received().get("method") != "Emulation.virtualTimeBudgetExpired":
            pass

    def scripts(self, on: bool) -> None:
        self.call("Emulation.setScriptExecutionDisabled", value=not on)

    def screenshot(self, name: str, *, whole: bool = False) -> None:
        """For people to look at, in the folder that CRETO_SHOTS names."""
        folder = os.environ.get("CRETO_SHOTS")
        if not folder:
            return
        more: dict[str, Any] = {}
        if whole:
            size = self.call("Page.getLayoutMetrics")["cssContentSize"]
            more["clip"] = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        data = self.call("Page.captureScreenshot", captureBeyondViewport=True, **more)["data"]
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / name).write_bytes(base64.b64decode(data))

    def _received(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self._socket.recv(timeout=60))
        params = message.get("params", {})
        if message.get("method") == "Log.entryAdded" and params["entry"]["level"] in LOUD:
            self.said.append(params["entry"]["text"])
        if message.get("method") == "Runtime.exceptionThrown":
            self.said.append(str(params["exceptionDetails"]))
        if message.get("method") == "Network.requestWillBeSent":
            self.requested.append(params["request"]["url"])
            self.sent.append(f"{params['request']['method']} {params['request']['url']}")
            self.referrers.append(params["request"]["headers"].get("Referer", ""))
        return message


@contextmanager
def browser() -> Iterator[Page]:
    program = shutil.which("chromium")
    if program is None:
        engines.missing("chromium")
    assert program is not None
    home = Path(tempfile.mkdtemp(prefix="creto-chromium-"))
    process = subprocess.Popen(
        [program, *FLAGS, f"--user-data-dir={home}", "about:blank"], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    try:
        assert process.stderr is not None
        line = next(line for line in process.stderr if b"DevTools listening on " in line)
        with connect(line.split()[-1].decode(), max_size=None) as socket:
            page = opened(socket)
            for domain in ("Page", "Log", "Runtime", "Network"):
                page.call(f"{domain}.enable")
            yield page
    finally:
        engines.stop(process)
        if process.stderr is not None:
            process.stderr.close()
        shutil.rmtree(home, ignore_errors=True)


def opened(socket: ClientConnection) -> Page:
    def asked(id: int, method: str, **params: Any) -> dict[str, Any]:
        socket.send(json.dumps({"id": id, "method": method, "params": params}))
        while True:
            message: dict[str, Any] = json.loads(socket.recv(timeout=30))
            if message.get("id") == id:
                return dict(message["result"])

    target = asked(-1, "Target.createTarget", url="about:blank")["targetId"]
    return Page(socket, asked(-2, "Target.attachToTarget", targetId=target, flatten=True)["sessionId"])
