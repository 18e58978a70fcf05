"""MT-Bench: what is asked is exact, what is read is strict, and what fails is counted and in no mean."""

import json
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from small_bench import QUESTIONS, judgment_rows, write_bench, write_lines

from instag_hf.cli import cli
from instag_hf.engines.embedded import find_base
from instag_hf.errors import EngineError, InputError, ReplyError
from instag_hf.mtbench import (
    Answer,
    ChatModel,
    Judgment,
    Scores,
    answer,
    evaluate,
    judge,
    read_answers,
    read_bench,
    read_judgments,
    read_rating,
    score,
    write_answers,
    write_judgments,
)
from instag_hf.mtbench.answers import sampling_of
from instag_hf.testing import Rule, TaggingServer

INSTAG = Path(sys.executable).parent / "instag"
TURNS = [(row["question_id"], turn) for turn in (1, 2) for row in QUESTIONS]


@pytest.fixture(scope="session")
def bench(tmp_path_factory):
    return read_bench(write_bench(tmp_path_factory.mktemp("bench")))


@pytest.fixture(scope="session")
def official(shared_data):
    return read_bench(shared_data / "mt_bench")


@pytest.fixture
def server(clean_home, monkeypatch):
    with TaggingServer() as running:
        monkeypatch.setenv("INSTAG_URL", running.url)
        monkeypatch.setattr("instag_hf.engines._delay_s", lambda tries, asked_s: 0.01)
        yield running


@pytest.fixture
def model(server):
    return ChatModel(engine="openai", model="stand-in")


def answered(bench):
    return {question.id: Answer(tuple(f"{turn} - sure" for turn in question.turns)) for question in bench.questions}


def judged(scores, told=1):
    return [Judgment(question, turn, told, rating) for (question, turn), rating in scores.items()]


# Reading ratings


@pytest.mark.parametrize(
    ("reply", "rating"),
    [
        pytest.param("Good. Rating: [[7]]", 7.0, id="plain"),
        pytest.param("[[7.5]]", 7.5, id="a half"),
        pytest.param("[[10]]", 10.0, id="highest"),
        pytest.param("[[1]]", 1.0, id="lowest"),
        pytest.param("Rating: [[7]], or perhaps [[3]]", 7.0, id="the first counts, as in FastChat"),
        pytest.param("I cite [1]. Rating: [[8]]", 8.0, id="single brackets are no rating"),
        pytest.param("<think>maybe [[3]]</think>Rating: [[8]]", 8.0, id="thoughts do not count"),
        pytest.param("[[rating]] is asked for; [[4]]", 4.0, id="the format itself is no number"),
    ],
)
def test_a_rating_is_the_first_number_in_double_brackets(reply, rating):
    assert read_rating(reply) == rating


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        pytest.param("[[11]]", "range", id="too high"),
        pytest.param("[[0]]", "range", id="too low"),
        pytest.param("[[" + "9" * 400 + "]]", "range", id="infinite"),
        pytest.param("[[0]] no, [[5]]", "range", id="the first counts, whatever it is"),
        pytest.param("I cite [1] and give 8", "parse", id="single brackets, which FastChat would take for a 1"),
        pytest.param("Rating: 8", "parse", id="no brackets"),
        pytest.param("[[8/10]]", "parse", id="a fraction"),
        pytest.param("[[-5]]", "parse", id="negative"),
        pytest.param("[[ 8 ]]", "parse", id="blanks"),
        pytest.param("[[٨]]", "parse", id="digits of another script"),
        pytest.param("[[eight]]", "parse", id="a word"),
        pytest.param("$ERROR$", "reply", id="FastChat's error"),
        pytest.param("", "reply", id="empty"),
        pytest.param(" \n", "reply", id="blank"),
        pytest.param("<think>[[9]] fits</think>", "reply", id="thoughts alone"),
        pytest.param("<think>[[9]] fits, or", "parse", id="thoughts without an end"),
    ],
)
def test_what_is_no_rating_is_a_failure_with_its_kind(reply, kind):
    with pytest.raises(ReplyError) as error:
        read_rating(reply)
    assert error.value.kind == kind


def test_a_cut_reply_counts_only_if_its_rating_came_before_the_cut():
    assert read_rating("[[6]], because", cut=True) == 6.0
    for text in ("The answer is", "", "<think>[[9]]"):
        with pytest.raises(ReplyError) as error:
            read_rating(text, cut=True)
        assert error.value.kind == "truncated"


@given(st.text(alphabet="[]0123456789. \nratingé", max_size=40))
def test_whatever_a_judge_says_is_a_rating_in_range_or_a_failure(reply):
    try:
        rating, kind = read_rating(reply), ""
    except ReplyError as error:
        rating, kind = None, error.kind
    assert kind in {"reply", "parse", "range"} if rating is None else 1 <= rating <= 10


# What is asked


def test_judge_prompts_are_exact_against_the_official_file(official, shared_data):
    def rows(name):
        return [json.loads(line) for line in (shared_data / "mt_bench" / name).read_text().splitlines()]

    prompts = {row["name"]: row for row in rows("judge_prompts.jsonl")}
    references = {row["question_id"]: row["choices"][0]["turns"] for row in rows("reference_answer_gpt-4.jsonl")}
    used = Counter()
    for row in rows("question.jsonl"):
        (question,) = (one for one in official.questions if one.id == row["question_id"])
        answers = (f"first {{question}} of {question.id}", "second {answer_1}\\n")
        hard = row["category"] in ("math", "reasoning", "coding")
        told = dict(zip(("ref_answer_1", "ref_answer_2"), references[question.id], strict=True)) if hard else {}
        for turn, name in enumerate(["single-math-v1" if hard else "single-v1"] * 2, 1):
            name += "-multi-turn" * (turn == 2)
            fields = {"question": row["turns"][0], "answer": answers[0]}
            fields |= {"question_1": row["turns"][0], "question_2": row["turns"][1]}
            fields |= {"answer_1": answers[0], "answer_2": answers[1]}
            expected = prompts[name]["prompt_template"].format(**fields, **told)
            assert official.ask_judge(question, turn, answers) == (prompts[name]["system_prompt"], expected)
            used[name] += 1
    assert used == {
        "single-v1": 50,
        "single-math-v1": 30,
        "single-v1-multi-turn": 50,
        "single-math-v1-multi-turn": 30,
    }


def test_the_second_turn_shows_the_first_exchange_and_both_references(bench):
    code = bench.questions[2]
    assert bench.ask_judge(code, 2, ("one {answer_2}", "two")) == (
        "Rate.",
        "R1 print(x)\nR2 print(x, x)\nQ1 Print {x} in Python.\nA1 one {answer_2}\nQ2 Print it twice.\nA2 two",
    )


@pytest.mark.parametrize(
    ("category", "temperature"),
    [
        *((name, 0.0) for name in ("extraction", "math", "coding", "reasoning")),
        *((name, 0.1) for name in ("stem", "humanities")),
        *((name, 0.7) for name in ("writing", "roleplay", "a new one")),
    ],
)
def test_answers_are_drawn_at_the_official_temperature(category, temperature):
    sampling = sampling_of(category)
    assert (sampling.temperature, sampling.max_tokens) == (temperature, 1024)
    assert (sampling.seed is None) == (temperature == 0)


def test_the_second_question_is_asked_with_the_first_exchange(bench, server, model):
    server.rule(Rule(contains="Greet the sun.", reply=" Hello, sun! "))
    server.rule(Rule(contains="Greet the sun.\nHello, sun!\nNow greet the moon.", reply="Hello, moon!"))
    assert answer(bench, model)[1] == Answer(("Hello, sun!", "Hello, moon!"))


# End to end, with a judge whose ratings are known


def scripted(server, ratings):
    """Let the stand-in judge rate: turn 2 shows "A2", and a question is known by its first turn's text."""
    for (ident, turn), reply in ratings.items():
        asked = QUESTIONS[ident - 1]["turns"][0]
        server.rule(Rule(contains=f"Q {asked}" if turn == 1 else f"Q1 {asked}", reply=reply))


RATINGS = {
    **{(1, 1): "[[8]]", (2, 1): "[[4]]", (3, 1): "[[2.5]]", (4, 1): "[[9]]"},
    **{(1, 2): "[[6]]", (2, 2): "[[2]]", (3, 2): "[[3.5]]", (4, 2): "[[7]]"},
}


def test_a_judge_whose_ratings_are_known_gives_the_known_scores(bench, server, model):
    scripted(server, RATINGS)
    scores = evaluate(bench, model, by=model)
    # (8 + 4 + 2.5 + 9) / 4 and (6 + 2 + 3.5 + 7) / 4; the judge says the same in all three rounds
    assert (scores.first_turn, scores.second_turn) == (5.875, 4.625)
    assert (scores.mean, scores.sd) == (5.25, 0.0)
    assert scores.categories == {"writing": 7.0, "math": 3.0, "coding": 3.0, "stem": 8.0}
    assert scores.without_code_and_math == 7.5
    assert (scores.judged, scores.failed) == (24, {})
    assert server.counts().answered == 8 + 3 * 8  # every round is asked for itself
    asked = server.counts().requests
    assert evaluate(bench, model, by=model) == scores
    assert server.counts().requests == asked


def test_rounds_have_a_mean_and_a_population_deviation(bench):
    rounds = [dict.fromkeys(TURNS, rating) for rating in (5, 6, 8)]
    found = [one for told, ratings in enumerate(rounds, 1) for one in judged(ratings, told)]
    scores = score(bench, found, model="m", judge="j")
    assert scores.mean == pytest.approx(19 / 3)
    assert scores.sd == pytest.approx(((16 + 1 + 25) / 27) ** 0.5)  # deviations -4/3, -1/3, 5/3
    assert score(bench, found[:8], model="m", judge="j").sd is None
    assert Scores.from_dict(json.loads(json.dumps(scores.to_dict()))) == scores


def test_failures_of_the_judge_are_counted_by_kind_and_in_no_mean(bench, server, model):
    scripted(server, RATINGS | {(1, 1): "[[11]]", (2, 1): "I cite [1] and give 8", (3, 2): ""})
    judgments = judge(bench, answered(bench), model, rounds=1)
    with pytest.raises(InputError, match=r"found 3 of 8 missing \(1 range, 1 parse, 1 reply\).*--allow-failed"):
        score(bench, judgments, model="m", judge="j")
    scores = score(bench, judgments, model="m", judge="j", allow_failed=True)
    assert scores.failed == {"range": 1, "parse": 1, "reply": 1}
    assert scores.mean == pytest.approx((2.5 + 9 + 6 + 2 + 7) / 5)
    assert scores.categories == {"writing": 6.0, "math": 2.0, "coding": 2.5, "stem": 8.0}


def test_a_category_without_any_rating_has_no_mean(bench):
    found = judged({place: 5 for place in TURNS if place[0] != 4})
    scores = score(bench, found, model="m", judge="j", allow_failed=True)
    assert scores.categories["stem"] is None
    assert scores.without_code_and_math is None
    assert scores.failed == {"missing": 2}


def test_a_turn_that_the_model_did_not_answer_is_not_judged(bench, server, model):
    server.rule(Rule(contains="What is 6 times 7?", status=422))
    answers = answer(bench, model)
    assert answers[2].turns == ()
    assert answers[2].failure.startswith("refused: turn 1: ")
    scripted(server, RATINGS)
    asked = server.counts().requests
    scores = score(bench, judge(bench, answers, model, rounds=1), model="m", judge="j", allow_failed=True)
    assert server.counts().requests == asked + 6
    assert scores.failed == {"refused": 2}


def test_an_empty_answer_is_judged_as_it_is(bench, server, model):
    server.rule(Rule(contains="Greet the sun.", reply=""))
    answers = answer(bench, model)
    assert answers[1] == Answer(("", ""))
    server.rule(Rule(contains="Q Greet the sun.\nA ", reply="Nothing was said. [[1]]"))
    found = judge(bench, answers, model, rounds=1)
    assert found[0] == Judgment(1, 1, 1, 1.0, "", "Nothing was said. [[1]]")


def test_a_model_that_does_not_judge_stops_the_run(official, server, model, monkeypatch):
    monkeypatch.setenv("INSTAG_CONCURRENCY", "40")
    server.rule(Rule(reply="I am a poet."))
    with pytest.raises(EngineError, match="judge stand-in: .* of the last 80 replies failed"):
        judge(official, answered(official), model)
    assert server.counts().requests < 480


# The paper's table 8

TABLE_8 = {  # coding, extraction, humanities, math, reasoning, roleplay, stem, writing; all; without coding and math
    "gpt-4": (8.55, 9.38, 9.95, 6.8, 9.0, 8.9, 9.7, 9.65, 8.99, 9.43),
    "gpt-3.5-turbo": (6.9, 8.85, 9.55, 6.3, 5.65, 8.4, 8.7, 9.2, 7.94, 8.39),
    "claude-v1": (6.25, 8.8, 9.7, 4.8, 5.95, 8.5, 9.7, 9.5, 7.9, 8.69),
    "Llama-2-13b-chat": (3.0, 6.92, 9.75, 3.45, 5.1, 7.5, 8.62, 8.85, 6.65, 7.79),
    "TagLM-13b-v2.0 (1)": (3.75, 6.5, 9.55, 2.1, 5.3, 7.95, 8.5, 8.75, 6.55, 7.76),
    "TagLM-13b-v2.0 (2)": (3.7, 6.2, 9.52, 2.15, 5.35, 8.1, 8.4, 8.95, 6.55, 7.75),
    "TagLM-13b-v2.0 (3)": (3.4, 7.35, 9.6, 2.15, 5.9, 7.45, 8.28, 8.0, 6.52, 7.76),
    "TagLM-13b-v1.0 (1)": (3.8, 6.45, 9.55, 3.0, 4.9, 6.9, 8.75, 8.55, 6.49, 7.52),
    "TagLM-13b-v1.0 (2)": (3.45, 6.35, 9.65, 2.95, 4.95, 7.15, 8.65, 8.5, 6.46, 7.54),
    "TagLM-13b-v1.0 (3)": (3.4, 6.45, 9.45, 2.85, 5.05, 7.05, 8.43, 8.4, 6.38, 7.47),
    "vicuna-13b-v1.3": (3.25, 5.55, 9.45, 2.6, 5.85, 7.18, 7.98, 9.25, 6.39, 7.54),
    "vicuna-13b-v1.1": (2.95, 6.4, 9.45, 2.9, 4.65, 7.5, 8.55, 8.05, 6.31, 7.43),
    "wizardlm-13b": (4.0, 4.9, 9.7, 3.75, 5.25, 7.4, 7.7, 8.12, 6.35, 7.18),
    "baize-v2-13b": (3.0, 4.6, 9.02, 1.8, 5.4, 6.8, 7.72, 7.65, 5.75, 6.87),
    "nous-hermes-13b": (2.45, 5.05, 9.0, 2.65, 3.8, 6.38, 7.02, 7.75, 5.51, 6.5),
    "gpt4all-13b-snoozy": (3.0, 4.8, 8.85, 1.2, 4.2, 7.0, 6.9, 7.35, 5.41, 6.52),
    "koala-13b": (2.9, 4.15, 8.45, 1.9, 4.0, 6.85, 7.2, 7.35, 5.35, 6.33),
    "openchat-13b-v1": (2.35, 3.3, 9.07, 2.0, 2.75, 7.55, 7.7, 7.05, 5.22, 6.24),
    "alpaca-13b": (2.35, 4.15, 7.85, 1.05, 3.5, 5.45, 5.2, 6.7, 4.53, 5.48),
}
CATEGORIES = ("coding", "extraction", "humanities", "math", "reasoning", "roleplay", "stem", "writing")
# Printed from values with more digits: 9.38 is 9.375. A row's mean is then off by up to half of the last digit.
PRINTED = 0.0101


def rows_of(official, printed, model, places=2):
    """Judgments whose categories have the printed means: every turn of a category gets the mean itself."""
    means = dict(zip(CATEGORIES, printed, strict=False))
    return judgment_rows({(q.id, turn): round(means[q.category], places) for q, turn in official.turns}, model)


@pytest.mark.parametrize("model", TABLE_8)
def test_the_means_of_table_8_come_out_of_its_categories(official, tmp_path, model):
    path = write_lines(tmp_path / "gpt-4_single.jsonl", rows_of(official, TABLE_8[model], model))
    found = read_judgments([path], official)
    scores = score(official, found.judgments, model=found.model, judge=found.judge)
    *_, everything, without = TABLE_8[model]
    assert scores.mean == pytest.approx(everything, abs=PRINTED)
    assert scores.without_code_and_math == pytest.approx(without, abs=PRINTED)


@pytest.mark.parametrize(
    ("model", "mean", "deviation"),
    [
        pytest.param("TagLM-13b-v1.0", "6.44", "0.04", id="as printed"),
        pytest.param("TagLM-13b-v2.0", "6.54", "0.02", id="6.5375, of which the paper prints 6.55"),
    ],
)
def test_three_rounds_give_the_papers_score_with_the_population_deviation(official, tmp_path, model, mean, deviation):
    paths = [
        write_lines(tmp_path / f"{told}.jsonl", rows_of(official, TABLE_8[f"{model} ({told})"], model))
        for told in (1, 2, 3)
    ]
    found = read_judgments(paths, official)
    scores = score(official, found.judgments, model=found.model, judge=found.judge)
    assert len(scores.rounds) == 3
    assert f"{scores.mean:.2f}" == mean
    assert f"{scores.sd:.2f}" == deviation


# Files


def test_a_fastchat_judgment_file_is_counted_right(bench, tmp_path):
    scores = {(1, 1): 8, (1, 2): 6, (2, 1): -1, (2, 2): 3, (3, 1): 5.5, (99, 1): 10}
    rows = judgment_rows(scores) + judgment_rows({(1, 1): 1}, model="another")
    path = write_lines(tmp_path / "gpt-4_single.jsonl", rows)
    with pytest.raises(InputError, match=r"judgments of one model, found \['another', 'taglm'\]"):
        read_judgments([path], bench)
    found = read_judgments([path], bench, model="taglm")
    assert (found.model, found.judge, len(found.judgments)) == ("taglm", "gpt-4", 5)
    scores = score(bench, found.judgments, model="taglm", judge="gpt-4", allow_failed=True)
    assert scores.failed == {"missing": 3, "parse": 1}
    assert scores.mean == (8 + 6 + 3 + 5.5) / 4
    assert (scores.first_turn, scores.second_turn) == (6.75, 4.5)


def test_a_turn_judged_again_in_a_file_or_another_is_a_further_round(bench, tmp_path):
    once, twice = (judgment_rows(dict.fromkeys(TURNS, rating)) for rating in (5, 7))
    short = judgment_rows({place: 9 for place in TURNS[1:]})
    found = read_judgments(
        [write_lines(tmp_path / "a.jsonl", once + twice), write_lines(tmp_path / "b.jsonl", short)], bench
    )
    scores = score(bench, found.judgments, model="m", judge="j", allow_failed=True)
    assert [one.mean for one in scores.rounds] == [5, 7, 9]
    assert scores.failed == {"missing": 1}


def test_two_judgments_of_a_turn_in_one_round_are_refused(bench):
    once = judged(dict.fromkeys(TURNS, 5.0))
    with pytest.raises(InputError, match="found two of question 1, turn 1, round 1. A turn judged again"):
        score(bench, [*once, once[0]._replace(rating=9.0)], model="m", judge="j")


def test_files_of_answers_and_judgments_come_back_as_they_went(bench, server, model, tmp_path):
    server.rule(Rule(contains="And snow?", status=422))
    answers = answer(bench, model)
    write_answers(answers, bench, tmp_path / "a.jsonl", model="me")
    row = json.loads((tmp_path / "a.jsonl").read_text().splitlines()[3])
    assert row["choices"][0]["turns"][1] == "$ERROR$"
    assert read_answers(tmp_path / "a.jsonl", bench) == answers
    scripted(server, RATINGS | {(1, 1): "none"})
    judgments = judge(bench, answers, model, rounds=2)
    write_judgments(judgments, bench, answers, tmp_path / "j.jsonl", model="me", judge="stand-in")
    rows = [json.loads(line) for line in (tmp_path / "j.jsonl").read_text().splitlines()]
    assert [rows[0]["score"], rows[1]["score"], rows[7]["score"]] == [-1, 4.0, -1]
    assert rows[5]["judge"] == ["stand-in", "single-math-v1-multi-turn"]
    assert rows[5]["user_prompt"].startswith("R1 42\nR2 21\nQ1 What is 6 times 7?\nA1 ")
    found = read_judgments([tmp_path / "j.jsonl"], bench)
    assert found.judgments == judgments
    assert (found.model, found.judge) == ("me", "stand-in")


def test_fastchats_own_reader_finds_our_means(bench, server, model, tmp_path):
    """Its `show_result` is a mean over the rows whose score is not -1, by model and turn."""
    import pandas

    scripted(server, RATINGS | {(1, 1): "none"})
    judgments = judge(bench, answered(bench), model, rounds=3)
    write_judgments(judgments, bench, answered(bench), tmp_path / "j.jsonl", model="me", judge="j")
    table = pandas.read_json(tmp_path / "j.jsonl", lines=True)[["model", "score", "turn"]]
    table = table[table["score"] != -1]
    scores = score(bench, judgments, model="me", judge="j", allow_failed=True)
    assert table["score"].mean() == pytest.approx(scores.mean)
    assert table[table["turn"] == 2]["score"].mean() == pytest.approx(scores.second_turn)


def test_a_file_keeps_the_judgments_of_other_models(bench, tmp_path):
    path = tmp_path / "j.jsonl"
    for model, rating in (("one", 3.0), ("two", 4.0), ("one", 5.0)):
        write_judgments(judged(dict.fromkeys(TURNS, rating)), bench, answered(bench), path, model=model, judge="j")
    for model, rating in (("one", 5.0), ("two", 4.0)):
        assert read_judgments([path], bench, model=model).judgments == judged(dict.fromkeys(TURNS, rating))


def test_models_whose_judgments_are_written_at_once_all_stay(bench, tmp_path):
    path = tmp_path / "new" / "j.jsonl"
    ratings = judged(dict.fromkeys(TURNS, 3.0))

    def write(model):
        write_judgments(ratings, bench, answered(bench), path, model=model, judge="j")

    models = [f"model-{number}" for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, models))
    assert all(read_judgments([path], bench, model=model).judgments == ratings for model in models)


def test_a_file_that_cannot_be_written_keeps_the_judgments_of_other_models(bench, tmp_path, monkeypatch):
    path = tmp_path / "j.jsonl"
    ratings = judged(dict.fromkeys(TURNS, 3.0))
    write_judgments(ratings, bench, answered(bench), path, model="one", judge="j")
    write = Path.write_bytes

    def full(self, content):
        write(self, content[: len(content) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match=r"could not write .*j\.jsonl: .*No space left"):
        write_judgments(ratings, bench, answered(bench), path, model="two", judge="j")
    assert read_judgments([path], bench).judgments == ratings


def test_lone_surrogates_in_questions_and_replies_do_not_stop_a_run(server, model, tmp_path):
    folder = write_bench(tmp_path / "bench")
    rows = [row | {"turns": ["Say \ud83d", "again"]} for row in QUESTIONS[:1]]
    (folder / "question.jsonl").write_text(json.dumps(rows[0]))
    server.rule(Rule(contains="Say \ufffd", reply="no \udc00"))
    odd = read_bench(folder)
    answers = answer(odd, model)
    assert answers[1].turns[0] == "no \ufffd"
    write_answers({1: Answer(("no \udc00", "b"))}, odd, tmp_path / "a.jsonl", model="m")
    assert read_answers(tmp_path / "a.jsonl", odd)[1].turns == ("no \ufffd", "b")


def test_a_file_that_cannot_be_written_is_told_in_one_sentence(bench, tmp_path):
    (tmp_path / "out").write_text("a file, not a folder")
    with pytest.raises(InputError, match="mt-bench: could not write .*Choose another folder"):
        write_answers(answered(bench), bench, tmp_path / "out" / "a.jsonl", model="m")


def test_every_judgment_is_told_also_of_turns_without_an_answer(bench, server, model):
    scripted(server, RATINGS)
    told = []
    found = judge(bench, answered(bench) | {1: Answer((), "refused: x")}, model, rounds=1, on_judgment=told.append)
    assert sorted(told) == sorted(found)


def test_a_template_with_an_unknown_field_is_told_before_anybody_is_asked(tmp_path):
    folder = write_bench(tmp_path / "bench")
    path = folder / "judge_prompts.jsonl"
    path.write_text(path.read_text().replace("{answer_2}", "{reply_2}"))
    with pytest.raises(InputError, match=r"found \['reply_2'\]"):
        read_bench(folder)


@pytest.mark.parametrize("rounds", [[], ["one"], [{"mean": "x"}]])
def test_what_are_no_scores_is_refused(rounds):
    with pytest.raises(InputError, match="expected scores as `instag mt-bench --json` prints them"):
        Scores.from_dict({"model": "m", "judge": "j", "bench": "", "rounds": rounds})


def test_a_score_of_any_size_is_out_of_range(bench, tmp_path):
    rows = judgment_rows({(1, 1): 10**400})
    (one,) = read_judgments([write_lines(tmp_path / "j.jsonl", rows)], bench).judgments
    assert (one.rating, one.failure) == (None, "range: the file says 10000000000000000000")


@pytest.mark.parametrize("text", ["$ERROR$", "ERROR", " $ERROR$\n"])
@pytest.mark.parametrize("turn", [1, 2])
def test_fastchats_error_in_place_of_an_answer_is_a_failure(bench, tmp_path, text, turn):
    turns = ["fine", "fine"]
    turns[turn - 1] = text
    rows = [{"question_id": 1, "choices": [{"index": 0, "turns": turns}, {"index": 1, "turns": ["x", "y"]}]}]
    found = read_answers(write_lines(tmp_path / "a.jsonl", rows), bench)[1]
    assert found == Answer(("fine",) * (turn - 1), f"answer: turn {turn} says {text.strip()!r}")


def test_an_answer_that_talks_about_errors_is_an_answer(bench, tmp_path):
    rows = [{"question_id": 1, "choices": [{"turns": ["ERROR is a word", ""]}]}]
    assert read_answers(write_lines(tmp_path / "a.jsonl", rows), bench)[1] == Answer(("ERROR is a word", ""))


def test_questions_without_an_answer_are_missing_and_a_lone_turn_too(bench, server, model, tmp_path):
    rows = [{"question_id": 1, "choices": [{"turns": ["one"]}]}]
    answers = read_answers(write_lines(tmp_path / "a.jsonl", rows), bench)
    scripted(server, RATINGS)
    scores = score(bench, judge(bench, answers, model, rounds=1), model="m", judge="j", allow_failed=True)
    assert (scores.judged, scores.failed) == (1, {"missing": 6, "answer": 1})


def test_a_fastchat_checkout_and_a_hub_dataset_are_found(tmp_path, bench, local_hub):
    checkout = tmp_path / "FastChat" / "fastchat" / "llm_judge" / "data"
    write_bench(checkout / "mt_bench")
    (checkout / "mt_bench" / "judge_prompts.jsonl").rename(checkout / "judge_prompts.jsonl")
    write_bench(checkout / "vicuna_bench")
    for source in (tmp_path / "FastChat", checkout, checkout.parent):
        assert read_bench(source) == bench
    files = {str(path.relative_to(checkout)): path.read_bytes() for path in checkout.rglob("*.jsonl") if path.is_file()}
    local_hub.add("me/mt-bench", files)
    assert read_bench("me/mt-bench") == bench


def test_the_official_files_are_whole(official):
    assert len(official.questions) == 80
    assert set(official.categories) == set(CATEGORIES)
    assert Counter(len(question.references) for question in official.questions) == {0: 50, 2: 30}
    assert len(official.turns) == 160


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        pytest.param("question.jsonl", None, "expected questions in", id="no questions"),
        pytest.param("judge_prompts.jsonl", None, r"expected judge prompts in .*--prompts", id="no prompts"),
        pytest.param("reference_answer/gpt-4.jsonl", None, r"expected reference answers .*--refer", id="no references"),
        pytest.param("question.jsonl", "{", "expected JSON in question.jsonl, line 1", id="no JSON"),
        pytest.param("question.jsonl", "[]", "expected an object in question.jsonl, line 1", id="no object"),
        pytest.param("question.jsonl", "", "expected questions with an id of their own", id="empty"),
        pytest.param("question.jsonl", '{"question_id": "a"}', "expected a whole number", id="no id"),
        pytest.param("question.jsonl", '{"question_id": 1, "turns": []}', "expected a list of texts", id="no turns"),
        pytest.param(
            "question.jsonl",
            '{"question_id": 7, "category": "math", "turns": ["a", "b"]}',
            r"a reference answer to each turn of question 7 \(math\), found 0 of 2",
            id="no reference",
        ),
        pytest.param(
            "question.jsonl",
            '{"question_id": 1, "turns": ["a"]}',
            "a category of question 1 in .*, found None",
            id="no category",
        ),
        pytest.param("question.jsonl", "[" * 100_000, "expected JSON in question.jsonl, line 1", id="too deep"),
        pytest.param(
            "judge_prompts.jsonl",
            '{"name": "single-v1", "system_prompt": "", "output_format": "[[rating]]"}',
            r"a list of texts in judge_prompts.jsonl, single-v1, prompt_template, found '\[None\]'",
            id="no template",
        ),
        pytest.param("judge_prompts.jsonl", "{}", r"expected the judge prompts \['single-math-v1'", id="other prompts"),
        pytest.param("reference_answer/gpt-4.jsonl", '{"question_id": 2}', 'expected "choices" with', id="no choices"),
    ],
)
def test_files_that_are_not_the_benchmark_are_refused(tmp_path, file, text, message):
    folder = write_bench(tmp_path / "bench")
    if text is None:
        (folder / file).unlink()
    else:
        (folder / file).write_text(text)
    with pytest.raises(InputError, match=message):
        read_bench(folder)


def test_a_template_with_a_field_that_nobody_knows_is_refused(bench):
    prompt = bench.prompts["single-v1"]._replace(template="{question.__class__} {answer} {system}")
    with pytest.raises(InputError, match=r"fields of \['answer'\] in the prompt single-v1, found \['system'\]"):
        prompt.fill({"answer": ""})


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"score": "7"}, 'expected a number as "score"'),
        ({"score": True}, 'expected a number as "score"'),
        ({"judge": "gpt-4"}, 'a list as "judge"'),
        ({"turn": 1.5}, "expected a whole number in j.jsonl, turn"),
    ],
)
def test_judgment_files_of_another_form_are_refused(bench, tmp_path, row, message):
    (good,) = judgment_rows({(1, 1): 7})
    with pytest.raises(InputError, match=message):
        read_judgments([write_lines(tmp_path / "j.jsonl", [good | row])], bench)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"engine": "text_generation", "model": "m"}, "mt-bench: expected an engine of"),
        ({"engine": "embedded"}, "mt-bench: expected a chat model, found"),
        ({"engine": "openai"}, "mt-bench: engine openai needs the model's id"),
    ],
)
def test_what_is_no_chat_model_is_refused(fields, message):
    with pytest.raises(InputError, match=message):
        ChatModel(**fields)


# The command


@pytest.fixture
def run(server, tmp_path, bench):
    write_bench(tmp_path / "mt_bench")

    def call(*words):
        command = [INSTAG, "mt-bench", "mt_bench", *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)

    call.server, call.folder = server, tmp_path
    return call


ASK = ("--engine", "openai", "--model", "me/stand-in", "-o", "out")
JUDGE = ("--judge", "stand-in", "--judge-engine", "openai")


def test_the_command_answers_judges_and_prints_a_table(run):
    scripted(run.server, RATINGS)
    first = run(*ASK)
    assert first.returncode == 0, first.stderr
    assert first.stdout == "out/model_answer/me_stand-in.jsonl\n"
    assert "4 questions: 0 failed, 0 turns answered with nothing" in first.stderr
    second = run("--answers", "out/model_answer/me_stand-in.jsonl", *JUDGE, "-o", "out")
    assert second.returncode == 0, second.stderr
    asked = run.server.counts().requests
    both = run(*ASK, "--name", "me_stand-in", *JUDGE)
    assert both.stdout == second.stdout
    assert run.server.counts().requests == asked
    assert second.stdout.splitlines() == [
        "me_stand-in, judged by stand-in",
        "                           mean  round 1  round 2  round 3",
        "all turns                  5.25     5.25     5.25     5.25   ± 0.00",
        "first turn                 5.88     5.88     5.88     5.88",
        "second turn                4.62     4.62     4.62     4.62",
        "  writing                  7.00     7.00     7.00     7.00",
        "  math                     3.00     3.00     3.00     3.00",
        "  coding                   3.00     3.00     3.00     3.00",
        "  stem                     8.00     8.00     8.00     8.00",
        "without coding and math    7.50",
        "24 ratings, 0 missing",
    ]
    again = run("--judgments", "out/model_judgment/stand-in_single.jsonl", "--json")
    facts = json.loads(again.stdout)
    assert (facts["mean"], facts["sd"], facts["judged"]) == (5.25, 0.0, 24)
    assert Scores.from_dict(facts).to_dict() == facts


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--judgments j.jsonl --judge gpt-4 --rounds 5 -o out", "--output, --judge, --rounds"),
        ("--answers a.jsonl --judge gpt-4 -o out --max-tokens 9", "--max-tokens"),
        ("--model me -o out --judge-max-tokens 9", "--judge-max-tokens"),
        ("--model me -o out --json --allow-failed", "--allow-failed, --json"),
    ],
)
def test_options_without_a_say_are_a_usage_error(words, told):
    done = CliRunner().invoke(cli, ["mt-bench", "mt_bench", *words.split()])
    assert done.exit_code == 2
    assert f"expected options that have a say here, found {told}, which have none" in done.output


def test_the_command_fails_where_ratings_are_missing_unless_told(run):
    scripted(run.server, RATINGS | {(4, 2): "no idea"})
    done = run(*ASK, *JUDGE)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "no rating, question 4, turn 2, round 1: parse: expected a rating such as [[5]]" in done.stderr
    assert "found 3 of 24 missing (3 parse)" in done.stderr
    allowed = run(*ASK, *JUDGE, "--allow-failed")
    assert allowed.returncode == 0, allowed.stderr
    assert allowed.stdout.endswith("21 ratings, 3 missing (3 parse)\n")


def test_a_judge_that_there_is_not_is_told_before_anybody_is_asked(run):
    done = run(*ASK, "--judge", "stand-in", "--judge-engine", "abacus")
    assert (done.returncode, run.server.counts().requests) == (1, 0)
    assert "expected an engine of" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param((), "expected one of --model", id="nothing"),
        pytest.param((*ASK, "--answers", "a.jsonl"), "expected one of --model", id="both"),
        pytest.param(("--answers", "a.jsonl", "-o", "out"), "expected --judge with --answers", id="no judge"),
        pytest.param(ASK[:-2], "-o FOLDER", id="no folder"),
        pytest.param((*ASK, "--judge-engine", "tgi"), "expected --judge with", id="a judge's engine alone"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(run, words, message):
    done = run(*words)
    assert done.returncode == 2
    assert message in " ".join(done.stderr.split())


# Real engines


def test_tgi_answers_and_judges_too(bench, shared_data, clean_home, monkeypatch):
    with TaggingServer(openapi=shared_data / "tgi" / "openapi.json") as server:
        monkeypatch.setenv("INSTAG_URL", server.url)
        scripted(server, RATINGS)
        tgi = ChatModel(engine="tgi", model="stand-in")
        assert evaluate(bench, tgi, by=tgi).mean == 5.25
        assert server.counts().invalid == []


@pytest.mark.slow
def test_a_real_model_answers_and_judges_whatever_that_is_worth(official, clean_home, monkeypatch):
    """The score means nothing: a model of 135M judges itself. Every turn is a rating or a stated failure."""
    monkeypatch.setenv("INSTAG_MAX_FAILURES", "1")
    small = ChatModel(engine="embedded", model=str(find_base()))
    part = official._replace(questions=official.questions[::27])
    answers = answer(part, small, max_tokens=24)
    assert all(len(one.turns) == 2 and not one.failure for one in answers.values())
    judgments = judge(part, answers, small, rounds=1, max_tokens=24)
    assert len(judgments) == 6
    for one in judgments:
        assert (one.rating is None) == bool(one.failure)
        assert not one.failure or one.failure.partition(":")[0] in {"reply", "parse", "range", "truncated"}
    scores = score(part, judgments, model=small.name, judge=small.name, allow_failed=True)
    assert scores.judged + sum(scores.failed.values()) == 6
