# `make help` lists the targets.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
PYTEST := $(PY) -m pytest --durations=10
# Whole files, in the order of tests/conftest.py.
SPREAD := -n 2 --dist loadfile --no-loadscope-reorder
# Bytecode, tool caches and matplotlib's font cache stay quiet and local.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
.DEFAULT_GOAL := help
.PHONY: help setup run ui test test-all test-containers lint format typecheck check lock images up down logs passwords audit \
	benchmarks methods chaos fuzz clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | awk -F'\t' '{printf "  make %-16s %s\n", $$1, $$2}'

setup: $(VENV)/.ready  ## create .venv with the locked packages (a second call does nothing)

$(VENV)/.ready: requirements.lock
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 14) else "error: Python 3.11 to 3.13 is needed, found %d.%d; name another with `make PYTHON=python3.11 $(MAKECMDGOALS)`" % v)'
	@echo "setting up $(VENV) (up to 3 GB of packages)"
	@$(PYTHON) -m venv $(VENV) || { echo "error: could not make $(VENV); if python3-venv is missing, on Debian or Ubuntu: apt-get install python3-venv" >&2; exit 2; }
	@$(PY) -m pip install -q --disable-pip-version-check --require-hashes -r docker/uv.lock
	@$(VENV)/bin/uv pip install -q --python $(PY) --require-hashes -r requirements.lock
	@$(PY) -c 'import cv2' || { echo "error: OpenCV lacks system libraries; on Debian or Ubuntu: apt-get install libgl1 libglib2.0-0" >&2; exit 2; }
	@touch $@

run: setup  ## train, localize and score the embedded example as an Airflow run, then show the result
	@$(PY) -m pipeline run

ui: setup  ## serve the MLflow and Airflow pages on 127.0.0.1
	@$(PY) -m pipeline ui

test: setup  ## lint, type check and run the fast tests
	@$(MAKE) --no-print-directory lint typecheck
	@$(PYTEST) -m "not slow and not container" $(SPREAD)

test-all: setup  ## lint, type check and run all tests, the slow ones included
	@$(MAKE) --no-print-directory lint typecheck
	@$(PYTEST) -m "not container" $(SPREAD)

test-containers: setup  ## build the images and try the stack on a Docker engine; skipped where there is none
	@$(PYTEST) -m container tests/docker

lint: setup  ## ruff: style and Airflow's rules; import-linter: imports only point down
	@$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check . && PYTHONPATH=. $(VENV)/bin/lint-imports --no-cache --no-logo

format: setup  ## let ruff rewrite what it can
	@$(VENV)/bin/ruff check --fix . && $(VENV)/bin/ruff format .

typecheck: setup  ## mypy
	@$(VENV)/bin/mypy

check: setup  ## validate params.yaml and every input
	@$(PY) -m pipeline check

lock: setup  ## resolve pyproject.toml anew into requirements.lock
	@$(VENV)/bin/uv pip compile -q --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
		--no-emit-index-url --no-emit-find-links --extra dev --group airflow pyproject.toml -o requirements.lock
	@sh docker/lock.sh

images:  ## build the container images of the commit that is checked out
	@sh docker/build.sh

up:  ## start the Compose stack on this machine: Airflow, MLflow, Postgres; tasks run in containers
	@sh docker/start.sh

down:  ## stop the stack; its volumes stay
	@cd docker && docker compose down

logs:  ## follow what the stack says
	@cd docker && docker compose logs --follow --tail 100

passwords:  ## show the passwords that the first start made
	@cd docker && for s in api-server:airflow:admin mlflow:mlflow:admin mlflow:mlflow:reviewer; do \
		user=$${s##*:} name=$${s%:*}; name=$${name#*:}; \
		echo "$$name: $$user $$(docker compose exec -T $${s%%:*} cat /run/wsol/$$name/$${user}_password)"; done

audit: setup  ## known vulnerabilities of the locked packages, and of the images where trivy is installed
	@$(VENV)/bin/uv venv -q --clear $(VENV)/audit && $(VENV)/bin/uv pip install -q --python $(VENV)/audit --require-hashes -r docker/audit.lock
	@for lock in requirements.lock docker/audit.lock docker/*/requirements.lock; do \
		echo "$$lock"; $(VENV)/audit/bin/pip-audit --strict --require-hashes --disable-pip --requirement $$lock || failed=1; done; \
	if command -v trivy >/dev/null; then for image in tools postgres mlflow airflow pipeline; do \
		trivy image --exit-code 1 --ignore-unfixed --severity HIGH,CRITICAL wsol/$$image:$$(git rev-parse --short=12 HEAD) || failed=1; done; \
	else echo "trivy is not installed: images were not looked at"; fi; test -z "$$failed"

benchmarks: setup  ## measure memory and speed; tables on the terminal, JSON in benchmarks/out
	@for script in benchmarks/bench_*.py; do $(PY) -m benchmarks.$$(basename $$script .py) || exit; done

methods: setup  ## the tables of docs/results.md (finished results are kept): on the synthetic probe, or CUB=path/to/CUB_200_2011 and PETS=folder, both with WEIGHTS=folder; JOBS=N at a time
	@$(PY) -m benchmarks.tables.methods --jobs $(or $(JOBS),1) $(if $(CUB),--cub $(CUB)) $(if $(PETS),--pets $(PETS)) $(if $(WEIGHTS),--weights $(WEIGHTS))

chaos: setup  ## hit running commands with 200 signals: all must be completed as if undisturbed
	@$(PY) -m tests.chaos.campaign --signals 200

fuzz: setup  ## damage every kind of file in new ways and let the commands read them; EXAMPLES=N of each kind
	@WSOL_FUZZ_EXAMPLES=$(or $(EXAMPLES),200) $(PYTEST) -q tests/fuzz

clean:  ## remove the environment and caches; data, models, cache and tracked runs stay
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
