"""Chat models are trained for real, on a tiny llama: the loss is on the assistant's words, and a stopped run goes on."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from datasets import Dataset, DatasetDict
from huggingface_hub import ModelCard

import instag_hf as instag
from instag_hf.errors import InputError
from instag_hf.mtbench import Round, Scores
from instag_hf.training import LM_PRESETS, LMJob, LMSettings, Settings, load_base, train, train_with_control
from instag_hf.training.conversations import read_talks, set_template, teach_all
from instag_hf.training.lm import _arguments, _trainer

INSTAG = Path(sys.executable).parent / "instag"
ROWS = [
    {
        "messages": [
            {"role": "user", "content": f"Say {word} {n} times"},
            {"role": "assistant", "content": " ".join([word] * n)},
            {"role": "user", "content": "Again"},
            {"role": "assistant", "content": " ".join([word] * n)},
        ],
        "source": "mine",
        "license": "CC0-1.0",
        "instag_normalized": [word, f"{n} times"],
    }
    for word in ("sun", "moon", "star", "sea", "tree", "bird", "fish", "cloud")
    for n in range(1, 9)
]
ROUND = {"mean": 4.5, "first_turn": 5.0, "second_turn": 4.0, "categories": {"stem": 4.5}, "judged": 2, "failed": {}}
QUICK = LMSettings(epochs=1.25, learning_rate=1e-2, batch_size=8, device_rows=8)


@pytest.fixture(scope="module")
def base(tiny_folder):
    return str(tiny_folder)


@pytest.fixture(scope="module")
def rows():
    return Dataset.from_list(ROWS)


@pytest.fixture(scope="module")
def trained(base, rows, tmp_path_factory):
    """One training of every weight, by the paper's template."""
    folder = tmp_path_factory.mktemp("lm") / "out"
    facts = train(rows, base, folder, settings=QUICK, eval_rows=rows.select(range(2)), notes={"why": "a test"})
    return folder, facts


def losses(facts):
    return [entry["loss"] for entry in facts["log"] if "loss" in entry]


def test_the_presets_have_the_papers_values():
    paper = LM_PRESETS["taglm"]
    assert (paper.epochs, paper.batch_size, paper.learning_rate) == (5, 128, 2e-5)
    assert (paper.template, paper.rank) == ("vicuna", 0)
    assert LM_PRESETS["chat"] == LMSettings(template="own")


def test_training_halves_the_loss_and_records_everything(trained):
    folder, facts = trained
    assert losses(facts)[-1] < losses(facts)[0] / 2
    assert facts["eval_loss"] < facts["eval_loss_before"] / 2
    written = json.loads((folder / "training.json").read_text())
    assert written == json.loads(json.dumps(facts))
    assert written["sources"] == [{"source": "mine", "license": "CC0-1.0", "rows": 64}]
    assert (written["rows"], written["rows_an_epoch"], written["steps"]) == (64, 64, 10)
    assert (written["rows_cut"], written["rows_too_long"], written["left_out"]) == (0, 0, {})
    assert (written["base"], written["kind"], written["why"]) == ("tiny", "lm", "a test")
    assert "/tmp" not in json.dumps(written)


def test_what_is_written_is_a_model_with_its_template_and_no_pickle(trained):
    folder, facts = trained
    found = {path.name for path in (folder / "model").iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja"} <= found
    assert not {path for path in found if path.endswith((".bin", ".pt", ".md"))}
    assert (folder / "model" / "chat_template.jinja").read_text() == facts["template"]


def test_the_model_is_published_and_loaded_again_as_it_is_in_its_folder(trained, local_hub):
    folder, _ = trained
    scores = Scores(model="m", judge="j", bench="b" * 64, rounds=(Round(**ROUND),))
    (folder / "scores.json").write_text(json.dumps(scores.to_dict()))
    instag.publish_model(folder, "me/taglm", license="mit")
    card = ModelCard.load("me/taglm")
    assert "MT-Bench, judged by j, 1 round of judging" in card.text
    assert "| this model |" in card.text
    assert card.data.eval_results[0].metric_value == 4.5
    code = (
        "import sys, transformers\n"
        "tokenizer = transformers.AutoTokenizer.from_pretrained(sys.argv[1])\n"
        "model = transformers.AutoModelForCausalLM.from_pretrained(sys.argv[1])\n"
        "asked = tokenizer.apply_chat_template([{'role': 'user', 'content': 'Say sun 2 times'}],\n"
        "    add_generation_prompt=True, return_tensors='pt', return_dict=True)\n"
        "said = model.generate(**asked, max_new_tokens=6, do_sample=False)[0, asked['input_ids'].shape[1]:]\n"
        "print(repr(tokenizer.decode(asked['input_ids'][0])), repr(tokenizer.decode(said)))\n"
    )
    words = [sys.executable, "-c", code]
    done = subprocess.run([*words, "me/taglm"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.startswith('"A chat between a curious user and an artificial intelligence assistant.')
    assert 'USER: Say sun 2 times ASSISTANT:" ' in done.stdout
    here = subprocess.run([*words, folder / "model"], capture_output=True, text=True, check=True)
    assert here.stdout == done.stdout


def test_the_local_engine_answers_mt_bench_with_it(trained, tmp_path, clean_home):
    from small_bench import write_bench

    from instag_hf.mtbench import ChatModel, answer, read_bench

    bench = read_bench(write_bench(tmp_path / "bench"))
    model = ChatModel(engine="local", model=str(trained[0] / "model"))
    assert len(model.revision) == 12  # of the files: another training in a folder of this name is another model
    answers = answer(bench, model, max_tokens=4)
    assert [len(one.turns) for one in answers.values()] == [2, 2, 2, 2]


def test_trl_leaves_our_tokens_and_labels_as_they_are(base, rows, tmp_path):
    import torch

    model, tokenizer = load_base(base)
    set_template(tokenizer, "own")
    taught = teach_all(read_talks(rows.select(range(4)))[0], tokenizer, 2048)
    job = LMJob(rows=rows, base=base, output=tmp_path, settings=LMSettings(batch_size=4, device_rows=4, rank=2))
    trainer = _trainer(model, tokenizer, _arguments(job, taught, resume=False), taught.rows, taught.rows)
    for table in (trainer.train_dataset, trainer.eval_dataset):
        assert sorted(table["labels"]) == sorted(row.labels for row in taught.rows)
        assert sorted(table["input_ids"]) == sorted(row.input_ids for row in taught.rows)
    (batch,) = trainer.get_train_dataloader()
    for ids, labels, seen in zip(batch["input_ids"], batch["labels"], batch["attention_mask"], strict=True):
        length = int(seen.sum())
        assert (ids[:length].tolist(), labels[:length].tolist()) in [tuple(row) for row in taught.rows]
        assert set(labels[length:].tolist()) <= {-100}
    # The loss is the mean over taught tokens, computed here from the logits.
    with torch.no_grad():
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        expected = torch.nn.functional.cross_entropy(
            logits[:, :-1].float().flatten(0, 1), batch["labels"][:, 1:].flatten(), ignore_index=-100
        )
        assert float(trainer.compute_loss(model, dict(batch))) == pytest.approx(float(expected), rel=1e-2)


@pytest.mark.parametrize("name", ["rows", "eval_rows"])
def test_a_job_refuses_the_splits_of_a_dataset(rows, tmp_path, name):
    given = {"rows": rows, name: DatasetDict(train=rows, test=rows)}
    with pytest.raises(InputError, match=r"expected a Dataset, found the splits \['train', 'test'\]. Name one"):
        LMJob(base="", output=tmp_path, **given)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("epochs", 0, "to be a number above 0"),
        ("epochs", float("nan"), "to be a number above 0"),
        ("learning_rate", -1, "to be a number above 0"),
        ("learning_rate", "1", "to be a number above 0"),
        ("warmup", 2, "to be a share from 0 to below 1"),
        ("weight_decay", -0.1, "to be a number from 0 on"),
        ("rank", -1, "to be a whole number from 0 on"),
        ("max_steps", 1.5, "to be a whole number from 0 on"),
        ("batch_size", 0, "to be a whole number from 1 on"),
        ("alpha", 0, "to be a whole number from 1 on"),
        ("total_tokens", -5, "to be a whole number from 0 on"),
        ("max_tokens", -5, "to be a whole number from 1 on"),
        ("evaluations", 1, "to be 0, or 2 or more"),
        ("decoys", 1.5, "of 0 to 1 for each row"),
        ("batch_tokens", 0, "to be a whole number from 1 on"),
    ],
)
def test_settings_refuse_numbers_that_nothing_can_be_trained_by(name, value, told):
    for settings in (LMSettings, Settings):
        settings(rank=0, max_steps=0, warmup=0, epochs=0.5)
        if hasattr(settings, name):
            with pytest.raises(InputError, match=f"train: expected {name} {told}, found {value!r}"):
                settings(**{name: value})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        pytest.param({"settings": LMSettings(batch_size=6, device_rows=4)}, "a batch size that 1 devices", id="batch"),
        pytest.param({"settings": LMSettings(template="chatml")}, "expected a template of", id="template"),
        pytest.param({"settings": LMSettings(max_tokens=4)}, "no row has an answer within max_tokens", id="length"),
        pytest.param({"column": "source", "reply": "license"}, None, id="other columns are fine"),
        pytest.param({"reply": "gold"}, 'expected a column "gold"', id="no such column"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_any_work(base, rows, tmp_path, given, message):
    if message is None:
        assert read_talks(rows, **given)[0][0].turns[1].text == "CC0-1.0"
        return
    with pytest.raises(InputError, match=message):
        train(rows, base, tmp_path / "out", **given)


def test_a_finished_or_another_training_in_the_folder_is_refused(trained, base, rows):
    folder, _ = trained
    with pytest.raises(InputError, match="holds a finished training already"):
        train(rows, base, folder, settings=QUICK)
    with pytest.raises(InputError, match="holds a training with other settings or data"):
        train_with_control(LMJob(rows=rows.select(range(8)), base=base, output=folder, settings=QUICK), rows)
    with pytest.raises(InputError, match="found none"):
        train(rows.select([0]).map(lambda row: {"messages": row["messages"][:1]}), base, folder / "x")


@pytest.mark.slow
def test_a_control_is_trained_on_as_many_random_rows(base, rows, tmp_path):
    chosen = rows.select(range(8))
    settings = LMSettings(batch_size=4, device_rows=4, total_tokens=400, rank=2)
    job = LMJob(rows=chosen, base=base, output=tmp_path / "out", settings=settings, eval_rows=chosen.select([0]))
    facts = train_with_control(job, rows, draw_seed=3)
    control = facts["control"]
    assert json.loads((tmp_path / "out" / "training.json").read_text())["control"] == json.loads(json.dumps(control))
    assert (facts["rows"], control["rows"], control["draw_seed"]) == (8, 8, 3)
    assert facts["rows_sha256"] != control["rows_sha256"]
    assert facts["eval_loss_before"] == control["eval_loss_before"]
    longest = 80
    assert all(400 - longest < one["tokens_an_epoch"] <= 400 for one in (facts, control))
    with pytest.raises(InputError, match="holds a finished training already"):
        train_with_control(job, rows, draw_seed=3)
    # Stopped between the two: the first is not done again, and the record ends the same.
    record = tmp_path / "out" / "training.json"
    record.write_text(json.dumps({name: fact for name, fact in facts.items() if name != "control"}))
    before = (tmp_path / "out" / "adapter" / "adapter_model.safetensors").stat().st_mtime_ns
    assert train_with_control(job, rows, draw_seed=3) == json.loads(json.dumps(facts))
    assert (tmp_path / "out" / "adapter" / "adapter_model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(InputError, match=r"a pool from which 8 rows can be drawn, found 4"):
        train_with_control(
            LMJob(rows=chosen, base=base, output=tmp_path / "other", settings=settings), rows.select(range(4))
        )


@pytest.mark.slow
def test_packed_rows_see_themselves_alone(base, rows, tmp_path):
    """A first step of next to no learning has the same loss, whether eight rows lie end to end or below another."""
    some = rows.select(range(8))
    still = {"learning_rate": 1e-12, "max_steps": 1, "max_tokens": 1024}
    apart = train(some, base, tmp_path / "a", settings=LMSettings(batch_size=8, device_rows=8, **still))
    packed = train(some, base, tmp_path / "b", settings=LMSettings(batch_size=1, packing=True, **still))
    assert losses(packed)[0] == pytest.approx(losses(apart)[0], rel=1e-5)


@pytest.mark.slow
def test_an_adapter_names_its_base_and_can_be_merged(base, rows, tmp_path):
    settings = LMSettings(template="own", batch_size=8, device_rows=8, max_steps=2, rank=2)
    train(rows, f"{base}.gguf", tmp_path / "out", settings=settings, merge=True)
    config = json.loads((tmp_path / "out" / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "tiny.gguf"
    model, tokenizer = load_base(str(tmp_path / "out" / "merged"))
    before, _ = load_base(base)
    changed = [name for name, weight in before.named_parameters() if not weight.equal(model.get_parameter(name))]
    assert changed
    assert all("proj" in name for name in changed)
    assert "<|im_start|>" in tokenizer.chat_template


def write_rows(path):
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


@pytest.mark.slow
def test_a_killed_training_goes_on_and_ends_where_an_unbroken_one_does(base, tmp_path):
    words = [INSTAG, "train-lm", write_rows(tmp_path / "rows.jsonl"), "--base", base, "--learning-rate", "1e-3"]
    words += ["--epochs", "2", "--batch-size", "8", "--device-rows", "8", "--eval-dataset", tmp_path / "rows.jsonl"]
    broken = subprocess.Popen([*words, "-o", tmp_path / "broken"], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    checkpoints = tmp_path / "broken" / "checkpoints"
    while broken.poll() is None and not list(checkpoints.glob("checkpoint-*/trainer_state.json")):
        time.sleep(0.01)
    broken.send_signal(signal.SIGKILL)
    broken.wait()
    assert not (tmp_path / "broken" / "training.json").exists()
    facts = {}
    for folder in ("broken", "whole"):
        done = subprocess.run([*words, "-o", tmp_path / folder], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        assert done.stdout.strip() == str(tmp_path / folder / "training.json")
        assert "eval loss, the base's" in done.stderr
        facts[folder] = json.loads((tmp_path / folder / "training.json").read_text())
    resumed, whole = facts["broken"], facts["whole"]
    assert [entry["step"] for entry in resumed["log"]] == [entry["step"] for entry in whole["log"]]
    assert losses(resumed)[-1] == pytest.approx(losses(whole)[-1], rel=1e-3)
    for name in ("eval_loss", "eval_loss_before"):
        assert resumed[name] == pytest.approx(whole[name], rel=1e-3)


@pytest.mark.slow
def test_two_processes_under_accelerate_end_where_one_does(base, tmp_path):
    words = ["train-lm", write_rows(tmp_path / "rows.jsonl"), "--base", base, "--learning-rate", "1e-3"]
    words += ["--batch-size", "8", "--device-rows", "4", "--max-steps", "4", "--template", "own"]
    alone = subprocess.run([INSTAG, *words, "-o", tmp_path / "one"], capture_output=True, text=True, check=False)
    assert alone.returncode == 0, alone.stderr[-2000:]
    launch = [INSTAG.parent / "accelerate", "launch", "--cpu", "--num_processes", "2", "--num_machines", "1"]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    both = subprocess.run(
        [*launch, INSTAG, *words, "-o", tmp_path / "two"], capture_output=True, text=True, check=False
    )
    assert both.returncode == 0, both.stderr[-3000:]
    assert both.stdout.split() == [str(tmp_path / "two" / "training.json")]  # one of the two speaks
    one, two = (json.loads((tmp_path / name / "training.json").read_text()) for name in ("one", "two"))
    assert two["steps"] == one["steps"] == 4
    assert losses(two)[0] == pytest.approx(losses(one)[0], rel=0.2)  # other rows share a step, of as many
    assert losses(two)[-1] < losses(two)[0]


@pytest.mark.parametrize("path", sorted((ROOT / "examples" / "accelerate").glob("*.yaml")), ids=lambda path: path.stem)
def test_accelerate_reads_its_example_files(path):
    from accelerate.commands.config.config_args import load_config_from_file

    told = yaml.safe_load(path.read_text())
    config = load_config_from_file(str(path))
    assert config.num_processes == told["num_processes"] > 1
    assert config.distributed_type.value == told["distributed_type"]


def test_compare_without_a_pool_is_a_usage_error(tmp_path):
    rows = write_rows(tmp_path / "rows.jsonl")
    for more in (("--compare", "random"), ("--pool", rows)):
        done = subprocess.run(
            [INSTAG, "train-lm", rows, "-o", tmp_path / "out", *more], capture_output=True, text=True, check=False
        )
        assert done.returncode == 2
        assert "--compare random needs --pool" in " ".join(done.stderr.split())
