# Two commands do all the set-up on a fresh machine: `make quickstart` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
# Two processes with one thread each: small tensors gain nothing from more.
WORKERS ?= 2
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile
OUT ?= runs/quickstart

.PHONY: help quickstart test test-all lint bench clean

help:
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# One marker a set of extras: an install is made again only when what it depends on has changed.
$(VENV)/.base: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) --editable '.[dev]'
	@touch $@ $(VENV)/.base

quickstart: $(VENV)/.base ## install, train a captioner on the embedded data set, evaluate it, show it, write a report
	$(BIN)/python examples/quickstart.py --out $(OUT)

lint: $(VENV)/.dev ## ruff and pyright
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

test: lint ## lint and all tests but the slow ones
	$(PYTEST) -m "not slow"

test-all: lint ## lint and all tests
	$(PYTEST)

bench: $(VENV)/.dev ## ratios against public peers, measured in one run
	$(BIN)/python -m benchmarks

clean: ## remove the environment and what tools left behind
	rm -rf $(VENV) dist build .ruff_cache .pytest_cache
