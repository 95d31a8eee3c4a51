# `make` lists what there is. Nothing is needed beyond Python 3.11, pip, venv and make.

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python -m
STAMP := $(VENV)/installed
OPENID := tests/support/openid/node_modules/.package-lock.json
TYPED := shared services migrations deploy extensions $(wildcard plugins) tests

.DEFAULT_GOAL := help
.PHONY: help up down install test test-python test-tools test-unit test-nightly lint format soak bench clean
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules

help: ## List what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

up: $(STAMP) ## Start everything in one process; PORT=9000 chooses the port, DETACH=1 returns when it is ready
	@exec $(RUN) stella_embedded up $(if $(PORT),--port $(PORT)) $(if $(DETACH),--detach)

down: $(STAMP) ## Stop what `make up` started
	@exec $(RUN) stella_embedded down

install: $(STAMP) ## Install or update what the other commands need, into .venv

test: test-python ## Run every test there is

test-python: test-tools ## Run the Python tests, on a PostgreSQL and a RabbitMQ of their own
	@$(RUN) pytest -n 3 --ignore=tests/bench $(ARGS) tests

test-tools: $(STAMP) $(OPENID) ## Install what the tests run beside our own: servers, an OpenID provider
	@tests/support/install-servers.sh

test-unit: $(STAMP) ## Run the tests that need no server
	@$(RUN) pytest $(ARGS) $(wildcard tests/unit tests/contract tests/house)

lint: $(STAMP) ## Check format, lint, types, imports and house rules; needs no network
	$(RUN) ruff format --check .
	$(RUN) ruff check .
	$(RUN) mypy $(TYPED)
	$(VENV)/bin/lint-imports
	$(RUN) pytest -q tests/house

format: $(STAMP) ## Put every file into the format that lint wants
	@$(RUN) ruff check --fix-only --select I .
	@$(RUN) ruff format .

test-nightly: $(STAMP) ## Run what thinks of cases of its own for as long as a night has time, then the soak
	@HYPOTHESIS_PROFILE=nightly $(RUN) pytest $(ARGS) tests/integration/model tests/integration/fuzz tests/integration/persistence/test_query_plans.py
	@$(RUN) tests.soak

soak: $(STAMP) ## Kill processes for ten minutes of ten thousand integrations, and count everything
	@$(RUN) tests.soak $(ARGS)

bench: $(STAMP) ## Measure, beside the peers, on this machine
	@tests/support/install-servers.sh
	@tests/support/install-servers.sh prometheus-blackbox-exporter || echo "Going on without blackbox_exporter."
	@$(RUN) tests.bench $(ARGS)

clean: ## Remove .venv and every cache; data in .local stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(OPENID): tests/support/openid/package-lock.json $(STAMP)
	@$(VENV)/bin/npm ci --silent --no-fund --no-audit --prefix tests/support/openid
	@touch $@

$(STAMP): requirements.txt constraints.txt pyproject.toml shared/contracts/pyproject.toml extensions/cli/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Python 3.11 or newer is needed, and $(PYTHON) is" \
			"$$($(PYTHON) --version 2>/dev/null || echo missing). Name another one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) has no venv. On Debian: apt-get install python3-venv" >&2; exit 1; }
	@echo "Installing into $(VENV) (about a minute the first time)."
	@$(RUN) pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@$(RUN) pip install -qq --disable-pip-version-check --no-input -r requirements.txt
	@touch $@
