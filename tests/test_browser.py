"""The browser of the tests hears all that a page does, so that silence means something."""

import subprocess
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import browser
import pytest
from browser import PageError, chromium


@pytest.fixture(scope="module")
def chrome():
    with chromium() as found:
        yield found


@pytest.fixture
def show(chrome, tmp_path):
    """Open a page of this HTML."""
    opened = []

    def open_page(html):
        path = tmp_path / "page.html"
        path.write_text(f"<!doctype html><meta charset=utf-8>{html}")
        opened.append(chrome.page())
        page = opened[-1].__enter__()
        page.open(path)
        return page

    yield open_page
    for each in opened:
        each.__exit__(None, None, None)


class Quiet(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def test_requests_are_heard_those_of_scripts_too(show):
    with ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        page = show(f"<img src={address}/image><script>fetch('{address}/fetched').catch(() => 0)</script>")
        page.wait(lambda: {f"{address}/image", f"{address}/fetched"} <= set(page.requests), "both requests")
        server.shutdown()


def test_dialogs_are_heard_and_dismissed(show):
    page = show("<script>var answer = confirm('Really?')</script>")
    assert page.dialogs == ["Really?"]
    assert page.evaluate("answer") is False


@pytest.mark.parametrize(
    ("html", "heard"),
    [
        pytest.param("<script>console.error('console', 1)</script>", "console 1", id="console"),
        pytest.param("<script>missing()</script>", "missing is not defined", id="exception"),
        pytest.param("<script>Promise.reject(new Error('nobody caught me'))</script>", "nobody caught", id="promise"),
        pytest.param(
            "<meta http-equiv=Content-Security-Policy content=\"script-src 'none'\"><script>1</script>",
            "Content Security Policy",
            id="policy",
        ),
    ],
)
def test_complaints_are_heard(show, html, heard):
    page = show(html)
    page.wait(lambda: any(heard in complaint for complaint in page.complaints), heard)


def test_mouse_and_keys_do_what_they_do_for_people(show):
    page = show(
        "<input id=in oninput='out.textContent = this.value'><button onclick='out.textContent += 1'>Go</button><p id=out>"
    )
    page.click("#in")
    page.type("né <b>")
    page.press("Tab")
    page.press("Enter")
    page.click("button", "Go")
    assert page.texts("#out") == ["né <b>11"]


def test_what_nobody_could_click_is_not_clicked(show):
    page = show("<button hidden>Hidden</button><button>Under</button><div style='position: fixed; inset: 0'>Over</div>")
    with pytest.raises(PageError, match="is not shown"):
        page.click("button", "Hidden")
    with pytest.raises(PageError, match="covered by <div"):
        page.click("button", "Under")


def words_of(cmdline):
    try:
        return cmdline.read_bytes()
    except OSError:  # it ended while we looked
        return b""


def test_process_and_folder_are_gone_afterwards(monkeypatch):
    started = []
    popen = subprocess.Popen
    monkeypatch.setattr(
        browser.subprocess, "Popen", lambda *words, **how: started.append(popen(*words, **how)) or started[0]
    )
    with chromium() as found, found.page() as page:
        assert page.evaluate("1 + 1") == 2
        (process,) = started
        folder = Path(next(word for word in process.args if "user-data-dir" in word).partition("=")[2])
        assert folder.is_dir()
    assert process.returncode is not None
    assert not folder.exists()
    assert not [path for path in Path("/proc").glob("[0-9]*/cmdline") if str(folder).encode() in words_of(path)]


def test_no_browser_is_a_skip_that_says_so(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(pytest.skip.Exception, match="no browser found, none of chromium"), chromium():
        pass
