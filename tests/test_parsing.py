"""Reply in, tags out: a table of replies as models write them, and what must never yield a tag."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from instag_hf.errors import InputError, ReplyError
from instag_hf.parsing import MAX_TAG_CHARS, clean_tag, parse, render
from instag_hf.prompts import FORMATS, load_recipe, recipe_names

TWO = ["code debugging", "python"]
FULL = '[{"tag": "code debugging", "explanation": "It fails."}, {"tag": "python", "explanation": "The language."}]'

GOOD_JSON = [
    pytest.param(FULL, TWO, id="clean"),
    pytest.param(f"\n\n  {FULL}\n", TWO, id="white space around"),
    pytest.param(f"```json\n{FULL}\n```", TWO, id="fenced"),
    pytest.param(f"```\n{FULL}\n```", TWO, id="fenced without a language"),
    pytest.param(f"Sure! Here are the tags:\n\n{FULL}", TWO, id="prose before"),
    pytest.param(f"{FULL}\n\nI hope this helps!", TWO, id="prose after"),
    pytest.param(f"Here you go:\n```json\n{FULL}\n```\nLet me know [if] more is needed.", TWO, id="prose and fence"),
    pytest.param(f"As in [1], the tags are {FULL}", TWO, id="a citation before"),
    pytest.param(f"[begin]\n{FULL}\n[end]", TWO, id="echoed marks"),
    pytest.param(f'<think>Maybe ["wrong"]?</think>{FULL}', TWO, id="thoughts before"),
    pytest.param(FULL.replace('"', "'"), TWO, id="single quotes"),
    pytest.param(
        "[{'tag': 'children's books', 'explanation': 'it's for kids'}]", ["children's books"], id="apostrophe"
    ),
    pytest.param("""[{'tag': "don't repeat", 'explanation': 'x'}]""", ["don't repeat"], id="mixed quotes"),
    pytest.param('{"tag": "python", "explanation": "x"}', ["python"], id="a lone object"),
    pytest.param('{"tags": [{"tag": "python"}, {"tag": "loops"}]}', ["python", "loops"], id="wrapped in tags"),
    pytest.param('{"tags": ["python", "loops"]}', ["python", "loops"], id="wrapped strings"),
    pytest.param('{"tag": "python"}\n{"tag": "loops"}', ["python", "loops"], id="an object a line"),
    pytest.param('{"tag": "python"}, {"tag": "loops"}', ["python", "loops"], id="objects without a list"),
    pytest.param('["python", "loops"]', ["python", "loops"], id="bare strings"),
    pytest.param("['python', 'loops']", ["python", "loops"], id="bare strings in single quotes"),
    pytest.param('["python", {"tag": "loops"}]', ["python", "loops"], id="strings and objects"),
    pytest.param('[{"tag": "python",}, {"tag": "loops"},]', ["python", "loops"], id="trailing commas"),
    pytest.param('[{"tag": "python"} {"tag": "loops"}]', ["python", "loops"], id="missing comma"),
    pytest.param("[{tag: 'python', explanation: 'x'}]", ["python"], id="bare keys"),
    pytest.param('[{"Tag": "python", "Explanation": "x"}]', ["python"], id="capital keys"),
    pytest.param('[{"explanation": "x", "tag": "python"}]', ["python"], id="keys swapped"),
    pytest.param('[{"tag": "python", "explanation": null}]', ["python"], id="null explanation"),
    pytest.param('[{"tag": "python", "confidence": 0.9, "kinds": ["a"]}]', ["python"], id="more keys"),
    pytest.param(r'[{"tag": "the \"best\" of", "explanation": "x"}]', ['the "best" of'], id="escaped quotes"),
    pytest.param('[{"tag": "the "best" of", "explanation": "x"}]', ['the "best" of'], id="unescaped quotes"),
    pytest.param(r'[{"tag": "caf\u00e9 \ud83d\ude00"}]', ["café 😀"], id="escaped characters"),
    pytest.param(r'[{"tag": "a\tb\nc"}]', ["a b c"], id="escaped white space"),
    pytest.param('[{"tag": "python"}, {"tag": "python"}, {"tag": "loops"}]', ["python", "loops"], id="repeats"),
    pytest.param('[{"tag": " python "}, {"tag": "*loops*"}, {"tag": "`sql`"}]', ["python", "loops", "sql"], id="marks"),
    pytest.param('[{"tag": ""}, {"tag": "python"}]', ["python"], id="an empty tag among others"),
    pytest.param('[{"tag": "翻译"}, {"tag": "C++"}, {"tag": "a/b test"}]', ["翻译", "C++", "a/b test"], id="names"),
    pytest.param('[\n  {\n    "tag": "python"\n  }\n]', ["python"], id="pretty printed"),
    pytest.param('\ufeff[{"tag": "python"}]', ["python"], id="byte order mark"),
    pytest.param(f'[{{"tag": "{"a" * 80}"}}]', ["a" * 80], id="80 characters"),
]

GOOD_COMPACT = [
    pytest.param("code debugging; python", TWO, id="clean"),
    pytest.param("  code debugging ;python\n", TWO, id="white space"),
    pytest.param("code debugging; python;", TWO, id="trailing semicolon"),
    pytest.param("code debugging;; python", TWO, id="empty item"),
    pytest.param("code debugging; python; code debugging", TWO, id="repeats"),
    pytest.param("continuation", ["continuation"], id="one tag"),
    pytest.param("c++; c#; .net; node.js; a/b testing", ["c++", "c#", ".net", "node.js", "a/b testing"], id="names"),
    pytest.param(
        "children's literature; r&d; yes or no question",
        ["children's literature", "r&d", "yes or no question"],
        id="marks",
    ),
    pytest.param(
        "no code constraint; it support; i ching; thank you note",
        ["no code constraint", "it support", "i ching", "thank you note"],
        id="like talk",
    ),
    pytest.param("翻译; traducción", ["翻译", "traducción"], id="other languages"),
]

CUT = [
    pytest.param('[{"tag": "a", "explanation": "x"}, {"tag": "b", "expl', "json", ["a"], id="second object, key"),
    pytest.param(
        '[{"tag": "a", "explanation": "x"}, {"tag": "b", "explanation": "half a',
        "json",
        ["a"],
        id="second object, text",
    ),
    pytest.param('[{"tag": "a"}, {"tag": "b"}, {"tag": "c"}, {', "json", ["a", "b", "c"], id="fourth object, brace"),
    pytest.param('[{"tag": "a"}, {"tag": "b"}', "json", ["a", "b"], id="after the second object"),
    pytest.param('[{"tag": "a"}, {"tag": "b"},', "json", ["a", "b"], id="after the second comma"),
    pytest.param("[{'tag': 'a'}, {'tag': 'b', 'explanation': 'it", "json", ["a"], id="single quotes"),
    pytest.param('["a", "b", "c', "json", ["a", "b"], id="bare strings"),
    pytest.param('{"tags": ["a", "b", "c', "json", ["a", "b"], id="wrapped"),
    pytest.param('{"tag": "a"}\n{"tag": "b", "ex', "json", ["a"], id="an object a line"),
    pytest.param('```json\n[{"tag": "a"}, {"tag":', "json", ["a"], id="fenced"),
    pytest.param("a; b; half a ta", "compact", ["a", "b"], id="compact"),
]

BAD = [
    pytest.param("", "parse", id="nothing"),
    pytest.param("   \n", "parse", id="blank"),
    pytest.param("I'm sorry, but I can't help with that.", "parse", id="refusal"),
    pytest.param("I cannot help with that", "parse", id="refusal without marks"),
    pytest.param("Sorry I can not", "parse", id="short refusal"),
    pytest.param("As an AI language model", "parse", id="ai"),
    pytest.param("Sure", "parse", id="sure"),
    pytest.param("Thank you for asking", "parse", id="thanks"),
    pytest.param("No", "parse", id="no"),
    pytest.param("none", "parse", id="none"),
    pytest.param("The user asks for help with Python. They want code.", "parse", id="prose"),
    pytest.param("The tags are: python, loops and sorting", "parse", id="prose with a list"),
    pytest.param("Tags: python; loops", "parse", id="a label before"),
    pytest.param("Q1: `info-seek`\nQ2: `lifestyle`", "parse", id="another task"),
    pytest.param('{"task_type": ["info-seek"], "topic": ["lifestyle"]}', "parse", id="another task in JSON"),
    pytest.param("[1, 2, 3]", "parse", id="numbers"),
    pytest.param('[{"tag": 3}]', "parse", id="a number as tag"),
    pytest.param('[{"tag": null}]', "parse", id="null as tag"),
    pytest.param('[{"name": "python"}]', "parse", id="another key"),
    pytest.param('[[["python"]]]', "parse", id="nested"),
    pytest.param("<html><body>502 Bad Gateway</body></html>", "parse", id="an error page"),
    pytest.param(f'["{"a" * 81}"]', "parse", id="81 characters"),
    pytest.param("1. python\n2. loops", "parse", id="numbered"),
]


@pytest.mark.parametrize(("reply", "tags"), GOOD_JSON)
def test_json_reply(reply, tags):
    parsed = parse(reply, "json")
    assert parsed.tags == tags
    assert len(parsed.explanations) == len(tags)
    assert not parsed.cut


@pytest.mark.parametrize(("reply", "tags"), GOOD_COMPACT)
def test_compact_reply(reply, tags):
    assert parse(reply, "compact") == (tags, [""] * len(tags), False)


@pytest.mark.parametrize(("reply", "style", "tags"), CUT)
def test_a_cut_reply_gives_what_stands_whole_before_the_cut(reply, style, tags):
    parsed = parse(reply, style, cut=True)
    assert parsed.tags == tags
    assert parsed.cut


def test_an_unclosed_list_counts_as_cut_though_the_engine_says_nothing():
    assert parse('[{"tag": "a"}, {"tag": "b', "json") == (["a"], [""], True)


def test_explanations_stay_with_their_tags():
    parsed = parse(
        '[{"tag": "a", "explanation": "one\\n two"}, {"tag": "b"}, {"tag": "a", "explanation": "again"}]', "json"
    )
    assert parsed == (["a", "b"], ["one two", ""], False)


@pytest.mark.parametrize("style", FORMATS)
@pytest.mark.parametrize(("reply", "kind"), BAD)
def test_what_is_not_a_reply_is_an_error(reply, kind, style):
    with pytest.raises(ReplyError) as caught:
        parse(reply, style)
    assert caught.value.kind in {kind, "reply"}


@pytest.mark.parametrize("reply", ["[]", "```json\n[]\n```", '{"tags": []}', '[{"tag": " "}]', '[""]'])
def test_an_empty_list_is_its_own_kind_of_error(reply):
    with pytest.raises(ReplyError, match="no tags") as caught:
        parse(reply, "json")
    assert caught.value.kind == "reply"


@pytest.mark.parametrize(
    ("reply", "style"), [('[{"tag": "a', "json"), ("Let me think", "json"), ("half a ta", "compact")]
)
def test_a_reply_cut_before_its_first_tag_is_truncated(reply, style):
    with pytest.raises(ReplyError, match="cut before its first tag") as caught:
        parse(reply, style, cut=True)
    assert caught.value.kind == "truncated"


def test_the_error_quotes_the_beginning_of_the_reply():
    with pytest.raises(ReplyError) as caught:
        parse("I am not a list. " * 10, "json")
    assert str(caught.value) == (
        "expected a JSON list of tags, found 'I am not a list. I am not a list. I am not a list. I am not a list. I am not a …'"
    )


@pytest.mark.parametrize("name", recipe_names())
def test_replies_of_another_task_yield_no_tags(name, shared_data):
    style = load_recipe(name).format
    with (shared_data / "tagged" / "raw_judge_replies_400.jsonl").open() as lines:
        replies = [json.loads(line)["raw_gpt4"] for line in lines]
    assert len(replies) == 400
    for reply in replies:
        with pytest.raises(ReplyError):
            parse(reply, style)


def test_real_tags_survive_the_compact_format(shared_data):
    with (shared_data / "tags" / "train.jsonl").open() as lines:
        for line in lines:
            tags = json.loads(line)["tags"]
            assert parse(render(tags, "compact"), "compact").tags == tags


BRACKETS = st.text(alphabet="[]{}\"',:;\\tag nul1\n`", max_size=60)


@pytest.mark.parametrize("style", FORMATS)
@given(reply=st.text(alphabet=st.characters(codec=None)) | BRACKETS, cut=st.booleans())
@example(reply="[" * 3_000, cut=False)
@example(reply='{"tag":' * 1_500, cut=False)
@example(reply='["' * 500, cut=False)
@example(reply='["\ud800"]', cut=False)
def test_nothing_but_reply_errors(style, reply, cut):
    try:
        parsed = parse(reply, style, cut=cut)
    except ReplyError:
        return
    assert parsed.tags
    assert len(set(parsed.tags)) == len(parsed.tags) == len(parsed.explanations)
    assert all(tag and tag == tag.strip() and len(tag) <= MAX_TAG_CHARS for tag in parsed.tags)
    "".join(parsed.tags + parsed.explanations).encode()


any_tag = st.text(min_size=1, max_size=MAX_TAG_CHARS).filter(lambda tag: clean_tag(tag) == tag and "\0" not in tag)
word = st.from_regex(r"[a-z0-9+#][a-z0-9+#.'-]{0,8}[a-z0-9+#]", fullmatch=True)
compact_tag = st.lists(word, min_size=1, max_size=4).map(" ".join)


@pytest.mark.parametrize("name", recipe_names())
@given(data=st.data())
def test_parse_inverts_render(name, data):
    style = load_recipe(name).format
    tags = data.draw(st.lists(compact_tag if style == "compact" else any_tag, min_size=1, max_size=8, unique=True))
    try:
        written = render(tags, style)
    except InputError:
        assert style == "compact"
        return
    assert parse(written, style).tags == tags


def test_render_keeps_explanations():
    assert parse(render(["a", "b"], "json", ["x", 'say "y"']), "json") == (["a", "b"], ["x", 'say "y"'], False)


@pytest.mark.parametrize("tag", ["a; b", "two\nlines", "a sentence of rather more words than six", "I cannot", "end."])
def test_the_compact_format_refuses_what_it_cannot_hold(tag):
    with pytest.raises(InputError, match="render: expected a tag of at most 6 plain words"):
        render([tag], "compact")
