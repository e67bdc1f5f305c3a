# Everything happens in .venv, which the first target makes: no root, no Docker, no Node.
# `make demo` is the quickest way to see what this is; `make demo KEEP=1` stays up and prints the URL and the login.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help dev demo test lint bench constraints

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
# Tests that can share a machine run beside one another; those with real Airflow processes run alone.
WORKERS ?= 2

help:
	@echo "make demo [KEEP=1]  a value stream on real Airflow against the lab; KEEP=1 stays up"
	@echo "make dev            .venv/bin/enterprise-orch and the tools"
	@echo "make test           all tests"
	@echo "make lint           ruff, mypy, import-linter, the templates"
	@echo "make bench          the benchmarks"
	@echo "make constraints    compile constraints.txt anew"

$(STAMP): pyproject.toml constraints.txt scripts/make_venv.sh
	@scripts/make_venv.sh $(VENV)
	@touch $@

dev: $(STAMP)

demo: $(STAMP)
	@exec $(BIN)/enterprise-orch demo $(if $(filter-out 0,$(KEEP)),--keep)

test: $(STAMP)
	$(BIN)/python -m pytest -m "not e2e" -n $(WORKERS) --dist loadgroup
	$(BIN)/python -m pytest -m e2e

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/enterprise-orch lint dag_templates/

bench: $(STAMP)
	$(BIN)/python -m tests.bench

constraints: $(STAMP)
	$(BIN)/python scripts/compile_constraints.py
