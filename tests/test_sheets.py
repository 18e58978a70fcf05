"""Sheets for people: what goes out comes back, nothing in them is a formula, and nothing is taken for a verdict."""

import csv
import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instag_hf.errors import InputError
from instag_hf.quality import Case, Verdict, compare_raters, majority_verdicts, read_sheet, score, write_sheet
from instag_hf.quality.sheets import COLUMNS
from instag_hf.rows.cells import guard, unguard

HOSTILE = st.text(
    st.one_of(
        st.sampled_from("=+-@'\";,\t\r\n .12＝"), st.characters(exclude_categories=["Cs"], exclude_characters="\0")
    ),
    max_size=20,
)
CASE = st.builds(
    lambda task, subject, items, spoilt, rows: Case(
        task=task, subject=subject, items=tuple(items), replaced=(0,) if spoilt else (), rows=tuple(rows)
    ),
    st.sampled_from(["precision", "consistency"]),
    HOSTILE,
    st.lists(HOSTILE, min_size=1, max_size=6),
    st.booleans(),
    st.lists(st.integers(0, 10**9), max_size=3),
)
TAGGED = Case(task="precision", subject="Sum 1 and 2.", items=("math", "sums", "poetry"), replaced=(2,), rows=(7,))
OTHER = Case(task="consistency", subject="math", items=("Sum 1 and 2.", "Rhyme math."), rows=(7, 8))


def fill(path, answers, target=None, delimiter=",", encoding="utf-8-sig"):
    """Fill in a sheet as a spreadsheet would, and save it."""
    rows = list(csv.DictReader(io.StringIO(text_of(path), newline="")))
    for row, answer in zip(rows, answers, strict=True):
        row["wrong"] = answer
    target = target or path
    with target.open("w", encoding=encoding, newline="") as file:
        writer = csv.DictWriter(file, rows[0], delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return target


def text_of(path):
    return path.read_bytes().decode("utf-8-sig")


@pytest.fixture
def sheet(tmp_path):
    return write_sheet([TAGGED, OTHER], tmp_path / "sheet.csv")


@given(st.lists(CASE, max_size=5, unique_by=lambda case: case.id))
def test_what_is_written_is_read_exactly(tmp_path_factory, cases):
    path = tmp_path_factory.mktemp("sheet") / "sheet.csv"
    sheet = read_sheet(write_sheet(cases, path))
    assert list(sheet.cases) == cases
    assert sheet.verdicts == {case.id: Verdict(None, "blank: nobody filled it in") for case in cases}


@given(HOSTILE)
def test_the_guard_comes_off_exactly(text):
    assert unguard(guard(text)) == text


@given(st.lists(CASE, min_size=1, max_size=3, unique_by=lambda case: case.id), st.sampled_from(",;\t"))
def test_no_cell_is_a_formula_whatever_separates_cells(tmp_path_factory, cases, separator):
    """In another country a spreadsheet takes the semicolons inside a text for the ends of cells."""
    path = write_sheet(cases, tmp_path_factory.mktemp("sheet") / "sheet.csv")
    text = text_of(path)
    for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator):
        for cell in row:
            assert not re.match(r"\s*[=+\-@＝＋－＠]", cell), cell
    # … and whoever knows nothing of quotes sees none at the beginning of a line or after a semicolon either.
    assert not re.search(r"(?:^|[;\t\r\n])\s*[=+\-@＝＋－＠]", text)


@pytest.mark.parametrize(
    "formula", ["=1+1", '=HYPERLINK("http://x","y")', "@SUM(A1)", "+1", "-1", "\t=1", "a;=cmd|' /C calc'!A0", "＝1"]
)
def test_formulas_are_written_with_an_apostrophe(formula):
    assert re.fullmatch(r"(a;|\t)?'.*", guard(formula))
    assert guard("1 - 1 = 0, or a+b") == "1 - 1 = 0, or a+b"


def test_a_sheet_is_plain_to_people_and_hides_what_is_a_control(sheet):
    rows = list(csv.DictReader(io.StringIO(text_of(sheet), newline="")))
    assert list(rows[0]) == list(COLUMNS)
    assert rows[0]["subject"] == "Sum 1 and 2."
    assert rows[0]["items"] == "1. math\n2. sums\n3. poetry"
    assert rows[0]["wrong"] == ""
    assert rows[0]["question"].endswith("Write their numbers with spaces between, or none.")
    assert "replaced" not in text_of(sheet)
    assert sheet.read_bytes().startswith(b"\xef\xbb\xbf")


@pytest.mark.parametrize(
    ("answer", "wrong"),
    [
        pytest.param("none", (), id="none"),
        pytest.param(" None ", (), id="capital"),
        pytest.param("3", (2,), id="one"),
        pytest.param("3 1", (0, 2), id="spaces"),
        pytest.param("1, 3", (0, 2), id="commas"),
        pytest.param("1;3;", (0, 2), id="semicolons"),
        pytest.param("2 2", (1,), id="twice"),
    ],
)
def test_verdicts_are_read_as_people_write_them(sheet, answer, wrong):
    assert read_sheet(fill(sheet, [answer, "none"])).verdicts[TAGGED.id] == Verdict(wrong)


@pytest.mark.parametrize("answer", ["0", "4", "13", "-1", "1.5", "all", "x", "1-3", "½", "none 1", ",", "9" * 5000])
def test_what_is_no_verdict_is_refused_with_its_place(sheet, answer):
    with pytest.raises(
        InputError, match=r'sheet sheet.csv, row 3: expected "none" or numbers from 1 to 2 under "wrong"'
    ):
        read_sheet(fill(sheet, ["none", answer]))


def test_a_sheet_of_another_country_or_with_more_columns_is_read(sheet, tmp_path):
    for separator in ";\t":
        other = fill(sheet, ["3", ""], tmp_path / "other.csv", delimiter=separator, encoding="utf-8")
        assert read_sheet(other).cases == (TAGGED, OTHER)
        assert read_sheet(other).verdicts[TAGGED.id] == Verdict((2,))
    rows = list(csv.DictReader(io.StringIO(text_of(sheet), newline="")))
    with (tmp_path / "more.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["note", *reversed(COLUMNS)])
        writer.writeheader()
        writer.writerows({**row, "note": "hm", "items": row["items"].replace("\n", "\r\n")} for row in rows[::-1])
    assert [case.id for case in read_sheet(tmp_path / "more.csv").cases] == [OTHER.id, TAGGED.id]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        pytest.param(
            lambda t: t.replace("poetry", "verse"), "row 2: expected the text of case .* Was a column edited", id="text"
        ),
        pytest.param(lambda t: t.replace("precision", "recall"), "row 2: expected a task of", id="task"),
        pytest.param(
            lambda t: t.replace(',"eyJ', ',"fyJ', 1), 'row 2: expected the column "key" as it was written', id="key"
        ),
        pytest.param(lambda t: t.replace('"wrong"', '"bad"'), 'expected the columns .* found \'"case"', id="columns"),
        pytest.param(lambda t: t + t.partition("\r\n")[2], "row 4: expected each case once, found", id="twice"),
        pytest.param(lambda t: t + '"abc","precision"\r\n', "row 4: expected the column", id="short row"),
        pytest.param(
            lambda t: t + '"' + "x" * 200_000 + '"\r\n', "expected CSV in sheet.csv, found in line", id="huge"
        ),
        pytest.param(lambda t: "", "expected the columns", id="empty"),
    ],
)
def test_a_spoilt_sheet_is_refused(sheet, spoil, message):
    sheet.write_text(spoil(text_of(sheet)), encoding="utf-8", newline="")
    with pytest.raises(InputError, match=message):
        read_sheet(sheet)


def test_rows_that_a_spreadsheet_left_empty_are_passed_over(sheet):
    filled = fill(sheet, ["none", "none"])
    filled.write_text(filled.read_text("utf-8-sig") + ",,,,\n,,,,\n", "utf-8-sig")
    assert len(read_sheet(filled).cases) == 2


def test_files_that_are_no_sheets_are_refused(tmp_path):
    with pytest.raises(InputError, match="expected a CSV file in UTF-8 at .*nothing.csv"):
        read_sheet(tmp_path / "nothing.csv")
    (tmp_path / "latin.csv").write_bytes("é".encode("latin-1"))
    with pytest.raises(InputError, match="expected a CSV file in UTF-8"):
        read_sheet(tmp_path / "latin.csv")


def test_a_sheet_with_work_in_it_is_not_replaced(sheet):
    with pytest.raises(InputError, match="is there already and may hold verdicts"):
        write_sheet([OTHER], sheet)
    assert read_sheet(write_sheet([OTHER], sheet, overwrite=True)).cases == (OTHER,)


def test_a_text_longer_than_a_cell_is_refused(tmp_path):
    case = Case(task="precision", subject="x", items=("y" * 40_000,))
    with pytest.raises(InputError, match="expected at most 32,767 characters in a cell, found 40,003 in case"):
        write_sheet([case], tmp_path / "sheet.csv")
    assert not (tmp_path / "sheet.csv").exists()


def test_several_people_become_one_and_agree_as_far_as_they_do(tmp_path):
    cases = [Case(task="precision", subject=f"query {n}", items=("a", "b")) for n in range(4)]
    blank = write_sheet(cases, tmp_path / "blank.csv")
    answers = [["none", "1", "none", ""], ["none", "1 2", "2", "none"], ["none", "2", "none", "1"]]
    raters = [read_sheet(fill(blank, some, tmp_path / f"{number}.csv")).verdicts for number, some in enumerate(answers)]
    people = majority_verdicts(cases, raters)
    assert [people[case.id].wrong for case in cases] == [(), (0, 1), (), None]
    assert people[cases[3].id].failure == "tie: 1 of 2 call it good"
    found = score(cases, people).precision
    assert (found.share, found.failed) == (2 / 3, {"tie": 1})
    agreed = compare_raters(cases, raters)["precision"]
    # Of 9 answers to the 3 whole cases 5 are good. Pairs agree in 7 of 9; by chance in (25 + 16) / 81.
    assert agreed.kappa == pytest.approx((7 / 9 - 41 / 81) / (1 - 41 / 81))
    assert (agreed.raters, agreed.cases, agreed.left_out, agreed.unanimous) == (3, 3, 1, 2 / 3)
    # A judge who says as the first person did: of 3 cases both call 1 bad, so they agree fully.
    assert compare_raters(cases, [people, raters[0]])["precision"].kappa == 1.0
    assert compare_raters(cases, raters)["consistency"] == (3, 0, 0, None, None)


def test_one_rater_cannot_be_compared():
    with pytest.raises(InputError, match="expected two raters or more to compare, found 1"):
        compare_raters([TAGGED], [{}])
    with pytest.raises(InputError, match="expected verdicts of one rater at least, found none"):
        majority_verdicts([TAGGED], [])
