# `make run` and `make test` do all the set-up. They require Python 3.11 to 3.13, and use uv if it is installed.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
BIN := .venv/bin

# The first suitable Python on the PATH; `make PYTHON=/path/to/python run` selects another.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11 python; do \
	"$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo "$$python" && break; done)

.PHONY: help run test test-fast setup coverage format check lock audit reliability bench
run: setup  ## train both models on all of MNIST, and write the report
	@$(BIN)/mnist run $(ARGS)

test: setup  ## run all tests, four files at a time, because most of them wait for servers
	@$(BIN)/pytest --numprocesses 4 --dist loadfile --no-loadscope-reorder $(ARGS)

test-fast: setup  ## run the unit tests, which need no server, cluster or bucket
	@$(BIN)/pytest --numprocesses 4 --dist loadfile tests/unit $(ARGS)

coverage: setup  ## measure which lines and branches the unit tests run; ARGS=tests measures all tests
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest --numprocesses 4 --dist loadfile $(or $(ARGS),tests/unit)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report

setup: .venv/.setup  ## create .venv from requirements.lock

help:  ## list these commands
	@sed -n 's/^\([a-z-]*\):.*  ## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | sort | awk -F '\t' '{ printf "%-12s %s\n", $$1, $$2 }'

format: setup  ## sort imports and format the code
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

check: setup  ## check lint, format, types, imports, and that the lock matches pyproject.toml
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tests.tools.layout
	$(BIN)/python -m tests.tools.names
	$(BIN)/python -m tests.tools.words
	$(BIN)/python -m tests.tools.lock

audit: setup  ## list locked versions with known vulnerabilities, if the package index answers
	@$(BIN)/python -m tests.tools.audit

reliability: setup  ## reproduce docs/reliability.md; takes about four hours, and needs root for its disks
	$(BIN)/python -m tests.reliability crashes
	$(BIN)/python -m tests.reliability kills
	$(BIN)/python -m tests.reliability signals
	$(BIN)/python -m tests.reliability network
	$(BIN)/python -m tests.reliability canaries
	$(BIN)/python -m tests.reliability disk
	$(BIN)/python -m tests.reliability foreign
	$(BIN)/python -m tests.reliability together
	$(BIN)/python -m tests.reliability clients
	$(BIN)/python -m tests.reliability tamper
	$(BIN)/python -m tests.reliability fuzz

bench: setup  ## reproduce docs/performance.md; takes about half an hour on an idle machine
	@$(BIN)/python -m benchmarks $(ARGS)

lock: setup  ## update requirements.lock to match pyproject.toml
	$(BIN)/python -m tests.tools.lock --write
	@$(MAKE) setup

.venv/.setup: requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11, 3.12 or 3.13 found; select one with make PYTHON=/path/to/python" >&2; exit 2; }
	@source deployments/settings.sh; claim_environment .venv
	@echo "setting up .venv from requirements.lock (2.4 GB, a minute or more) ..." >&2
	@source deployments/settings.sh; \
	if command -v uv >/dev/null; then \
		test -x $(BIN)/python || uv venv --quiet --allow-existing --python "$(PYTHON)" .venv; \
		uv pip sync --quiet --python $(BIN)/python --require-hashes --compile-bytecode requirements.lock; \
		$(BIN)/python -m flows.server.database & \
		uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .; \
	else \
		test -x $(BIN)/pip || { rm -f $(BIN)/python*; "$(PYTHON)" -m venv .venv; }; \
		$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes --requirement requirements.lock; \
		$(BIN)/python -m flows.server.database & \
		$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .; \
	fi; \
	wait $$!
	@touch $@
