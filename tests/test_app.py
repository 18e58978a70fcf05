"""The explorer: what is behind the page, and the page itself in a browser, with a dataset that means harm."""

import contextlib
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from browser import chromium
from conftest import ROOT
from datasets import Audio, Dataset, Features, Image, List, Value

from instag_hf.app import answers
from instag_hf.app.shelf import MOST_KEPT, Shelf
from instag_hf.engines import embedded
from instag_hf.errors import InputError
from instag_hf.normalizer import TagNormalizer
from instag_hf.pipeline import load_public

IMAGE = '<img src=x onerror="document.title=1;alert(1)">'
LINK = "[click](javascript:alert(1)) ![](http://127.0.0.1:9/seen)"
FORMULA = "${alert(1)} {{ 7 * 7 }} `x`"
EVIL = [IMAGE, LINK, FORMULA]
ROWS = [
    {
        "instruction": f"Query {n}. {EVIL[n % 3]}",
        "instag_tags": ["sums", EVIL[n % 3]] if n % 2 else ["sums", "rhymes"],
        "instag_error": "",
        "instag_tagger": IMAGE,
    }
    for n in range(45)
]
ROWS.append({"instruction": "lost", "instag_tags": [], "instag_error": f"parse: {IMAGE}", "instag_tagger": IMAGE})


@pytest.fixture
def shelf():
    made = Shelf()
    yield made
    made.scratch.cleanup()


@pytest.fixture
def key(shelf):
    return shelf.put(Dataset.from_list(ROWS), "ours").key


@contextlib.contextmanager
def serving(folder, *words, lines=None, program=("-c", "from instag_hf.cli import main; main()", "app")):
    """Run the page in a process of its own; gives its address."""
    if lines is not None:
        (folder / "tagged.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
    with (folder / "said.txt").open("w+") as said:
        process = subprocess.Popen(
            [sys.executable, *program, *words],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            env={**os.environ, "GRADIO_TEMP_DIR": str(folder / "gradio")},
        )
        try:
            address = process.stdout.readline().strip()
            said.seek(0)
            assert address.startswith("http://127.0.0.1:"), said.read()
            yield address
        finally:
            process.terminate()
            process.communicate()


def naming_files(path, folder):
    """A file as a visitor may upload it: cells of pictures and sounds that name a file, or an address."""
    kinds = Features({"image": Image(), "sound": Audio()})
    cell = {"bytes": None, "path": path}
    rows = {
        "messages": [[{"role": "user", "content": "Hi", "image": cell}]] * 2,
        "image": [cell] * 2,
        "sound": [cell] * 2,
        "instag_tags": [["greeting"], ["rhymes"]],
    }
    turns = List({"role": Value("string"), "content": Value("string"), "image": Image()})
    features = Features({"messages": turns, **kinds, "instag_tags": List(Value("string"))})
    pq.write_table(pa.table(rows, schema=features.arrow_schema), folder / "upload.parquet")
    return str(folder / "upload.parquet")


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("app"), "tagged.jsonl", "--port", "0", lines=ROWS) as found:
        yield found


def read(request):
    with urllib.request.urlopen(request) as told:
        return told.read().decode()


def ask(address, name, *data):
    """Ask as a stranger would who writes requests by hand; returns the kind of the answer and its text."""
    request = urllib.request.Request(
        f"{address}gradio_api/call/{name}",
        json.dumps({"data": data}).encode(),
        {"Content-Type": "application/json"},
    )
    event = json.loads(read(request))["event_id"]
    told = read(f"{address}gradio_api/call/{name}/{event}")
    return told.partition("\n")[0].removeprefix("event: "), told


def test_rows_of_a_tag_are_those_that_a_recount_finds(shelf, key):
    found = answers.browse(shelf, key, "sums", 3)
    assert (found.told, found.page) == ("45 rows have the tag 'sums'; page 3 of 3", 3)
    assert [row[0] for row in found.rows] == [40, 41, 42, 43, 44]
    assert found.rows[0] == [40, f"Query 40. {LINK}", "sums; rhymes"]
    recount = {tag: sum(tag in row["instag_tags"] for row in ROWS) for tag in [*EVIL, "rhymes"]}
    assert dict(map(tuple, found.near)) == recount
    assert answers.browse(shelf, key, "sums", 99).page == 3
    assert answers.browse(shelf, key, "no such", 1).told == "No row has the tag 'no such'."
    assert answers.search(shelf, key, "RHY") == [["rhymes", 23]]
    assert [tag for tag, _ in answers.search(shelf, key, "")][:2] == ["sums", "rhymes"]


def test_facts_count_failures_and_name_the_tagger(shelf, key):
    facts = dict(map(tuple, answers.facts(shelf.get(key))))
    assert facts["failed"] == "1 (1 parse)"
    assert facts["rows"] == "46"
    assert facts["tagged by"] == IMAGE


def test_a_selection_is_that_of_select_and_its_files_hold_it(shelf, key):
    from instag_hf import select

    found = answers.select(shelf, key, "complexity-first", 5, 42)
    wanted = select(Dataset.from_list(ROWS), 5, column="instag_tags")
    assert [row[1] for row in found.rows] == wanted["instruction"][:]
    assert [line[0] for line in found.figures] == ["complexity-first", "random", "longest", "all rows"]
    for path, kind in zip(found.files, ("parquet", "json"), strict=True):
        written = Dataset.from_parquet(str(path)) if kind == "parquet" else Dataset.from_json(str(path))
        assert written["instruction"][:] == wanted["instruction"][:]
        assert "instag_gain" in written.column_names
    with pytest.raises(InputError, match="whole number from 1 on"):
        answers.select(shelf, key, "complexity-first", 0, 42)


def test_figures_of_drawn_rows_are_of_the_rows_that_are_shown(shelf):
    rows = [{"instruction": "x" * (n + 1), "instag_tags": [f"t{n}"]} for n in range(40)]
    found = answers.select(shelf, shelf.put(Dataset.from_list(rows), "ours").key, "random", 1, 3)
    assert found.figures[0][-1] == str(len(found.rows[0][1]))


def test_files_of_old_selections_go(shelf, key, monkeypatch):
    monkeypatch.setattr(answers, "MOST_FILES", 2)
    for n in (1, 2, 3):
        answers.select(shelf, key, "random", n, 0)
    assert len(list(shelf.folder.iterdir())) == 2


def test_visitors_who_choose_at_once_do_not_meet_in_the_files(shelf, key, monkeypatch):
    monkeypatch.setattr(answers, "MOST_FILES", 1)
    with ThreadPoolExecutor(8) as visitors:
        found = list(visitors.map(lambda n: answers.select(shelf, key, "random", 1 + n % 9, 0), range(36)))
    assert [len(each.rows) for each in found] == [1 + n % 9 for n in range(36)]
    assert len(list(shelf.folder.iterdir())) == 1


def test_a_normalizer_is_used_for_rows_and_typed_coverage():
    normalizer = TagNormalizer.fit([["sums"]] * 3 + [["rhymes"]], min_count=1, steps=["frequency"])
    shelf = Shelf(normalizer=normalizer)
    found = shelf.put(Dataset.from_list(ROWS), "ours").tagged
    assert found.report.column == "instag_normalized"
    assert found.report.vocabulary == 2
    assert found.report.total.tags == 2
    shelf.scratch.cleanup()


def test_the_same_dataset_is_read_once_and_old_ones_go(shelf):
    ours = Dataset.from_list(ROWS)
    first = shelf.put(ours, "ours", keep=True)
    assert shelf.put(ours, "again") is first
    others = [shelf.put(Dataset.from_list(ROWS[: n + 1]), str(n)).key for n in range(MOST_KEPT + 1)]
    assert shelf.get(first.key) is first
    with pytest.raises(InputError, match="found none any more. Open it again."):
        shelf.get(others[0])
    assert shelf.get(others[-1]).name == str(MOST_KEPT)


def test_conversations_of_which_the_last_turn_was_tagged_are_read_as_told(shelf):
    talk = [{"role": "user", "content": text} for text in ("Hi.", "Count to 3.")]
    rows = Dataset.from_list([{"messages": talk, "instag_tags": ["counting"], "instag_turns": [1]}] * 3)
    with pytest.raises(InputError, match="Say which turns were tagged"):
        shelf.put(rows, "ours")
    assert shelf.put(rows, "ours", turns="last").tagged.report.total.rows == 3


def test_what_is_not_tagged_is_said_to_be_so(shelf):
    key = shelf.put(Dataset.from_list([{"instruction": "Say hi."}]), "bare").key
    assert answers.facts(shelf.get(key))[-1] == ["tags", "none: it is not tagged"]
    with pytest.raises(InputError, match="expected tagged rows, found bare without tags"):
        answers.browse(shelf, key, "sums", 1)
    with pytest.raises(InputError, match="expected 1 to 1,000 rows to tag, found 1,001"):
        answers.tag_rows(shelf, key, 1001, print)


@pytest.mark.parametrize("path", ["/gone/x.png", "http://127.0.0.1:9/x.png"])
def test_nothing_that_a_row_names_is_opened_or_asked_for(path, shelf, tmp_path):
    key = answers.open_dataset(shelf, "", uploaded=naming_files(path, tmp_path)).key
    assert answers.browse(shelf, key, "greeting", 1).rows == [[0, "Hi", "greeting"]]
    chosen = answers.select(shelf, key, "random", 2, 0)
    assert pq.read_table(chosen.files[0]).column("image").to_pylist() == [{"bytes": None, "path": path}] * 2


@pytest.mark.parametrize("source", ["/etc", "../etc", "a/../b", "tests/data", "json", "https://x.y/z", "a/b/c", "~/x"])
def test_a_stranger_names_no_file(source, shelf, tmp_path, monkeypatch):
    (tmp_path / "tests" / "data").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="expected the id of a dataset on the Hub, such as owner/name"):
        answers.open_dataset(shelf, source)


def test_a_stranger_reads_only_what_is_public(local_hub, shelf, monkeypatch):
    lines = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    local_hub.add("me/shown-to-all", {"train.jsonl": lines})
    local_hub.add("me/shown-to-none", {"train.jsonl": lines}, private=True)
    assert len(answers.open_dataset(shelf, "me/shown-to-all").dataset) == 46
    with pytest.raises(InputError, match="expected a public dataset on the Hub, found 'me/shown-to-none'"):
        answers.open_dataset(shelf, "me/shown-to-none")
    monkeypatch.setattr("instag_hf.pipeline.files.MOST_PUBLIC_BYTES", 10)
    with pytest.raises(InputError, match="at most 10 bytes"):
        load_public("me/shown-to-all")


def test_no_file_of_the_machine_is_served(address, tmp_path):
    for path in ("/etc/passwd", str(ROOT / "README.md"), "tagged.jsonl", "../app/__init__.py"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            read(f"{address}gradio_api/file={path}")
        refused.value.close()
        assert refused.value.code in {403, 404}
    for path in ("/etc/passwd", str(ROOT / "instag_hf" / "data" / "sample.jsonl")):
        uploaded = {"path": path, "meta": {"_type": "gradio.FileData"}}
        assert ask(address, "open", "", uploaded, "", "", "", "all")[0] == "error"


def test_an_error_is_shown_as_text(address):
    kind, told = ask(address, "open", IMAGE, None, "", "", "", "all")
    assert kind == "error"
    assert "&lt;img" in told
    assert "<img" not in told


def test_the_page_asks_nothing_of_any_network(address):
    text = read(address)
    assert "fonts.googleapis" not in text
    assert "cdnjs" not in text


def tab(page, name):
    page.click("button[role=tab]", name)


def value(name):
    return f"document.querySelector('#{name} textarea, #{name} input').value"


def shown(name):
    """What a table shows, as a reader sees it."""
    return f"[...document.querySelectorAll('#{name} [role=gridcell]')].map((each) => each.innerText.trim())"


@pytest.mark.slow
def test_type_click_read_and_download(address, tmp_path):
    with chromium() as browser, browser.page(height=2400) as page:
        page.open(address)
        page.wait(f"{shown('facts')}.includes('1 (1 parse)')")
        title = page.evaluate("document.title")
        tab(page, "Browse")
        page.wait(f"{shown('matches')}.includes('sums')")
        page.click("#find textarea, #find input")
        page.type("onerror")
        page.wait(f"{shown('matches')}.length == 2")
        page.click("#matches [role=gridcell] span", IMAGE)
        page.wait(f"{shown('rows')}.includes('sums; ' + {json.dumps(IMAGE)})")
        assert page.evaluate(value("tag")) == IMAGE
        assert page.evaluate("document.querySelectorAll('#rows img, #rows a, #matches img, #near a').length") == 0
        tab(page, "Report")
        page.wait("document.querySelectorAll('#pictures img').length > 2")
        assert "46" in page.evaluate(value("figures"))
        tab(page, "Select")
        page.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
        page.click("#select")
        page.wait(f"{shown('compared')}.includes('random')")
        for name, ending in (("parquet", ".parquet"), ("jsonl", ".jsonl")):
            page.wait(f"!document.querySelector('#{name}').disabled")
            page.click(f"#{name}")
            page.wait(lambda ending=ending: list(tmp_path.glob(f"*{ending}")), f"a {ending} file")
        page.settle()
        assert len(Dataset.from_parquet(str(next(tmp_path.glob("*.parquet"))))) == 45
        assert len(Dataset.from_json(str(next(tmp_path.glob("*.jsonl"))))) == 45
        assert page.evaluate("document.title") == title
        assert page.dialogs == []
        assert [each for each in page.requests if not each.startswith((address, "data:", "blob:", "about:"))] == []


@pytest.mark.slow
def test_an_error_is_read_and_does_nothing(address):
    with chromium() as browser, browser.page() as page:
        page.open(address)
        page.wait(f"{shown('facts')}.length > 0")
        page.click("#source textarea, #source input")
        page.type(IMAGE)
        page.click("#open")
        page.wait("document.body.innerText.includes('found \\'<img src=x onerror')")
        assert page.dialogs == []


@pytest.mark.slow
def test_the_embedded_tagger_answers_and_tags_rows(tmp_path):
    lines = [{"instruction": f"Write {n} lines about the sea."} for n in (2, 3, 4)]
    embedded.weights(embedded.MODEL)  # merged already, or the page would wait for it
    with (
        serving(tmp_path, "tagged.jsonl", "--port", "0", lines=lines) as address,
        chromium() as browser,
        browser.page(height=1600) as page,
    ):
        page.open(address)
        page.wait(f"{shown('facts')}.includes('none: it is not tagged')")
        page.wait("document.querySelector('#tag-rows')?.getClientRects().length")
        page.click("#tag-rows")
        page.wait(f"{shown('facts')}.some((each) => each.startsWith('the first 3 rows of'))", seconds=300)
        tab(page, "Tag")
        page.click("#query textarea")
        page.type("Write a haiku about rain.")
        page.click("#tag-query")
        page.wait(f"{value('said')}.includes('tags by')", seconds=300)
        page.wait(f"{shown('query-tags')}.filter(Boolean).length >= 2")


@pytest.mark.slow
def test_the_space_starts(tmp_path, local_hub):
    space = ROOT / "examples" / "space"
    name = "me/alpaca-instag"
    assert f'launch("{name}")' in (space / "app.py").read_text()
    local_hub.add(name, {"train.jsonl": "".join(json.dumps(row) + "\n" for row in ROWS).encode()})
    code = f"import runpy, instag_hf.app as app; real = app.launch\napp.launch = lambda *a: real(*a, port=0, on_start=lambda at: print(at, flush=True))\nrunpy.run_path({str(space / 'app.py')!r})"
    with serving(tmp_path, program=("-c", code)) as address:
        kind, told = ask(address, "facts")
    assert kind == "complete"
    assert "1 (1 parse)" in told
    assert (space / "requirements.txt").read_text().split() == ["instag-hf[app]"]
    assert "sdk: gradio" in (space / "README.md").read_text()
    assert Path(space / "app.py").read_text().count("\n") <= 6
