# Two commands on a fresh machine: `make demo` and `make test`. Both need Python ≥ 3.11 and PyPI.
PYTHON ?= python3
VENV := .venv
PEERS := .venv-peers
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo test check lint bench bench-peers docs format clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED) ## Make .venv with everything that demo and tests need

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || \
	  { echo "Python 3.11, 3.12 or 3.13 is wanted; name one: make PYTHON=python3.12 …"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@# tf-keras makes the tests' files of Keras 2; its dependency, tensorflow, is there as tensorflow-cpu
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps tf-keras
	@touch $@

demo: $(INSTALLED) ## Everything on made-up data: images, training, a run, a picture
	$(BIN)/camshard demo

test: $(INSTALLED) lint ## All tests
	$(BIN)/python -m pytest

check: $(INSTALLED) lint ## The quick loop: lint, types, unit tests without TensorFlow
	$(BIN)/python -m pytest -q -m "not tensorflow and not service"

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache > .lint-imports.log || { cat .lint-imports.log; exit 1; }

bench: $(INSTALLED) ## Measure; prints a table and writes benchmarks/results/latest.json
	$(BIN)/python -m benchmarks

bench-peers: $(INSTALLED) $(PEERS)/torch/.installed $(PEERS)/tensorflow/.xplique ## Measure other tools beside camshard; IMAGES=… to choose the images
	$(BIN)/python -m benchmarks.peers $(IMAGES)

$(PEERS)/%/.installed: benchmarks/peers/requirements-%.txt constraints.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --upgrade pip
	$(@D)/bin/python -m pip install --quiet --constraint constraints.txt --requirement $<
	@touch $@

$(PEERS)/tensorflow/.xplique: $(PEERS)/tensorflow/.installed
	@# Xplique asks for the CUDA build of an older TensorFlow; it runs with the one that camshard uses
	$(@D)/bin/python -m pip install --quiet --constraint constraints.txt --no-deps xplique==2.0.2 tf-keras
	@touch $@

docs: $(INSTALLED) ## Write docs/commands.md from the commands
	$(BIN)/python -m docs.make_commands

format: $(INSTALLED) ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove .venv, .venv-peers and what tests and the demo left
	rm -rf $(VENV) $(PEERS) demo .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .lint-imports.log
