# Every command of this project. `make demo` and `make test` set up whatever they need.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
.DEFAULT_GOAL := help
.PHONY: help demo test check bench torture requirements generated clean

help:  ## what can be made
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

demo: $(VENV)/watch  ## eight tasks, three of which shift: the dashboard and its alerts, until Ctrl-C
	@exec $(BIN)/cascade-otel demo

test: $(VENV)/dev system  ## the test suite, with all it needs
	$(BIN)/python -m pytest -n 2 --dist loadgroup

check: $(VENV)/dev  ## types, lint, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

bench: $(VENV)/dev  ## every figure the documentation claims, measured here
	@for file in benchmarks/[a-z]*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

torture: $(VENV)/dev system  ## the fault tests at their full counts
	CASCADE_OTEL_TORTURE=1 $(BIN)/python -m pytest -n 2 --dist loadgroup

generated: $(VENV)/dev  ## write the generated files anew: the README's tables, the alert rules
	$(BIN)/python -m tests.docs.generated

requirements: $(VENV)/dev  ## resolve and pin all dependencies anew
	$(BIN)/python -m pip install --quiet uv
	sh requirements/compile $(BIN)/uv

clean:  ## remove the environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis dist

$(VENV)/python:
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/watch: $(VENV)/python requirements/watch.txt pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/watch.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

$(VENV)/dev: $(VENV)/watch requirements/dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/dev.txt
	touch $@

.PHONY: system
system:
	@sh .ci/system
