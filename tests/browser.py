"""A headless Chromium, driven through its DevTools protocol: open a page, use it as people do, hear all it says."""

import asyncio
import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import aiohttp
import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless=new --no-sandbox --remote-debugging-port=0 --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --disable-gpu --mute-audio --hide-scrollbars"
).split()
START_S, REPLY_S, END_S = 180, 180, 10  # for a busy machine; a page that works answers at once
KEYS = {
    "Enter": {"code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"},
    "Escape": {"code": "Escape", "windowsVirtualKeyCode": 27},
    "Tab": {"code": "Tab", "windowsVirtualKeyCode": 9},
    "ArrowDown": {"code": "ArrowDown", "windowsVirtualKeyCode": 40},
    "ArrowUp": {"code": "ArrowUp", "windowsVirtualKeyCode": 38},
}
# Where the middle of an element's first line is, or what covers it.
FIND = """(selector, text) => {
  const shown = [...document.querySelectorAll(selector)].filter((each) => each.getClientRects().length);
  const found = shown.find((each) => text === null || each.innerText.trim() === text);
  if (!found) return null;
  found.scrollIntoView({ block: "center" });
  const box = found.getClientRects()[0];
  const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
  const top = document.elementFromPoint(x, y);
  return found.contains(top) ? [x, y] : `covered by ${top?.outerHTML.slice(0, 80)}`;
}"""


class PageError(AssertionError):
    """The page threw, or what a test asked of it was not there."""


@contextlib.contextmanager
def chromium():
    """Run a browser; the process and its folder are gone afterwards. Skips where there is none."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"no browser found, none of {', '.join(NAMES)}")
    with tempfile.TemporaryDirectory(prefix="instag-browser-", ignore_cleanup_errors=True) as folder:
        process = subprocess.Popen(
            [program, *FLAGS, f"--user-data-dir={folder}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # so that what it starts ends with it
        )
        try:
            browser = Browser(_address(process, Path(folder) / "DevToolsActivePort"))
            try:
                yield browser
            finally:
                browser.close()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(END_S)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            until = time.monotonic() + END_S
            while _lives(process.pid) and time.monotonic() < until:  # they still write into the folder
                time.sleep(0.02)


def _lives(group):
    """Whether a process of a group is left that has not ended."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, its_group = stat.read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group and state not in "ZX":
                return True
    return False


def _address(process, port_file):
    until = time.monotonic() + START_S
    while time.monotonic() < until and process.poll() is None:
        lines = port_file.read_text().split() if port_file.exists() else []
        if len(lines) == 2:
            return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
        time.sleep(0.05)
    raise PageError(f"the browser did not come up; exit code {process.poll()}")


class Browser:
    """One connection to a browser; `page` opens a tab of its own, with cookies and storage of its own."""

    def __init__(self, address):
        self._loop = asyncio.new_event_loop()
        self._waiting, self._pages, self._number = {}, {}, 0
        self._run(self._connect(address))

    async def _connect(self, address):
        self._session = aiohttp.ClientSession()
        self._socket = await self._session.ws_connect(address, max_msg_size=0)
        self._reading = asyncio.ensure_future(self._read())

    async def _read(self):
        async for message in self._socket:
            told = message.json()
            if "id" in told:
                waiting = self._waiting.pop(told["id"], None)
                if waiting and not waiting.done():
                    waiting.set_result(told)
            elif page := self._pages.get(told.get("sessionId")):
                page._hear(told["method"], told["params"])

    def _run(self, work):
        return self._loop.run_until_complete(work)

    def _post(self, method, session=None, **params):
        """Send without waiting; returns the future of the answer."""
        self._number += 1
        self._waiting[self._number] = answer = self._loop.create_future()
        told = {"id": self._number, "method": method, "params": params} | ({"sessionId": session} if session else {})
        self._sending = asyncio.ensure_future(self._socket.send_json(told), loop=self._loop)
        return answer

    def call(self, method, session=None, **params):
        """Ask the browser for something, and return its answer."""

        async def ask():
            return await asyncio.wait_for(self._post(method, session, **params), REPLY_S)

        told = self._run(ask())
        if "error" in told:
            raise PageError(f"{method}: {told['error']['message']}")
        return told["result"]

    @contextlib.contextmanager
    def page(self, **viewport):
        """Open a tab; the arguments are those of `Page.view`."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._pages[session] = page = Page(self, session)
        try:
            for domain in ("Page", "Runtime", "Network", "Log"):
                page.call(f"{domain}.enable")
            page.view(**viewport)
            yield page
        finally:
            del self._pages[session]
            self.call("Target.disposeBrowserContext", browserContextId=context)

    def close(self):
        """End the browser, and the connection to it."""

        async def end():
            with contextlib.suppress(TimeoutError, ConnectionError):
                await asyncio.wait_for(self._post("Browser.close"), END_S)
            await self._socket.close()
            await self._reading
            await self._session.close()

        self._run(end())
        self._run(self._loop.shutdown_asyncgens())
        self._loop.close()


class Page:
    """A tab, and all that happened in it.

    Attributes:
        requests: Addresses that were asked for, the page's own too.
        dialogs: Messages of dialogs; each is dismissed.
        complaints: Errors and warnings on the console, uncaught exceptions, and what a policy of the page blocked.
    """

    def __init__(self, browser, session):
        self.browser, self.session = browser, session
        self.requests, self.dialogs, self.complaints = [], [], []
        self._loaded = False

    def call(self, method, **params):
        return self.browser.call(method, self.session, **params)

    def _hear(self, method, params):
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Network.webSocketCreated":
            self.requests.append(params["url"])
        elif method == "Page.javascriptDialogOpening":
            self.dialogs.append(params["message"])
            self.browser._post("Page.handleJavaScriptDialog", self.session, accept=False)
        elif method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.complaints.append(details.get("exception", {}).get("description") or details["text"])
        elif method == "Runtime.consoleAPICalled" and params["type"] in {"error", "warning", "assert"}:
            self.complaints.append(" ".join(str(each.get("value", each.get("description"))) for each in params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in {"error", "warning"}:
            self.complaints.append(params["entry"]["text"])
        elif method == "Page.loadEventFired":
            self._loaded = True

    def open(self, address):
        """Go to an address, or a file's, and wait until it is loaded."""
        address = address.absolute().as_uri() if isinstance(address, Path) else address
        self._loaded = False
        told = self.call("Page.navigate", url=address)
        if "errorText" in told:
            raise PageError(f"{address}: {told['errorText']}")
        if "loaderId" in told:  # else it is another place on the same page
            self.wait(lambda: self._loaded, f"{address} to load")

    def wait(self, holds, what="what a test waits for", *, seconds=REPLY_S):
        """Wait until a function, or an expression of the page's, is true."""
        until = time.monotonic() + seconds
        while not (holds() if callable(holds) else self.evaluate(holds)):
            if time.monotonic() > until:
                raise PageError(f"waited {seconds} s in vain for {what if callable(holds) else holds}")
            self.browser._run(asyncio.sleep(0.02))

    def settle(self, seconds=0.3):
        """Let what is under way arrive: requests and messages have no end that one could wait for."""
        self.browser._run(asyncio.sleep(seconds))

    def evaluate(self, expression):
        """Return the value of an expression, which may be a promise."""
        told = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in told:
            raise PageError(told["exceptionDetails"].get("exception", {}).get("description", expression))
        return told["result"].get("value")

    def texts(self, selector):
        """Return what elements show, as a reader sees it."""
        return self.evaluate(f"[...document.querySelectorAll({json.dumps(selector)})].map((each) => each.innerText)")

    def click(self, selector, text=None):
        """Press the mouse where the first such element is shown, or the first with exactly this text."""
        find = f"({FIND})({json.dumps(selector)}, {json.dumps(text)})"
        place, before = self.evaluate(find), ()
        while place != before:  # until what stands above it is all there
            self.settle(0.02)
            place, before = self.evaluate(find), place
        if not isinstance(place, list):
            raise PageError(f"{selector} {text or ''}: {place or 'is not shown'}")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1)

    def type(self, text):
        """Write where the focus is."""
        self.call("Input.insertText", text=text)

    def press(self, key):
        """Press a key: one of `KEYS`, or a character."""
        facts = KEYS.get(key, {"text": key})
        for kind in ("keyDown", "keyUp"):
            told = facts if kind == "keyDown" else {name: value for name, value in facts.items() if name != "text"}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, **told)

    def view(self, width=1280, height=900, *, dark=False, phone=False):
        """Show the page in a window of so many CSS pixels, in light or dark, or as a phone does."""
        scale = 2 if phone else 1
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=phone
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def screenshot(self, path, *, whole=False):
        """Save what is seen, or the whole page, as a PNG."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        Path(path).write_bytes(base64.b64decode(shot["data"]))
        return path
