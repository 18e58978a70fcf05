"""`instag quality` and `instag drift`, run as people run them."""

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from test_quality import topics
from test_stopping import hear_ctrl_c, wait_for

from instag_hf.quality import draw_cases, read_sheet
from instag_hf.replies import store
from instag_hf.testing import Rule, TaggingServer

INSTAG = Path(sys.executable).parent / "instag"


@pytest.fixture
def run(tmp_path, clean_home):
    """Run a command where `tagged.jsonl` is, against a stand-in judge."""
    topics(60).to_json(tmp_path / "tagged.jsonl")
    with TaggingServer() as server:

        def instag(*words):
            env = {**os.environ, "INSTAG_URL": server.url}
            return subprocess.run(
                [INSTAG, *map(str, words)], capture_output=True, text=True, cwd=tmp_path, env=env, check=False
            )

        instag.server = server
        instag.folder = tmp_path
        yield instag


DRAW = ("quality", "tagged.jsonl", "--n", 20, "--seed", 3, "--controls", "random")
ASK = ("--engine", "openai", "--model", "stand-in")


def answer(path, target, verdict):
    """Fill in a sheet: `verdict` tells the cell from a row."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows({**row, "wrong": verdict(row)} for row in rows)
    return target


def test_quality_tells_shares_controls_and_failures_to_people(run):
    run.server.rule(Rule(contains="Number 7:", reply="no \x1b[31m idea"))
    done = run(*DRAW, *ASK)
    assert done.returncode == 0, done.stderr
    assert "precision: 20 cases of 60 rows with tags, 20 controls" in done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("judge stand-in/judge-1#")
    shares = {line[2:26].strip(): line[26:34].strip() for line in lines[2:6]}
    assert shares == {
        "precision": "1.000",
        "precision, controls": "0.000",
        "consistency": "1.000",
        "consistency, controls": "0.000",
    }
    told = [line for line in lines if "no verdict" in line]
    assert told
    assert all("parse: expected one object" in line for line in told)
    assert "\x1b" not in done.stdout


def test_quality_as_json_has_the_same_each_time_and_every_verdict(run):
    run.server.rule(Rule(contains="Number 7:", reply=""))
    first, again = run(*DRAW, *ASK, "--json"), run(*DRAW, *ASK, "--json")
    assert first.stdout == again.stdout
    found = json.loads(first.stdout)
    assert found["judge"]["model"] == "stand-in"
    assert found["sample"]["settings"]["seed"] == 3
    quality = found["quality"]["judge"]
    assert quality["precision"]["share"] == 1.0
    assert quality["precision_control"]["share"] == 0.0
    failed = [case for case in found["cases"] if case["verdicts"]["judge"]["failure"]]
    assert failed
    assert len(failed) == sum(sum(outcome["failed"].values()) for outcome in quality.values())
    assert all(case["verdicts"]["judge"]["wrong"] is None for case in failed)
    assert len(found["cases"]) == sum(outcome["cases"] for outcome in quality.values())
    assert run.server.counts().repeated == 0


def test_people_fill_in_sheets_and_are_compared_with_the_judge(run):
    done = run(*DRAW, "--sheet", "cases.csv")
    assert (done.returncode, done.stdout) == (0, "cases.csv\n"), done.stderr
    assert run.server.counts().requests == 0
    sheet = run.folder / "cases.csv"
    truth = {case.id: " ".join(str(place + 1) for place in case.replaced) or "none" for case in read_sheet(sheet).cases}
    answer(sheet, run.folder / "ann.csv", lambda row: truth[row["case"]])
    answer(sheet, run.folder / "bob.csv", lambda row: truth[row["case"]])
    answer(sheet, run.folder / "eve.csv", lambda row: "none" if row["task"] == "precision" else "")
    sheets = [word for name in ("ann", "bob", "eve") for word in ("--from-sheet", f"{name}.csv")]
    alone = json.loads(run("quality", *sheets, "--json").stdout)
    assert alone["judge"] is alone["sample"] is None
    assert run.server.counts().requests == 0
    people = alone["quality"]["people"]
    assert (people["precision"]["share"], people["precision_control"]["share"]) == (1.0, 0.0)
    raters = alone["raters"]["people"]
    assert raters["consistency"]["kappa"] is None
    assert raters["consistency"]["left_out"] == 40
    # Fleiss by hand: 20 cases of (3, 0) and 20 of (1, 2): seen 2/3, chance (2/3)² + (1/3)² = 5/9.
    assert raters["precision"]["kappa"] == pytest.approx((2 / 3 - 5 / 9) / (1 - 5 / 9))
    both = run("quality", *sheets, *ASK)
    assert both.returncode == 0, both.stderr
    assert "agreement of people and judge on precision: kappa 1.000, unanimous 1.000 (2 raters, 40 cases" in both.stdout
    assert "agreement of people on consistency: kappa -, unanimous - (3 raters, 0 cases, 40 left out)" in both.stdout


def test_ctrl_c_says_how_to_go_on_and_loses_nothing(run):
    run.server.rule(Rule(contains="Number 7:", fault="slow"))
    cases = draw_cases(topics(60), 20, seed=3, controls="random").cases
    quick = [case for case in cases if "Number 7:" not in "".join((case.subject, *case.items))]
    assert 0 < len(quick) < len(cases)
    env = {**os.environ, "INSTAG_URL": run.server.url}
    words = [INSTAG, *map(str, DRAW), *ASK]
    with subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=run.folder,
        env=env,
        preexec_fn=hear_ctrl_c,
    ) as going:
        wait_for(lambda: len(store()) == len(quick))
        going.send_signal(signal.SIGINT)
        out, err = going.communicate()
    assert going.returncode == 130, err
    assert out == ""
    assert "run the same command again" in err
    assert "Traceback" not in err
    run.server.rule(Rule())
    done = run(*DRAW, *ASK)
    assert done.returncode == 0, done.stderr
    assert run.server.counts().repeated == 0
    assert len(store()) == len(cases)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        pytest.param(["quality"], 2, "expected either INPUT", id="nothing"),
        pytest.param(["quality", "tagged.jsonl", "--from-sheet", "a.csv"], 2, "expected either INPUT", id="both"),
        pytest.param([*DRAW, *ASK, "--sheet", "a.csv"], 2, "--sheet writes cases for people", id="sheet and judge"),
        pytest.param(
            [*DRAW, "--sheet", "tagged.jsonl"], 1, "sheet: tagged.jsonl is there already", id="sheet is there"
        ),
        pytest.param(["quality", "--from-sheet", "tagged.jsonl"], 1, "sheet: expected the columns", id="no sheet"),
        pytest.param(
            ["quality", *["--from-sheet", "tagged.jsonl"] * 2], 2, "found one of them twice", id="one person twice"
        ),
        pytest.param([*DRAW, "--engine", "openai"], 1, "needs the model's id. Give model= (--model)", id="no model"),
        pytest.param([*DRAW, "--tags", "labels", *ASK], 1, 'expected a column "labels"', id="no tags"),
    ],
)
def test_what_makes_no_sense_is_refused(run, words, code, message):
    done = run(*words)
    assert done.returncode == code
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert run.server.counts().answered == 0


def test_drift_tells_what_changed(run):
    topics(60).map(
        lambda row, at: {"instag_tags": ["new"] if at < 15 else row["instag_tags"]}, with_indices=True
    ).to_json(run.folder / "after.jsonl")
    done = run("drift", "tagged.jsonl", "after.jsonl", "--no-fuzzy")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("60 rows, 60 compared\nsame tags                  0.750 of the rows\n")
    assert "  gained  new                                            15 rows" in done.stdout
    found = json.loads(run("drift", "tagged.jsonl", "after.jsonl", "--no-fuzzy", "--json").stdout)
    assert (found["unchanged"], found["gained"]) == (0.75, [["new", 15]])
