# From nothing: `make pretrain` and `make test` make .venv first. PYTHON picks the interpreter.
# A name on the PATH may be a stand-in that does not run, so each is tried; 3.11 to 3.13 will do.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
  $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
  >/dev/null 2>&1 && echo $$p && break; done)
BIN := .venv/bin
# A worker for each core; on many cores memory would be short first.
PYTEST := -m pytest -q -n auto --maxprocesses 4 --durations 25
# Most of the time goes into compiling: quickly, and with JAX once for all runs of the suite.
QUICKLY := XLA_FLAGS="--xla_backend_optimization_level=0"
JAX := KERAS_BACKEND=jax $(QUICKLY) \
  JAX_COMPILATION_CACHE_DIR=.venv-jax/compiled \
  JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0 JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES=-1
# What calls keras.ops; no backend changes counts, specs and formats, which `make test` covers.
ON_JAX := backend conformance conformance_pairs gpu_benchmark layers pruning resolution sharding
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: help install pretrain notebooks test test-all test-jax test-parity lint types layers check tensorboard bench clean

help:            ## show this
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' Makefile | awk -F'|' '{printf "make %-12s %s\n", $$1, $$2}'

install: .venv/runtime   ## make .venv with the pinned packages

pretrain: .venv/runtime   ## pretrain, fine-tune, evaluate and export a small BERT, with no input
	$(BIN)/python -m pipelines demo

notebooks: .venv/notebooks  ## run the notebooks, each in two to seven minutes
	$(BIN)/python notebooks/execute.py

test: .venv/dev  ## run the test suite
	$(QUICKLY) $(BIN)/python $(PYTEST)

test-all: .venv/dev  ## run the test suite with the variants that only a release needs
	$(QUICKLY) $(BIN)/python $(PYTEST) -m "not parity"

test-jax: .venv-jax/ready  ## run the tests of the layers on JAX, without TensorFlow
	$(JAX) .venv-jax/bin/python $(PYTEST) \
	  tests/mechanisms tests/blocks tests/models $(ON_JAX:%=tests/test_%.py)

test-parity: .venv-parity/ready  ## compare with torch and transformers
	.venv-parity/bin/python -m pytest -q -m parity tests/parity

lint: .venv/dev  ## look for faults and format
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: .venv/dev ## check types
	$(BIN)/pyright

layers: .venv/dev ## check the direction of imports
	$(BIN)/lint-imports

check: lint types layers test  ## all that a commit must pass

tensorboard: .venv/runtime  ## look at the runs
	$(BIN)/tensorboard --logdir runs

bench: .venv/dev ## time a training step beside KerasHub's, and torch's with .venv-parity
	$(BIN)/python -m benchmarks.train

clean:           ## remove environments and caches, not runs
	rm -rf .venv .venv-jax .venv-parity .pytest_cache .ruff_cache .hypothesis

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 is needed and none was found;" \
	  "set PYTHON=/path/to/python." >&2; exit 2; }
	$(PYTHON) -m venv .venv

.venv/runtime: requirements.txt | .venv/bin/python
	@echo "Installing the pinned packages into .venv: 2.7 GB, a minute or two, once."
	@$(BIN)/python -m pip install -q -r requirements.txt
	@touch $@

.venv/notebooks: requirements-notebooks.txt requirements.txt | .venv/bin/python
	$(BIN)/python -m pip install -q -r requirements-notebooks.txt
	@touch $@ .venv/runtime

.venv/dev: requirements-dev.txt requirements-notebooks.txt requirements.txt | .venv/bin/python
	$(BIN)/python -m pip install -q -r requirements-dev.txt
	@touch $@ .venv/notebooks .venv/runtime

.venv-jax/ready: requirements-jax.txt
	$(PYTHON) -m venv .venv-jax
	.venv-jax/bin/python -m pip install -q -r requirements-jax.txt
	@touch $@

.venv-parity/ready: requirements-parity.txt requirements-dev.txt requirements.txt
	$(PYTHON) -m venv .venv-parity
	.venv-parity/bin/python -m pip install -q -r requirements-parity.txt
	@touch $@
