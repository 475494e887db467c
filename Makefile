PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: help demo test lint types layers real-data bench scaling simulate mutants mutants-domain deaths kills docs clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST)

$(VENV)/demo.stamp: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e .
	touch $@

$(VENV)/dev.stamp: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@ $(VENV)/demo.stamp

demo: $(VENV)/demo.stamp  ## the main job against local look-alikes of both systems
	$(BIN)/swapsync demo --no-serve

test: $(VENV)/dev.stamp  ## the whole test suite, on SQLite and PostgreSQL; DATABASES=both each test on both
	$(BIN)/pytest -n auto --databases $(or $(DATABASES),one)

lint: $(VENV)/dev.stamp  ## ruff: faults, style, format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/dev.stamp  ## mypy, strict
	$(BIN)/mypy

layers: $(VENV)/dev.stamp  ## imports run downwards only
	$(BIN)/lint-imports

real-data: $(VENV)/dev.stamp  ## the main job on a real wholesaler's year, against labelled returns
	$(BIN)/python scripts/real_data.py

bench: $(VENV)/dev.stamp  ## speed and memory against their targets
	$(BIN)/python scripts/speed.py

scaling: $(VENV)/dev.stamp  ## throughput of one worker to eight over one PostgreSQL
	$(BIN)/python scripts/scaling.py

simulate: $(VENV)/dev.stamp  ## seeded days of faults: SEEDS=10000 many, SEED=123 one of them, told and shrunk
	$(BIN)/python -m tests.simulation $(if $(SEED),$(SEED),--seeds $(or $(SEEDS),200) --first $(or $(FIRST),1))

mutants: $(VENV)/dev.stamp  ## deliberate bugs, and the seed that catches each
	$(BIN)/python -m tests.simulation.mutants

mutants-domain: $(VENV)/dev.stamp  ## every small change of the rules themselves, and whether a test notices
	$(BIN)/mutmut run
	$(BIN)/mutmut results

deaths: $(VENV)/dev.stamp  ## a worker that dies at each point of a run, one after the other
	DEATHS_AT_EVERY=1 $(BIN)/pytest tests/simulation/test_deaths.py

kills: $(VENV)/dev.stamp  ## real processes, killed at random moments: KILLS=500
	$(BIN)/python -m tests.simulation.kills --kills $(or $(KILLS),60)

docs: $(VENV)/dev.stamp  ## write the generated pages again
	$(BIN)/python scripts/make_docs.py

clean:  ## remove the environment and what tools left behind
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache
