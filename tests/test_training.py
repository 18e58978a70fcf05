"""Taggers are trained for real, on a tiny llama or the embedded tagger's own base."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny import write_tiny_llama

from instag_hf import pipeline, training
from instag_hf.engines import embedded
from instag_hf.errors import InputError
from instag_hf.prompts import load_recipe
from instag_hf.tagger import Tagger
from instag_hf.training import Job, Settings, train_tagger
from instag_hf.training.examples import Example
from instag_hf.training.runs import prepare, record

INSTAG = Path(sys.executable).parent / "instag"
EXAMPLES = [
    Example(f"{verb} {thing} number {n}", (tag, thing), source="mine", license="CC0-1.0")
    for n in range(4)
    for verb, tag in (("Write", "writing"), ("Sort", "sorting"), ("Explain", "explanation"), ("Count", "counting"))
    for thing in ("poems", "files", "stars")
]
QUICK = Settings(epochs=12, learning_rate=1e-2, batch_size=4, batch_tokens=128, rank=4, alpha=8, decoys=0)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return str(write_tiny_llama(tmp_path_factory.mktemp("tiny") / "tiny.gguf"))


def job(base, output, **given):
    fields = {"examples": EXAMPLES, "recipe": load_recipe("embedded"), "base": base, "settings": QUICK, **given}
    return Job(output=output, **fields)


def losses(facts):
    return [entry["loss"] for entry in facts["log"] if "loss" in entry]


def test_training_lowers_the_loss_and_records_everything(base, tmp_path):
    dev = [*EXAMPLES[:4], Example("Sort this", ("a tag; of two",))]
    facts = train_tagger(job(base, tmp_path / "out", dev=dev, formats=("adapter", "gguf", "merged")))
    assert losses(facts)[-1] < losses(facts)[0] / 2
    assert [entry for entry in facts["log"] if "eval_loss" in entry]
    written = json.loads((tmp_path / "out" / "training.json").read_text())
    assert written == json.loads(json.dumps(facts))
    assert written["sources"] == [{"source": "mine", "license": "CC0-1.0", "rows": len(EXAMPLES)}]
    assert written["settings"]["rank"] == 4
    assert written["recipe"]["sha256"] == load_recipe("embedded").sha256
    assert written["examples_taught"] == len(EXAMPLES)
    assert written["dev_unfit"] == 1
    assert written["base"] == "tiny.gguf"
    assert "/tmp" not in json.dumps(written)
    for name in ("adapter/adapter_model.safetensors", "tagger.gguf", "merged/model.safetensors"):
        assert (tmp_path / "out" / name).is_file()
    adapter = tmp_path / "out" / "adapter"
    assert json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"] == "tiny.gguf"
    assert not (adapter / "README.md").exists()


def test_a_finished_or_another_training_in_the_folder_is_refused(base, tmp_path):
    one = job(base, tmp_path / "out", settings=Settings(max_steps=1, rank=4, decoys=0))
    train_tagger(one)
    with pytest.raises(InputError, match="holds a finished training already"):
        train_tagger(one)
    (tmp_path / "out" / "training.json").unlink()
    with pytest.raises(InputError, match="holds a training with other settings or data"):
        train_tagger(job(base, tmp_path / "out", settings=Settings(max_steps=2, rank=4, decoys=0)))


@pytest.mark.slow
def test_every_weight_is_trained_with_rank_0(base, tmp_path):
    import transformers

    whole = job(base, tmp_path / "out", settings=Settings(max_steps=6, rank=0, decoys=0), formats=("merged",))
    facts = train_tagger(whole)
    assert facts["steps"] == 6
    before, _ = training.load_base(base)
    after = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out" / "merged", dtype="auto")
    changed = [name for name, weight in after.named_parameters() if not weight.equal(before.get_parameter(name))]
    assert len(changed) > 10


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"examples": []}, "expected rows with a query and tags, found none"),
        ({"formats": ("onnx",)}, r"expected formats of .*, found \['onnx'\]"),
        ({"settings": Settings(rank=0)}, "rank 0 trains every weight and writes no adapter"),
        ({"start": "nowhere.gguf"}, "found no file nowhere.gguf"),
        ({"examples": [Example("q", ("t",), ("why",))]}, "the recipe embedded has no place for explanations"),
        ({"examples": [Example("q", ("a; b",))]}, "no row's tags can be written as compact"),
    ],
)
def test_a_job_that_cannot_be_done_is_refused_before_any_work(base, tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        train_tagger(job(base, tmp_path / "out", **change))


def write_rows(path, examples=EXAMPLES):
    path.write_text(
        "".join(json.dumps({"query": e.query, "tags": e.tags, "source": e.source}) + "\n" for e in examples)
    )
    return path


@pytest.mark.slow
def test_a_killed_training_goes_on_and_ends_where_an_unbroken_one_does(base, tmp_path):
    rows = write_rows(tmp_path / "rows.jsonl")
    words = [INSTAG, "train-tagger", rows, "--tags", "tags", "--base", base, "--rank", "4", "--decoys", "0"]
    words += ["--epochs", "30", "--batch-tokens", "128", "--batch-size", "4", "--learning-rate", "1e-3"]

    def losses_of(folder):
        return [entry for entry in json.loads((tmp_path / folder / "training.json").read_text())["log"]]

    broken = subprocess.Popen([*words, "-o", tmp_path / "broken"], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while broken.poll() is None and not list(
        (tmp_path / "broken" / "checkpoints").glob("checkpoint-*/trainer_state.json")
    ):
        time.sleep(0.01)
    broken.send_signal(signal.SIGKILL)
    broken.wait()
    assert not (tmp_path / "broken" / "training.json").exists()
    for folder in ("broken", "whole"):
        done = subprocess.run([*words, "-o", tmp_path / folder], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == str(tmp_path / folder / "training.json")
    resumed, whole = losses_of("broken"), losses_of("whole")
    assert [entry["step"] for entry in resumed] == [entry["step"] for entry in whole]
    assert resumed[-1]["loss"] == pytest.approx(whole[-1]["loss"], rel=1e-3)


def test_eval_tagger_prints_a_table_and_json(tmp_path, clean_home):
    sources = ["mine", "mine", "mine", "\x1b[31mred", None, None]
    gold = [e._replace(source=source) for e, source in zip(EXAMPLES[:6], sources, strict=True)]
    rows = write_rows(tmp_path / "gold.jsonl", gold)
    words = [INSTAG, "eval-tagger", rows, "--gold", "tags"]
    table = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert "6 queries, 0 failed" in table
    assert "fuzzy match" in table
    assert "  mine" in table
    assert "  no source" in table
    assert "\x1b" not in table
    again = subprocess.run(
        [*words, "--turns", "last", "--json", "--no-fuzzy"], capture_output=True, text=True, check=True
    ).stdout
    scores = json.loads(again)
    assert scores["kept_replies"] == 6
    assert scores["agreement"]["fuzzy"] is None
    assert scores["agreement"]["queries"] == 6
    assert scores["tokens_a_reply"] > 2
    refused = subprocess.run([*words[:-1], "labels"], capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert 'expected a column "labels" of gold tags' in refused.stderr


@pytest.mark.slow
def test_the_papers_loop_an_open_recipe_tags_and_a_new_tagger_learns_from_it(tmp_path, clean_home):
    """A chat model on a llama.cpp server tags by the open recipe; what it tagged trains a tagger that tags alone."""
    server = embedded._serve(embedded.find_base(), "key", 2048)
    env = {**os.environ, "INSTAG_URL": server.listening_address, "INSTAG_API_KEY": "key"}
    tagged, out = tmp_path / "tagged.parquet", tmp_path / "tagger"

    def run(*words):
        done = subprocess.run([INSTAG, *map(str, words)], capture_output=True, text=True, env=env, check=False)
        assert done.returncode == 0, done.stderr

    asked = ("--engine", "openai", "--model", "base", "--recipe", "open", "--structured")
    run("tag", pipeline.SAMPLE, "-o", tagged, "--limit", "8", *asked)
    good = [row for row in pipeline.load(str(tagged)) if not row["instag_error"]]
    assert good, "the base model answered no query in the recipe's format"
    assert all(len(row["instag_explanations"]) == len(row["instag_tags"]) for row in good)
    settings = ("--max-steps", "20", "--decoys", "0", "--min-tag-count", "1")
    run("train-tagger", tagged, "-o", out, *settings)
    facts = json.loads((out / "training.json").read_text())
    assert facts["steps"] == 20
    assert facts["examples"] == len(good)
    assert facts["left_out"].get("tagging failed", 0) == 8 - len(good)
    columns = Tagger(model=str(out / "tagger.gguf"))({"instruction": "Write a Python function that sorts a list."})
    assert columns["instag_error"] == ""
    assert columns["instag_tags"]


def test_a_checkpoint_that_was_never_finished_does_not_stand_in_the_way(tmp_path):
    assert not prepare(tmp_path, {})
    for step, names in ((1, ("model.safetensors", "trainer_state.json")), (2, ("model.safetensors",))):
        (tmp_path / "checkpoints" / f"checkpoint-{step}").mkdir()
        for name in names:
            (tmp_path / "checkpoints" / f"checkpoint-{step}" / name).write_text("{}")
    (tmp_path / "checkpoints" / "checkpoint-3").mkdir()
    (tmp_path / "checkpoints" / "checkpoint-3" / "trainer_state.json").write_text('{"epoch": 0.')
    assert prepare(tmp_path, {})
    assert [path.name for path in (tmp_path / "checkpoints").glob("checkpoint-*")] == ["checkpoint-1"]


def test_processes_of_one_training_may_prepare_its_folder_at_once(tmp_path):
    code = "import sys; from pathlib import Path; from instag_hf.training.runs import prepare; print(flush=True)\n"
    code += "sys.stdin.read()\nfor n in range(200): prepare(Path(sys.argv[1], str(n)), {'steps': 1})"
    words = [sys.executable, "-c", code, tmp_path]
    pipes = dict.fromkeys(["stdin", "stdout", "stderr"], subprocess.PIPE)
    children = [subprocess.Popen(words, **pipes, text=True) for _ in range(4)]
    for child in children:
        child.stdout.readline()  # all have imported before any begins
    for child in children:
        child.stdin.close()
    said = [child.stdout.read() + child.stderr.read() for child in children]
    assert [child.wait() for child in children] == [0] * 4, said
    for child in children:
        child.stdout.close()
        child.stderr.close()


def test_a_command_that_is_no_unicode_is_recorded(tmp_path):
    record(tmp_path, {"command": "instag train-lm x -o mod\udce9l"})
    assert json.loads((tmp_path / "training.json").read_text())["command"].endswith("mod\ufffdl")


def test_a_folder_that_cannot_be_written_is_told_before_any_work(tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(InputError, match=r"train: could not write into .*out: .*Choose another folder"):
        prepare(tmp_path / "out", {})
