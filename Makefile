# Everything happens in .venv, which the first target makes: no root, no Docker, no Node.
# `make demo` is the quickest way to see what this is; `make demo KEEP=1` stays up and prints the URL and the login.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help dev ui demo test lint simulate faults bench constraints

# Some thousand processes start in a demo or a test run; none of them is to compile again what another one has.
export PYTHONDONTWRITEBYTECODE :=

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
# Tests run beside one another, more of them than there are processors, because they mostly wait for settle times; of
# those with real Airflow processes two at a time: a third makes all of them slower.
TESTERS ?= 6
AIRFLOWS ?= 2
WORKERS ?= 2
SCHEDULES ?= 1000000
CASES ?= 1000
KILLS ?= 60

help:
	@echo "make demo [KEEP=1]  a value stream on real Airflow against the lab; KEEP=1 stays up"
	@echo "make dev            .venv/bin/enterprise-orch and the tools"
	@echo "make ui             the front end of the executive view, into the package"
	@echo "make test           all tests"
	@echo "make lint           ruff, mypy, import-linter, the templates"
	@echo "make simulate       a million simulated schedules of deaths and faults (some 20 minutes)"
	@echo "make faults         1,000 killed submissions, then 60 kills of real Airflow processes (some 45 minutes)"
	@echo "make bench          the benchmarks (some 70 minutes)"
	@echo "make constraints    compile constraints.txt anew"

$(STAMP): pyproject.toml constraints.txt scripts/make_venv.sh
	@scripts/make_venv.sh $(VENV)
	@touch $@

# Built anew only when its sources have changed, which takes a moment to see.
ui: $(STAMP)
	@$(BIN)/python hatch_build.py build

dev: ui

demo: $(STAMP)
	@$(BIN)/python hatch_build.py build || echo "The demo goes on without the pages of the executive view." >&2
	@exec $(BIN)/enterprise-orch demo $(if $(filter-out 0,$(KEEP)),--keep)

test: ui
	$(BIN)/python -m pytest -m "not e2e" -n $(TESTERS) --no-loadscope-reorder --durations=15
	$(BIN)/python -m pytest tests/e2e tests/browser tests/faults/airflow_kills tests/bench -m e2e \
		-n $(AIRFLOWS) --no-loadscope-reorder --durations=15

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/enterprise-orch lint dag_templates/

simulate: $(STAMP)
	$(BIN)/python -m tests.faults.simulation --schedules $(SCHEDULES) --workers $(WORKERS)

faults: $(STAMP)
	$(BIN)/python -m tests.faults.submission_kills --cases $(CASES) --workers $(WORKERS)
	$(BIN)/python -m tests.faults.airflow_kills --seed 1 --kills $(KILLS)

bench: $(STAMP)
	$(BIN)/python -m tests.bench --all

constraints: $(STAMP)
	$(BIN)/python scripts/compile_constraints.py
