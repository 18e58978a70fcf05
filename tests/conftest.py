"""What all tests share: a home of their own for replies and caches, and the data that lies beside the checkout."""

import ast
import gc
import importlib.util
import os
import shutil
import tempfile
from pathlib import Path

# Points the clients of the Hub to one on this machine, with a cache of its own.
pytest_plugins = "instag_hf.testing.pytest_plugin"

# Set before datasets is imported, since it reads these once.
_SCRATCH = tempfile.mkdtemp(prefix="instag-tests-")
os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
os.environ.setdefault("INSTAG_HOME", f"{_SCRATCH}/instag")
if _worker := os.environ.get("PYTEST_XDIST_WORKER"):  # one of those that `make test` starts, with a home of its own
    os.environ["INSTAG_HOME"] += f"/{_worker}"
    if hasattr(os, "sched_setaffinity"):  # and cores of its own: threads of llama.cpp and torch spin while they wait
        _of = int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
        _cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, _cores[int(_worker.removeprefix("gw")) % _of :: _of] or _cores)
# What a shell may have set for its own runs; servers of tests are on this machine, past any proxy.
for _name in [name for name in os.environ if name.startswith("INSTAG_") and name != "INSTAG_HOME"]:
    del os.environ[_name]
for _name in ("HF_ENDPOINT", "HF_TOKEN", "RANK", "WORLD_SIZE"):
    os.environ.pop(_name, None)
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"

import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

from instag_hf import replies  # noqa: E402

# Speed is measured in benchmarks, never asserted; CI judges a change, not luck.
settings.register_profile("instag", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.register_profile("deep", deadline=None, max_examples=5000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "instag"))

# Tests of an environment of its own: `make lanes`.
collect_ignore = [] if importlib.util.find_spec("text_generation") else ["lanes"]

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"


def tree_of(path):
    """A file of Python as a tree: a loop collected while Python 3.11 builds one parses one itself, and both fail."""
    gc.collect()
    return ast.parse(path.read_text())


@pytest.fixture(scope="session")
def shared_data():
    """The folder of real data, which is no part of the project."""
    if not SHARED.is_dir():
        pytest.skip("the shared data is not beside the checkout")
    return SHARED / "data"


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    """A llama of two layers with random weights, as transformers keeps one; its GGUF file lies beside it."""
    from tiny import write_tiny_folder

    return write_tiny_folder(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def clean_home(tmp_path, monkeypatch):
    """A reply store of the test's own, with the prepared models of the session."""
    models = Path(os.environ["INSTAG_HOME"]) / "models"
    models.mkdir(parents=True, exist_ok=True)
    home = tmp_path / "instag"
    home.mkdir()
    (home / "models").symlink_to(models)
    monkeypatch.setenv("INSTAG_HOME", str(home))
    yield home
    if opened := replies._stores.pop(home / "replies.sqlite", None):  # or files of all tests stay open
        opened.close()


@pytest.fixture(autouse=True)
def one_environ(monkeypatch):
    """Put back `os.environ`: a map with num_proc leaves a copy in its place, which monkeypatch would not clean."""
    environ = os.environ
    yield
    os.environ = environ  # noqa: B003


def pytest_unconfigure():
    """Remove what the session wrote; the prepared model alone is 145 MB."""
    shutil.rmtree(_SCRATCH, ignore_errors=True)


def pytest_sessionfinish(session, exitstatus):
    """In CI, a test that was skipped although its data is there is a failure."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and SHARED.is_dir() and reporter and reporter.stats.get("skipped") and exitstatus == 0:
        reporter.write_line("FAILED: tests were skipped although what they need is present", red=True)
        session.exitstatus = 1
