PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
JOBS ?= 8
FAST_JOBS ?= 2
N ?= 300
RUNS ?= 200
WORLDS ?= 300
FRAMES ?= 3000000
SOAK_JOBS ?= 8

.PHONY: help demo test fast coverage mutants simulate hostile lint bench matrix soak docs printed reports clean

# A virtual environment whose Python does not run any more is made anew.
ifneq ($(wildcard $(VENV)/.installed),)
ifneq ($(shell $(BIN)/python -c "import click" 2> /dev/null && echo yes),yes)
$(shell rm -f $(VENV)/.installed $(VENV)/.installed-test)
endif
endif

help:  ## what there is to make
	@sed -n 's/^\([a-z]*\):.*  ## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 17

demo: $(VENV)/.installed  ## a check of a real kernel, in namespaces of its own
	$(BIN)/python -m tfocheck demo

test: $(VENV)/.installed-test lint  ## all tests; what this machine lacks is skipped, and says so
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal tests

# What an ordinary user can run without a network: no root, no namespaces, no real time.
fast: $(VENV)/.installed-test lint  ## the tests that need neither root nor namespaces
	$(BIN)/python -m pytest -q -n $(FAST_JOBS) -m "not lab and not long" tests

coverage: $(VENV)/.installed-test  ## the same, and which branches they take
	$(BIN)/python -m pytest -q -n $(FAST_JOBS) -m "not lab and not long" --cov --cov-report=term:skip-covered tests

# A sample of N small changes to judging, engine and server: do the tests of make fast notice?
mutants: $(VENV)/.installed-test  ## do the tests notice N small changes?
	$(BIN)/python bench/mutants.py -n $(N) $(if $(SEED),--seed $(SEED))

# Whole checks in memory, in worlds drawn from the seeds SEED, SEED + 1, ... (WORLDS of them).
simulate: $(VENV)/.installed-test  ## whole checks in WORLDS worlds in memory
	PYTHONPATH=tests/simulation $(BIN)/python tests/simulation/simulate.py \
		--worlds $(WORLDS) $(if $(SEED),--seed $(SEED)) $(if $(RESUME),--resume $(RESUME))

# What nobody should send: FRAMES packets through all that reads packets.
hostile: $(VENV)/.installed-test  ## what nobody should send, through all that reads packets
	$(BIN)/python tests/hostile/parsers.py --frames $(FRAMES) $(if $(SEED),--seed $(SEED))

lint: $(VENV)/.installed-test  ## ruff, mypy, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy tfocheck cases tests --exclude '^tests/lab/'
	MYPYPATH=tests/lab $(BIN)/mypy tests/lab
	$(BIN)/lint-imports

bench: $(VENV)/.installed  ## what checks cost
	$(BIN)/python bench/bench.py
	$(BIN)/python bench/memory.py

matrix: $(VENV)/.installed-test  ## doctor at each switch and listener, inside against outside
	cd tests/lab && $(abspath $(BIN))/python doctor_matrix.py

soak: $(VENV)/.installed  ## RUNS checks on bad networks: how many verdicts are false?
	$(BIN)/python bench/soak.py --runs $(RUNS) --jobs $(SOAK_JOBS)

docs: $(VENV)/.installed-test  ## the pages as a site, in build/site
	$(BIN)/mkdocs build --quiet --strict

printed: $(VENV)/.installed-test  ## what README and pages show as printed, printed anew
	$(BIN)/python docs/make.py

reports: $(VENV)/.installed  ## the samples in reports/, printed anew
	$(BIN)/python reports/make.py

clean:  ## remove what was made here
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis

# One that was left half-made has no pip: it is made from the beginning.
$(VENV)/.installed: pyproject.toml
	$(BIN)/python -m pip --version > /dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[lab]'
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@
