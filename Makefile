PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
JOBS ?= 8
FAST_JOBS ?= 2
N ?= 300
RUNS ?= 200
WORLDS ?= 300
SOAK_JOBS ?= 8

.PHONY: demo test fast coverage mutants simulate lint bench soak reports clean

demo: $(VENV)/.installed
	$(BIN)/tfocheck demo

test: $(VENV)/.installed-test lint
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal tests

# What an ordinary user can run without a network: no root, no namespaces, no real time.
fast: $(VENV)/.installed-test lint
	$(BIN)/python -m pytest -q -n $(FAST_JOBS) -m "not lab and not long" tests

coverage: $(VENV)/.installed-test
	$(BIN)/python -m pytest -q -n $(FAST_JOBS) -m "not lab and not long" --cov --cov-report=term:skip-covered tests

# A sample of N small changes to judging, engine and server: do the tests of make fast notice?
mutants: $(VENV)/.installed-test
	$(BIN)/python bench/mutants.py -n $(N) $(if $(SEED),--seed $(SEED))

# Whole checks in memory, in worlds drawn from the seeds SEED, SEED + 1, ... (WORLDS of them).
simulate: $(VENV)/.installed-test
	PYTHONPATH=tests/simulation $(BIN)/python tests/simulation/simulate.py \
		--worlds $(WORLDS) $(if $(SEED),--seed $(SEED)) $(if $(RESUME),--resume $(RESUME))

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
