"""A page in headless Chromium, driven over its DevTools protocol. Nothing is downloaded: no browser, no test."""

import base64
import itertools
import json
import shutil
import subprocess
import time
from contextlib import contextmanager

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
#: A busy machine starts a browser in half a minute.
PATIENCE = 120
KEYS = {"ArrowLeft": 37, "ArrowRight": 39, "Escape": 27, "Tab": 9, "+": 187, "-": 189}


class Browser:
    """One page.

    Attributes:
        errors: what the console showed as errors, exceptions included, and requests that were refused.
        requests: addresses the page asked for.
    """

    def __init__(self, connection):
        self.connection, self.numbers = connection, itertools.count(1)
        self.errors, self.requests = [], []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method, **params):
        number = next(self.numbers)
        self.connection.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            answer = self._receive()
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]

    def _receive(self):
        message = json.loads(self.connection.recv())
        match message.get("method"), message.get("params"):
            case "Runtime.exceptionThrown", params:
                self.errors.append(params["exceptionDetails"])
            case "Runtime.consoleAPICalled", {"type": "error" | "assert"} as params:
                self.errors.append(params["args"])
            case "Log.entryAdded", {"entry": {"level": "error"} as entry}:
                self.errors.append(entry)
            case "Network.requestWillBeSent", params:
                self.requests.append(params["request"]["url"])
        return message

    def open(self, url, width=1280, height=900, scheme="light"):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call("Page.navigate", url=url)
        self.until("document.readyState === 'complete'")

    def evaluate(self, expression):
        """The value of a JavaScript expression."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def until(self, expression):
        """Wait until an expression is true."""
        end = time.monotonic() + PATIENCE
        while not self.evaluate(expression):
            assert time.monotonic() < end, f"never true: {expression}"
            time.sleep(0.05)

    def press(self, key):
        text = key if len(key) == 1 else ""
        common = {"key": key, "windowsVirtualKeyCode": KEYS[key]}
        self.call("Input.dispatchKeyEvent", type="keyDown", **common, **({"text": text} if text else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def screenshot(self, path, whole=False):
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=whole)["data"]))

    def pdf(self):
        """The page as printed."""
        answer = self.call("Page.printToPDF", preferCSSPageSize=True, printBackground=False)
        return base64.b64decode(answer["data"])


@contextmanager
def browser(profile):
    """A page of a new browser whose profile is an empty folder; skips where there is no Chromium."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"none of {', '.join(NAMES)} is on PATH")
    # Imported late: without a browser nothing needs it.
    import websocket

    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
               "--hide-scrollbars", "--disable-background-networking", "--remote-debugging-port=0",
               "--remote-allow-origins=*", f"--user-data-dir={profile}", "about:blank"]  # fmt: skip
    process = subprocess.Popen([program, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        address = f"ws://127.0.0.1:{_port(profile, process)}"
        connection = websocket.create_connection(f"{address}/devtools/page/{_page(address)}", timeout=PATIENCE)
        try:
            yield Browser(connection)
        finally:
            connection.close()
    finally:
        process.terminate()
        process.wait(PATIENCE)


def _port(profile, process):
    end = time.monotonic() + PATIENCE
    while not (file := profile / "DevToolsActivePort").exists() or not file.read_text():
        assert process.poll() is None, "the browser ended at once"
        assert time.monotonic() < end, "the browser does not start"
        time.sleep(0.05)
    return int(file.read_text().split()[0])


def _page(address):
    from urllib.request import urlopen

    with urlopen(f"{address.replace('ws', 'http', 1)}/json/list", timeout=PATIENCE) as answer:
        return next(target["id"] for target in json.load(answer) if target["type"] == "page")
