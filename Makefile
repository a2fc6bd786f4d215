# Every target sets up what it needs: Python 3.13 is all that must be there.
SHELL := /bin/bash
.DEFAULT_GOAL := help
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export SAM_CLI_TELEMETRY := 0
# Many a container sets it, and then each of hundreds of processes compiles everything again.
export PYTHONDONTWRITEBYTECODE :=

help: ## Show what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | while IFS=$$'\t' read -r name text; do printf '  make %-10s %s\n' "$$name" "$$text"; done

setup: $(BIN)/.ready ## Make .venv with all tools and the command bridge

$(BIN)/.ready: requirements-dev.txt pyproject.toml .python-version
	@python=$$(for candidate in python$$(cat .python-version) python3 python; do \
		"$$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 13))' 2>/dev/null && command -v "$$candidate" && break; done); \
	if [ -z "$$python" ]; then echo "Python $$(cat .python-version) is missing: install it (for example: pyenv install $$(cat .python-version)), then run this again." >&2; exit 1; fi; \
	[ -x $(BIN)/python ] && $(BIN)/python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 13))' 2>/dev/null || "$$python" -m venv --clear .venv
	@command -v uv >/dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep -oE '^uv==[0-9.]+' requirements-dev.txt)"
	@uv pip sync --quiet --python $(BIN)/python requirements-dev.txt || $(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements-dev.txt
	@uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup ## Run the main job on the local stack: every sample, its outcome, the tickets made
	@exec bridge demo

up: setup ## Start the local stack
	@exec bridge up

down: setup ## Stop the local stack
	@exec bridge down

test: setup lint ## Lint, types, template, unit, functional and end-to-end tests
	@exec python -m pytest -n auto

soak: setup ## Thousands of requests, a third of the calls faulty, workers killed; options in SOAK="--requests 500"
	@exec python -m tests.soak $(SOAK)

protocol: setup ## 20,000 seeded schedules of kills, outages and doubled calls on a virtual clock (ten minutes)
	@CHECKER_SCHEDULES=20000 exec python -m pytest tests/faults/test_checker.py -n auto

year: setup ## 365 days of watching and auditing on a clock that is put forward (a quarter of an hour)
	@YEAR_DAYS=365 exec python -m pytest tests/functional/test_a_year.py -n auto

bench: setup ## Time and count this application beside a plain handler; options in BENCH="--rounds 9"
	@exec python -m tests.bench $(BENCH)

scale: setup ## Simulate the queue and its workers at 1 to 10,000 requests a second, with the bill
	@exec python -m tests.bench.scale

lint: setup ## Lint, types and template, side by side
	@$(MAKE) --no-print-directory --jobs lint-code lint-types lint-template

lint-code:
	ruff check .
	ruff format --check .

lint-types:
	mypy

lint-template:
	AWS_DEFAULT_REGION=us-east-1 sam validate --lint

scan: setup ## Public scanners of the template and of the deployed packages; each needs the network
	uv tool run --quiet --from checkov==3.3.30 checkov --config-file .checkov.yaml
	uv tool run --quiet --from pip-audit==2.10.1 pip-audit --requirement layers/helpdesk/requirements.txt --no-deps --disable-pip

format: setup ## Put the code into shape
	ruff check --fix .
	ruff format .

contracts: setup ## Write the schemas and the OpenAPI document from the models
	@python -m bridge.generate.contracts

dist: setup ## Build the wheel that users install, into dist/
	@rm -rf build/lib build/bdist.*
	@python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir dist .
	@ls dist

lock: setup ## Resolve the dependencies again, to the newest that fit
	uv pip compile --quiet --upgrade --universal --generate-hashes --no-emit-index-url --custom-compile-command "make lock" --python $(BIN)/python --group dev layers/helpdesk/requirements.in --output-file requirements-dev.txt
	uv pip compile --quiet --upgrade --universal --generate-hashes --no-emit-index-url --custom-compile-command "make lock" --python $(BIN)/python --constraint requirements-dev.txt layers/helpdesk/requirements.in --output-file layers/helpdesk/requirements.txt

clean: ## Remove what was built
	rm -rf .venv .aws-sam .bridge build dist .mypy_cache .ruff_cache .pytest_cache

.PHONY: help setup demo up down test soak protocol year bench scale lint lint-code lint-types lint-template scan format contracts dist lock clean
