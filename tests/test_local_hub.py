"""The local Hub is one to the real clients: what they write they read back, and what it refuses they understand."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from instag_hf.errors import InputError
from instag_hf.testing import Fault, LocalHub, Rule
from instag_hf.testing.hub import READ_TOKEN, STRANGERS_TOKEN

huggingface_hub = pytest.importorskip("huggingface_hub")
ROWS = {"text": ["a", "b", "ü"], "tags": [["x"], [], ["y", "z"]]}


@pytest.fixture
def api(local_hub):
    return huggingface_hub.HfApi()


def test_the_session_has_it_as_its_hub(local_hub, api):
    assert local_hub.url == huggingface_hub.constants.ENDPOINT
    assert api.whoami()["name"] == "me"


def test_a_dataset_pushed_is_loaded_again_and_streamed(local_hub):
    from datasets import Dataset, DatasetDict, load_dataset

    rows = Dataset.from_dict(ROWS)
    rows.push_to_hub("me/pushed")
    assert load_dataset("me/pushed", split="train").to_dict() == ROWS
    assert list(load_dataset("me/pushed", split="train", streaming=True)) == rows.to_list()
    assert len(local_hub.seen("commit")) == 1
    DatasetDict({"train": rows, "test": rows}).push_to_hub("me/pushed-twice")
    assert load_dataset("me/pushed-twice")["test"].to_dict() == ROWS


def test_a_streaming_dataset_is_pushed(local_hub):
    from datasets import Dataset, load_dataset

    Dataset.from_dict(ROWS).to_iterable_dataset().push_to_hub("me/stream")
    assert load_dataset("me/stream", split="train").to_dict() == ROWS


def test_transformers_pushes_and_loads_weights_bit_for_bit(local_hub):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=32, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2
    )
    model = transformers.LlamaForCausalLM(config)
    model.push_to_hub("me/tiny")
    again = transformers.AutoModelForCausalLM.from_pretrained("me/tiny")
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name])


def test_files_go_up_and_come_down(local_hub, api, tmp_path):
    api.create_repo("me/files", exist_ok=True)
    api.create_repo("me/files", exist_ok=True)  # the second is answered with 409
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a b.txt").write_text("ü")
    (tmp_path / "w.bin").write_bytes(os.urandom(3000))
    api.upload_folder(repo_id="me/files", folder_path=tmp_path)
    assert api.list_repo_files("me/files") == [".gitattributes", "sub/a b.txt", "w.bin"]
    found = Path(api.snapshot_download("me/files"))
    assert (found / "sub" / "a b.txt").read_text() == "ü"
    assert (found / "w.bin").read_bytes() == (tmp_path / "w.bin").read_bytes()
    assert [entry.path for entry in api.list_repo_tree("me/files", "sub")] == ["sub/a b.txt"]
    assert {info.path for info in api.get_paths_info("me/files", ["w.bin", "sub", "no"])} == {"w.bin", "sub"}
    local_hub.forget()
    api.upload_folder(repo_id="me/files", folder_path=tmp_path)
    assert not local_hub.seen("put", "commit")  # nothing changed


def test_long_listings_come_in_pages(local_hub, api):
    local_hub.add("me/many", {f"{n:04}.txt": b"x" for n in range(1100)})
    assert len(api.list_repo_files("me/many", repo_type="dataset")) == 1101
    assert len(local_hub.seen("info", "tree")) <= 3


def test_branches_tags_and_commits_are_revisions(local_hub, api):
    first = local_hub.add("me/refs", {"a.txt": b"1"}, repo_type="model")
    api.create_tag("me/refs", tag="v1")
    api.create_branch("me/refs", branch="try/it")
    second = local_hub.add("me/refs", {"a.txt": b"2"}, repo_type="model")
    read = {
        rev: Path(api.hf_hub_download("me/refs", "a.txt", revision=rev)).read_text() for rev in ("v1", "try/it", first)
    }
    assert set(read.values()) == {"1"}
    assert Path(api.hf_hub_download("me/refs", "a.txt")).read_text() == "2"
    refs = api.list_repo_refs("me/refs")
    assert {branch.name: branch.target_commit for branch in refs.branches} == {"main": second, "try/it": first}
    assert [commit.commit_id for commit in api.list_repo_commits("me/refs")][:2] == [second, first]
    api.delete_branch("me/refs", branch="try/it")
    api.delete_tag("me/refs", tag="v1")
    with pytest.raises(huggingface_hub.errors.RevisionNotFoundError):
        api.repo_info("me/refs", revision="v1")
    api.delete_repo("me/refs")
    assert not api.repo_exists("me/refs")


def test_what_is_not_there_is_told_in_kinds(local_hub, api):
    local_hub.add("me/there", {"a.txt": b"1"})
    with pytest.raises(huggingface_hub.errors.RepositoryNotFoundError):
        api.repo_info("me/not-there")
    with pytest.raises(huggingface_hub.errors.EntryNotFoundError):
        api.hf_hub_download("me/there", "b.txt", repo_type="dataset")
    with pytest.raises(huggingface_hub.errors.RevisionNotFoundError):
        api.hf_hub_download("me/there", "a.txt", repo_type="dataset", revision="no")
    with pytest.raises(huggingface_hub.errors.EntryNotFoundError):
        api.delete_file("b.txt", "me/there", repo_type="dataset")


def test_private_repos_are_not_there_for_others(local_hub, api):
    local_hub.add("me/secret", {"a.txt": b"1"}, private=True)
    assert api.repo_info("me/secret", repo_type="dataset", token=READ_TOKEN).private
    for token in (STRANGERS_TOKEN, False):
        with pytest.raises(huggingface_hub.errors.RepositoryNotFoundError):
            api.repo_info("me/secret", repo_type="dataset", token=token)


@pytest.mark.parametrize(
    ("token", "status"),
    [
        pytest.param("hf_nobody", 401, id="unknown"),
        pytest.param(READ_TOKEN, 403, id="read only"),
        pytest.param(STRANGERS_TOKEN, 403, id="of another"),
    ],
)
def test_who_may_not_write_does_not(local_hub, token, status):
    local_hub.add("me/open", {"a.txt": b"1"})
    api = huggingface_hub.HfApi(token=token)
    with pytest.raises(huggingface_hub.errors.HfHubHTTPError) as caught:
        api.upload_file(path_or_fileobj=b"2", path_in_repo="a.txt", repo_id="me/open", repo_type="dataset")
    assert caught.value.response.status_code == status


def test_a_commit_on_an_old_parent_is_refused(local_hub, api):
    old = local_hub.add("me/race", {"a.txt": b"1"})
    local_hub.add("me/race", {"a.txt": b"2"})
    with pytest.raises(huggingface_hub.errors.HfHubHTTPError) as caught:
        api.upload_file(
            path_or_fileobj=b"3", path_in_repo="a.txt", repo_id="me/race", repo_type="dataset", parent_commit=old
        )
    assert caught.value.response.status_code == 412


@pytest.mark.parametrize(
    "yaml",
    [
        pytest.param("license: my-own", id="unknown licence"),
        pytest.param("license: no", id="a truth value"),
        pytest.param("size_categories: [10K-100K]", id="unknown size"),
        pytest.param("language: [English]", id="no code of a language"),
        pytest.param("tags: [1]", id="numbers for texts"),
        pytest.param("configs: [{data_files: x}]", id="a config without a name"),
        pytest.param("a: [", id="no YAML"),
    ],
)
def test_a_card_that_the_hub_refuses_is_refused(local_hub, yaml):
    with pytest.raises(ValueError, match=r"YAML|license|size_categories|language|tags|config"):
        huggingface_hub.RepoCard.validate(_Raw(f"---\n{yaml}\n---\n"), repo_type="dataset")
    huggingface_hub.RepoCard.validate(_Raw("---\nlicense: mit\nlanguage: [en, zh]\n---\n"), repo_type="dataset")


class _Raw(str):
    """A card as somebody may write it, which the library's own class would not even hold."""

    repo_type = "dataset"


def test_a_range_of_a_file_is_sent(local_hub, api):
    local_hub.add("me/ranged", {"data.bin": bytes(range(200)), "a.txt": b"0123456789"})
    files = huggingface_hub.HfFileSystem()
    with files.open("datasets/me/ranged/data.bin", "rb") as file:
        file.seek(100)
        assert file.read(5) == bytes(range(100, 105))
    with files.open("datasets/me/ranged/a.txt", "rb", block_size=4) as file:
        file.seek(8)
        assert file.read() == b"89"


def test_it_dies_and_comes_back_with_what_it_had(local_hub, api):
    local_hub.add("me/lives", {"a.txt": b"1"})
    local_hub.fault(Fault(route="commit"))
    with pytest.raises(Exception, match=r"(?i)disconnect|connect|reset|closed"):
        api.upload_file(path_or_fileobj=b"2", path_in_repo="a.txt", repo_id="me/lives", repo_type="dataset")
    with pytest.raises(OSError, match=r"(?i)refused|reset|closed|disconnect"):
        local_hub.forget()
    local_hub.kill()
    local_hub.start()
    assert Path(api.hf_hub_download("me/lives", "a.txt", repo_type="dataset")).read_text() == "1"


def test_xet_is_refused_at_once(tmp_path):
    with LocalHub() as hub:
        code = (
            "import huggingface_hub; huggingface_hub.HfApi().create_repo('me/x');"
            "huggingface_hub.upload_file(path_or_fileobj=b'1', path_in_repo='a.bin', repo_id='me/x')"
        )
        env = {**os.environ, **hub.environ, "HF_HUB_DISABLE_XET": "0"}
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
        folder = hub.folder
    assert done.returncode == 1
    assert "404 Not Found" in done.stderr  # all that the library tells of the answer
    assert not folder.exists()


def test_a_users_own_caches_are_neither_read_nor_written(tmp_path):
    code = (
        "import datasets, huggingface_hub.constants as hub;"
        "print(hub.HF_HUB_CACHE, datasets.config.HF_DATASETS_CACHE, hub.HF_HUB_OFFLINE, sep='\\n')"
    )
    mine = {"HF_HUB_CACHE": str(tmp_path), "HF_DATASETS_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    with LocalHub() as hub:
        env = {**os.environ, **mine, **hub.environ}
        said = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout
        cache, tables, offline = said.split()
        assert Path(cache).is_relative_to(hub.folder)
        assert Path(tables).is_relative_to(hub.folder)
        assert offline == "False"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Fault(route="comit"), "expected one of the routes .*'commit'.*, found 'comit'"),
        (lambda: Fault(route="commit", when="during"), "expected before or after, found 'during'"),
        (lambda: Rule(fault="garbge"), "expected one of the faults .*'garbage'.*, found 'garbge'"),
    ],
)
def test_a_fault_that_would_never_come_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_a_port_that_is_taken_is_told(capfd):
    with LocalHub() as hub, pytest.raises(OSError, match=f"expected a server on port {hub.port}, found none"):
        LocalHub(port=hub.port).start()
    assert "in use" in capfd.readouterr().err


def test_users_get_it_by_one_line_in_their_conftest(tmp_path):
    (tmp_path / "conftest.py").write_text('pytest_plugins = "instag_hf.testing.pytest_plugin"\n')
    (tmp_path / "test_theirs.py").write_text(
        "import huggingface_hub\n"
        "def test_theirs(local_hub):\n"
        "    huggingface_hub.HfApi().create_repo('mine')\n"
        "    assert local_hub.seen('create')[0].status == 200\n"
    )
    run = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    (tmp_path / "conftest.py").write_text("import huggingface_hub.constants\n" + (tmp_path / "conftest.py").read_text())
    late = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert late.returncode != 0
    assert "not to be imported yet" in late.stderr + late.stdout
