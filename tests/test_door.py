"""The front door: what is public, and what it costs to open it."""

import subprocess
import sys

import pytest

import instag_hf

HEAVY = (
    "torch",
    "transformers",
    "datasets",
    "sklearn",
    "aiohttp",
    "evaluate",
    "xllamacpp",
    "numpy",
    "pyarrow",
    "matplotlib",
    "gradio",
)


def loaded_after(code):
    probe = f"{code}\nimport sys\nprint(*(name for name in {HEAVY!r} if name in sys.modules), file=sys.stderr)"
    return subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stderr.split()


def help_of(*words):
    return f"from instag_hf.cli import cli\ntry: cli({[*words, '--help']!r})\nexcept SystemExit: pass"


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("import instag_hf", id="import"),
        pytest.param(help_of(), id="help"),
        pytest.param(help_of("tag"), id="tag help"),
        pytest.param(help_of("quality"), id="quality help"),
        pytest.param(help_of("report"), id="report help"),
        pytest.param(help_of("train-lm"), id="train-lm help"),
        pytest.param(help_of("mt-bench"), id="mt-bench help"),
        pytest.param(help_of("app"), id="app help"),
    ],
)
def test_door_loads_nothing_heavy(code):
    assert loaded_after(code) == []


def test_public_names_are_sorted_and_there():
    assert list(instag_hf.__all__) == sorted(instag_hf.__all__)
    for name in instag_hf.__all__:
        assert getattr(instag_hf, name) is not None
    assert set(instag_hf._ROOMS) | {"tag", "metric"} == set(instag_hf.__all__)


def test_no_name_is_room_and_function():
    import pkgutil

    rooms = {module.name for module in pkgutil.iter_modules(instag_hf.__path__)}
    assert not rooms & set(instag_hf.__all__)


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'tagg'"):
        instag_hf.tagg  # noqa: B018
