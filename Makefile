# `make help` lists the targets.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
# Bytecode, tool caches and matplotlib's font cache stay quiet and local.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
.DEFAULT_GOAL := help
.PHONY: help setup run ui test test-all lint format typecheck check lock benchmarks results methods clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | awk -F'\t' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: $(VENV)/.ready  ## create .venv with the locked packages (a second call does nothing)

$(VENV)/.ready: requirements.lock
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 14) else "error: Python 3.11 to 3.13 is needed, found %d.%d; name another with `make PYTHON=python3.11 $(MAKECMDGOALS)`" % v)'
	@echo "setting up $(VENV) (up to 3 GB of packages)"
	@$(PYTHON) -m venv $(VENV) || { echo "error: could not make $(VENV); if python3-venv is missing, on Debian or Ubuntu: apt-get install python3-venv" >&2; exit 2; }
	@$(PY) -m pip install -q --disable-pip-version-check "$$(sed -n 's/^\(uv==[0-9.]*\).*/\1/p' requirements.lock)"
	@$(VENV)/bin/uv pip install -q --python $(PY) --require-hashes -r requirements.lock
	@$(PY) -c 'import cv2' || { echo "error: OpenCV lacks system libraries; on Debian or Ubuntu: apt-get install libgl1 libglib2.0-0" >&2; exit 2; }
	@touch $@

run: setup  ## train, localize and score the embedded example as an Airflow run, then show the result
	@$(PY) -m pipeline run

ui: setup  ## serve the MLflow and Airflow pages on 127.0.0.1
	@$(PY) -m pipeline ui

test: setup  ## lint, type check and run the tests
	@$(MAKE) --no-print-directory lint typecheck
	@$(PY) -m pytest -m "not slow" -n 2 --dist loadfile

test-all: setup  ## lint, type check and run all tests, the slow ones included
	@$(MAKE) --no-print-directory lint typecheck
	@$(PY) -m pytest -n 2 --dist loadfile

lint: setup  ## ruff: style, imports between floors, Airflow rules
	@$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check .

format: setup  ## let ruff rewrite what it can
	@$(VENV)/bin/ruff check --fix . && $(VENV)/bin/ruff format .

typecheck: setup  ## mypy
	@$(VENV)/bin/mypy

check: setup  ## validate params.yaml and every input
	@$(PY) -m pipeline check

lock: setup  ## resolve pyproject.toml anew into requirements.lock
	@$(VENV)/bin/uv pip compile -q --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
		--no-emit-index-url --no-emit-find-links --extra dev pyproject.toml -o requirements.lock

benchmarks: setup  ## measure memory and speed; tables on the terminal, JSON in benchmarks/out
	@for script in benchmarks/bench_*.py; do $(PY) -m benchmarks.$$(basename $$script .py) || exit; done

results: setup  ## the CUB table of docs/results.md (finished rows are kept): make results CUB=path/to/CUB_200_2011 WEIGHTS=folder
	@$(PY) -m benchmarks.cub_results --cub $(CUB) --weights $(WEIGHTS)

methods: setup  ## every method in docs/results.md: on the synthetic probe, or CUB=path/to/CUB_200_2011 WEIGHTS=folder
	@$(PY) -m benchmarks.method_results $(if $(CUB),--cub $(CUB) --weights $(WEIGHTS))

clean:  ## remove the environment and caches; data, models, cache and tracked runs stay
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
