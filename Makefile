# `make run` and `make test` do all the set-up: they need Python 3.11 to 3.13 and make, and use uv where it is installed.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
BIN := .venv/bin

# The first Python at hand that the project runs on; `make PYTHON=/path/to/python run` names another.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11 python; do \
	"$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo "$$python" && break; done)

.PHONY: help run test test-fast setup format check lock audit reliability bench
run: setup  ## the main job: both models on all of MNIST, and the report
	@$(BIN)/mnist run $(ARGS)

test: setup  ## all tests, three files at a time, since most of them wait for servers
	@$(BIN)/pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder $(ARGS)

test-fast: setup  ## the unit tests: no server, no cluster, no bucket
	@$(BIN)/pytest --numprocesses 3 --dist loadfile tests/unit $(ARGS)

setup: .venv/.setup  ## create .venv from requirements.lock

help:  ## list these commands
	@sed -n 's/^\([a-z-]*\):.*  ## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | sort | awk -F '\t' '{ printf "%-12s %s\n", $$1, $$2 }'

format: setup  ## sort imports and format the code
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

check: setup  ## lint, format, types, imports, and whether the lock agrees with pyproject.toml
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tests.tools.layout
	$(BIN)/python -m tests.tools.names
	$(BIN)/python -m tests.tools.lock

audit: setup  ## which locked versions have known vulnerabilities, as far as the index answers
	@$(BIN)/python -m tests.tools.audit

reliability: setup  ## all that docs/reliability.md states; takes some three hours, and needs root for its disks
	$(BIN)/python -m tests.reliability crashes
	$(BIN)/python -m tests.reliability kills
	$(BIN)/python -m tests.reliability signals
	$(BIN)/python -m tests.reliability network
	$(BIN)/python -m tests.reliability canaries
	$(BIN)/python -m tests.reliability disk
	$(BIN)/python -m tests.reliability foreign
	$(BIN)/python -m tests.reliability together
	$(BIN)/python -m tests.reliability tamper
	$(BIN)/python -m tests.reliability fuzz

bench: setup  ## all that docs/performance.md states of speed; takes some half an hour of an idle machine
	@$(BIN)/python -m benchmarks $(ARGS)

lock: setup  ## resolve the dependencies again
	$(BIN)/python -m tests.tools.lock --write
	@$(MAKE) setup

.venv/.setup: requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11, 3.12 or 3.13 found; name one with make PYTHON=/path/to/python" >&2; exit 2; }
	@echo "setting up .venv from requirements.lock (2.4 GB, a minute or more) ..." >&2
	@source deployments/settings.sh; \
	if command -v uv >/dev/null; then \
		test -x $(BIN)/python || uv venv --quiet --python "$(PYTHON)" .venv; \
		uv pip sync --quiet --python $(BIN)/python --require-hashes --compile-bytecode requirements.lock; \
		$(BIN)/python -m flows.server.database & \
		uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .; \
	else \
		test -x $(BIN)/pip || "$(PYTHON)" -m venv --clear .venv; \
		$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes --requirement requirements.lock; \
		$(BIN)/python -m flows.server.database & \
		$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .; \
	fi; \
	wait $$!
	@touch $@
