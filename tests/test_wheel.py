"""The wheel, alone in a fresh environment."""

import subprocess
import sys

import pytest
from conftest import ROOT


@pytest.mark.slow
def test_wheel_works_in_a_bare_environment(tmp_path):
    def run(*words):
        done = subprocess.run([str(word) for word in words], capture_output=True, text=True, cwd=tmp_path, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", tmp_path / "dist", ROOT)
    (wheel,) = (tmp_path / "dist").glob("instag_hf-*.whl")
    run(sys.executable, "-m", "venv", tmp_path / "bare")
    scripts = tmp_path / "bare" / "bin"
    run(scripts / "python", "-m", "pip", "install", "-q", wheel)
    assert "Example:" in run(scripts / "instag", "--help")
    assert run(scripts / "hf-instag", "prompt", "Hi", "--engine", "openai", "--model", "m").startswith("[")
    assert run(scripts / "instag", "prompt", "Hi").startswith("<|im_start|>user\nHi")
    code = "from instag_hf import pipeline, prompts\nprint(len(prompts.recipe_names()), pipeline.SAMPLE.is_file())"
    assert run(scripts / "python", "-c", code) == "5 True\n"
    (tmp_path / "tagged.jsonl").write_text('{"query": "Hi", "tags": ["greeting"]}\n')
    assert run(scripts / "instag", "report", "tagged.jsonl", "--column", "tags", "-o", "page.html") == "page.html\n"
    (tmp_path / "rows.jsonl").write_text('{"query": "Hi"}\n')
    done = subprocess.run(
        [scripts / "instag", "tag", "rows.jsonl", "-o", "o.jsonl"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 1
    assert 'pip install "instag-hf[embedded]"' in done.stderr
