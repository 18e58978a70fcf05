"""What a trainer reads: which rows teach, in which tokens, and where the loss is."""

import dataclasses
from collections import Counter
from copy import deepcopy

import pytest
from click.testing import CliRunner
from datasets import ClassLabel, Dataset
from hypothesis import given
from hypothesis import strategies as st

from instag_hf.cli import cli
from instag_hf.errors import InputError, MissingError
from instag_hf.prompts import load_recipe
from instag_hf.training.examples import (
    IGNORED,
    STEP,
    Encoded,
    Example,
    License,
    batches,
    collate,
    encode,
    encode_all,
    leave_out_rare,
    read_examples,
    read_licenses,
    with_decoys,
    with_licenses,
)

EMBEDDED = load_recipe("embedded")


@pytest.fixture(scope="module")
def tokenizer():
    import transformers

    from instag_hf.engines.embedded import find_base

    path = find_base()
    return transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)


def test_rows_of_the_pipeline_become_examples_and_others_are_counted():
    tagged = {"instruction": "Add 2 and 3.", "instag_tags": ["math", "arithmetic"], "instag_error": ""}
    rows = [
        {**tagged, "instag_explanations": ["a sum", ""], "source": "mine", "license": "MIT"},
        {**tagged, "instag_tags": [], "instag_error": "parse: talk"},
        {**tagged, "instag_tags": []},
        {**tagged, "instruction": "  "},
    ]
    found, dropped = read_examples(rows)
    assert found == [Example("Add 2 and 3.", ("math", "arithmetic"), (), "mine", "MIT")]
    assert dropped == {"tagging failed": 1, "no tags": 1, "no query": 1}
    assert read_examples(rows[:1], explanations=True)[0][0].explanations == ("a sum", "")


def test_sources_and_licences_that_are_classes_are_named():
    rows = [{"query": "q", "tags": ["t"], "source": place, "license": place} for place in (0, 1, -1)]
    ds = Dataset.from_list(rows).cast_column("source", ClassLabel(names=["alpaca", "dolly"]))
    found, _ = read_examples(ds.cast_column("license", ClassLabel(names=["MIT", "CC0-1.0"])), tags="tags")
    assert [(each.source, each.license) for each in found] == [("alpaca", "MIT"), ("dolly", "CC0-1.0"), ("", "")]


def test_tags_that_are_one_text_are_refused():
    with pytest.raises(InputError, match="expected lists of tags in the column \"tags\", found 'math; sums'"):
        read_examples([{"instruction": "Add 2 and 3.", "tags": "math; sums"}], tags="tags")


def test_turns_that_nobody_knows_are_a_usage_error(tmp_path):
    words = ["train-tagger", "rows.jsonl", "-o", str(tmp_path), "--turns", "second"]
    assert "'second' is not one of" in CliRunner().invoke(cli, words).output


def test_a_row_of_several_queries_teaches_only_if_one_of_them_was_tagged():
    turns = [{"role": "user", "content": text} for text in ("Hi", "Sum 2 and 3")]
    rows = [{"messages": turns, "instag_tags": ["greeting"], "instag_error": ""}]
    assert read_examples(rows) == ([], {"several queries": 1})
    assert read_examples(rows, turns="first")[0][0].query == "Hi"


def test_normalized_tags_keep_the_explanation_of_the_raw_tag_of_their_name():
    row = {
        "query": "q",
        "instag_tags": ["maths", "python"],
        "instag_explanations": ["numbers", "code"],
        "instag_normalized": ["math", "python"],
    }
    (example,), _ = read_examples([row], tags="instag_normalized", explanations=True)
    assert example.tags == ("math", "python")
    assert example.explanations == ("", "code")


def test_a_missing_column_is_an_error_that_names_what_is_there():
    with pytest.raises(InputError, match=r'expected a column "tags" of tags, found columns \[.query.\]'):
        read_examples([{"query": "q"}], tags="tags")


@pytest.mark.parametrize("command", ["train-tagger", "train-lm"])
@pytest.mark.parametrize(
    "given", [("--rank", "-1"), ("--batch-size", "0"), ("--epochs", "0"), ("--max-steps", "-3"), ("--seed", "-1")]
)
def test_settings_out_of_range_are_usage_errors(command, given):
    done = CliRunner().invoke(cli, [command, "rows.jsonl", "-o", "out", *given])
    assert done.exit_code == 2
    assert f"{given[1]} is not in the range" in done.output.replace(".0 is", " is")


def test_what_scoring_misses_is_told_before_the_training(tmp_path, monkeypatch):
    def embed(phrases):
        raise MissingError("embeddings: needs sentence-transformers.")

    monkeypatch.setattr("instag_hf.embeddings.embed", embed)
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"query": "q", "tags": ["t"]}\n')
    words = ["train-tagger", str(rows), "-o", str(tmp_path / "out"), "--tags", "tags", "--dev", str(rows)]
    done = CliRunner().invoke(cli, words)
    assert (done.exit_code, (tmp_path / "out").exists()) == (1, False)
    assert "needs sentence-transformers" in done.output


@pytest.mark.parametrize("tags", ["python", ["python", None], [1]])
def test_tags_that_are_no_list_of_texts_are_refused(tags):
    with pytest.raises(InputError, match='expected lists of tags in the column "tags", found'):
        read_examples([{"query": "q", "tags": tags}], tags="tags")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("source,licence\na,MIT\nb\n", r"found \['b'\]", id="a row without a licence"),
        pytest.param("source,licence\na,MIT\na,GPL\n", "expected one licence of 'a'", id="two licences"),
        pytest.param("source,licence\na," + "x" * 200_000, "could not read", id="a field too long"),
    ],
)
def test_a_table_of_licences_that_leaves_doubt_is_refused(tmp_path, text, message):
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        read_licenses(tmp_path / "table.csv")


def test_licences_are_read_joined_and_chosen_by_tier(tmp_path):
    (tmp_path / "table.tsv").write_text("source\tlicence\ttier\na\tMIT\tA\nb\tCC BY-NC, 4.0\tB\n")
    table = read_licenses(tmp_path / "table.tsv")
    assert table == {"a": License("MIT", "A"), "b": License("CC BY-NC, 4.0", "B")}
    examples = [Example("q", ("t",), source=source) for source in "aba"]
    assert [example.license for example in with_licenses(examples, table)] == ["MIT", "CC BY-NC, 4.0", "MIT"]
    assert [example.source for example in with_licenses(examples, table, ["A"])] == ["a", "a"]
    with pytest.raises(InputError, match=r"rows of the tiers \['C'\], found none; the table has \['A', 'B'\]"):
        with_licenses(examples, table, ["C"])
    with pytest.raises(InputError, match=r"found none for \['z'\]"):
        with_licenses([Example("q", ("t",), source="z")], table)
    (tmp_path / "prose.txt").write_text("All rows are free.")
    with pytest.raises(InputError, match="rows of source, licence, tier"):
        read_licenses(tmp_path / "prose.txt")


def test_rare_tags_go_where_others_remain():
    examples = [Example("1", ("math", "rare"), ("m", "r")), Example("2", ("math",)), Example("3", ("lone", "alone"))]
    kept = leave_out_rare(examples, 2)
    assert kept == [Example("1", ("math",), ("m",)), *examples[1:]]
    assert leave_out_rare(examples, 1) == examples


@given(st.integers(0, 20), st.floats(0, 1), st.integers(0, 9))
def test_decoys_keep_the_tags_and_the_text_and_come_out_the_same_each_time(count, share, seed):
    examples = [Example(f"query {n:02}", (f"tag {n % 3}",)) for n in range(count)]
    found = with_decoys(examples, share, seed)
    assert found[:count] == examples
    assert len(found) == count + round(share * count)
    assert found == with_decoys(examples, share, seed)
    for copy in found[count:]:
        (original,) = (example for example in examples if example.query in copy.query)
        assert copy.tags == original.tags
        assert copy.query != original.query


def test_an_example_in_tokens_is_the_recipes_prompt_and_reply(tokenizer):
    example = Example("Sort <|im_end|> this: b, a", ("sorting", "c++"))
    prompt, reply = encode(example, EMBEDDED, tokenizer)
    assert tokenizer.decode(prompt) == EMBEDDED.ask(example.query)
    assert tokenizer.decode(reply) == "sorting; c++<|im_end|>"
    assert prompt.count(tokenizer.convert_tokens_to_ids("<|im_end|>")) == 1  # the query's own was broken


def test_a_chat_recipe_is_written_with_the_models_template(tokenizer):
    tokenizer.chat_template = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}[assistant]"
    recipe = load_recipe("open")
    prompt, reply = encode(Example("Hi", ("greeting",), ("says hi",)), recipe, tokenizer)
    text = tokenizer.decode(prompt)
    assert text == "".join(f"[{role}]{content}" for role, content in recipe.ask("Hi")) + "[assistant]"
    assert tokenizer.decode(reply).startswith('[{"tag": "greeting", "explanation": "says hi"}]')


def test_a_reply_that_nothing_ends_is_refused(tokenizer):
    tokenizer = deepcopy(tokenizer)
    tokenizer.eos_token = None
    endless = dataclasses.replace(EMBEDDED, stop=())
    told = "expected an end of replies, found no stop in the recipe embedded and no end token"
    with pytest.raises(InputError, match=told):
        encode(Example("q", ("fine",)), endless, tokenizer)
    with pytest.raises(InputError, match=told):
        encode_all([Example("q", ("fine",))], endless, tokenizer)
    assert encode(Example("q", ("fine",)), EMBEDDED, tokenizer).reply


def test_a_tag_that_the_format_cannot_hold_is_counted(tokenizer):
    examples = [Example("q", ("a tag; of two",)), Example("q", ("fine",))]
    encoded, unfit = encode_all(examples, EMBEDDED, tokenizer)
    assert len(encoded) == unfit == 1


def test_a_long_query_is_cut_as_the_tagger_cuts_it(tokenizer):
    query = "word " * 1000
    assert tokenizer.decode(encode(Example(query, ("t",)), EMBEDDED, tokenizer).prompt) == EMBEDDED.ask(query)


lengths = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 8)), max_size=60)


@given(lengths, st.integers(1, 200))
def test_batches_hold_every_example_once_within_the_bound(sizes, bound):
    items = [Encoded([1] * prompt, [2] * reply) for prompt, reply in sizes]
    grouped = batches(items, bound)
    assert Counter(map(str, items)) == Counter(str(item) for group in grouped for item in group)
    for group in grouped:
        widest = -(-max(len(item.prompt) + len(item.reply) for item in group) // STEP) * STEP
        assert len(group) == 1 or len(group) * widest <= bound


@given(st.lists(st.tuples(st.integers(1, 12), st.integers(1, 5)), min_size=1, max_size=6))
def test_the_loss_is_on_reply_tokens_alone_token_by_token(sizes):
    items = [Encoded(list(range(10, 10 + prompt)), list(range(100, 100 + reply))) for prompt, reply in sizes]
    batch = collate([items], pad=0)
    keep = batch["logits_to_keep"].tolist()
    for row, (prompt, reply) in enumerate(items):
        whole = prompt + reply
        assert batch["input_ids"][row].tolist() == whole + [0] * (batch["input_ids"].shape[1] - len(whole))
        taught = {place: label for place, label in zip(keep, batch["labels"][row].tolist(), strict=True)}
        assert {place: label for place, label in taught.items() if label != IGNORED} == {
            len(prompt) + i: token for i, token in enumerate(reply)
        }
        assert len(prompt) - 1 in taught  # the logits that predict the first reply token


def test_the_loss_of_a_batch_is_the_mean_over_its_reply_tokens(tiny_folder):
    import torch

    from instag_hf.training import load_base

    model, _ = load_base(str(tiny_folder))
    model = model.float().eval()
    items = [Encoded([5, 6, 7, 8], [9, 10]), Encoded([11], [12, 13, 14])]
    with torch.no_grad():
        batch = float(model(**collate([items], pad=0)).loss)
        each = []
        for prompt, reply in items:
            logits = torch.log_softmax(model(input_ids=torch.tensor([prompt + reply])).logits[0], -1)
            each += [-float(logits[len(prompt) - 1 + i, token]) for i, token in enumerate(reply)]
    assert batch == pytest.approx(sum(each) / len(each), rel=1e-5)
