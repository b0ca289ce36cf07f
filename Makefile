# `make demo` and `make test` set up what they need (a virtual environment in .venv) and do their job; a second time is quick.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO := runs/demo
BENCH := .venv-bench
# two tests side by side, each in one thread (also the commands that a test starts); who ends first takes over from the other
# and what is compiled stays, for the commands that a test starts
PYTEST := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

.PHONY: demo bench corpus test lint unit e2e clean help

help:
	@echo "make demo   train a small ViT on built-in data and show what came out"
	@echo "make bench  compare the speed with other ViT libraries, in an environment of its own"
	@echo "make corpus examine every model of the doctor's corpus and write docs/doctor-corpus.md (half an hour)"
	@echo "make test   lint, types, layers, unit and end-to-end tests"

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "vitscope needs Python 3.11 or newer; set PYTHON=..." >&2; exit 2; }
	@echo "setting up $(VENV) (some minutes the first time)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	@touch $@

demo: $(READY)
	@if [ -e $(DEMO)/recipe.yaml ]; then $(BIN)/vitscope train --resume --out $(DEMO); else $(BIN)/vitscope train quickstart --out $(DEMO); fi
	@$(BIN)/vitscope eval $(DEMO)
	@$(BIN)/vitscope predict $(DEMO) digits:17 digits:test:3 digits:test:42
	@$(BIN)/vitscope look $(DEMO) digits:test:3 --out $(DEMO)/look.html
	@$(BIN)/vitscope report $(DEMO)

$(BENCH)/.ready: pyproject.toml constraints.txt
	@echo "setting up $(BENCH) (some minutes the first time)"
	@$(PYTHON) -m venv $(BENCH)
	@$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[bench]"
	@touch $@

bench: $(BENCH)/.ready
	@$(BENCH)/bin/vitscope bench $(BENCH_ARGS)

corpus: $(BENCH)/.ready
	@$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt pytest
	@$(BENCH)/bin/python tests/doctor/corpus.py > docs/doctor-corpus.md.part
	@mv docs/doctor-corpus.md.part docs/doctor-corpus.md

test: lint unit e2e

lint: $(READY)
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: $(READY)
	$(PYTEST) -m "not e2e"

e2e: $(READY)
	$(PYTEST) -m e2e

clean:
	rm -rf $(VENV) $(BENCH) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
