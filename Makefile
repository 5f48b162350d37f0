PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
JOBS ?= 8
RUNS ?= 200
SOAK_JOBS ?= 8

.PHONY: demo test lint bench soak reports clean

demo: $(VENV)/.installed
	$(BIN)/tfocheck demo

test: $(VENV)/.installed-test lint
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal tests

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy tfocheck cases tests --exclude '^tests/lab/'
	MYPYPATH=tests/lab $(BIN)/mypy tests/lab
	$(BIN)/lint-imports

bench: $(VENV)/.installed
	$(BIN)/python bench/bench.py
	$(BIN)/python bench/memory.py

soak: $(VENV)/.installed
	$(BIN)/python bench/soak.py --runs $(RUNS) --jobs $(SOAK_JOBS)

reports: $(VENV)/.installed
	$(BIN)/python reports/make.py

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@
