# Every target works on a machine that has Python >= 3.10 with venv, git and make, as root or not:
# it first makes what it needs, says so, and is quick when that is there already.
#
#   make demo          one training, from a notebook cell to its results, told as it happens
#   make lab           JupyterLab with the quickstart notebook open
#   make test          all tests                  make test-fast   those without a browser or long waits
#   make lint          all checks of the text     make generate    renew the generated files and the bundle
#   make watch         rebuild the extension while you edit it, with a JupyterLab that shows it
#   make bench         measurements               make soak        the random series, with fresh seeds
#   make screenshots   renew docs/images          make docs        the documentation as a site
#   make wheel         dist/*.whl and *.tar.gz    make clean       remove what builds left behind

PYTHON ?= python3
# The same commit gives the same answer: seeds are fixed except for `make soak`.
FFDL_SEED ?= 1
export FFDL_SEED

BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
PREPARE := $(PYTHON) scripts/prepare.py
PYTEST := $(BIN)/python -m pytest --hypothesis-seed=$(FFDL_SEED)
# Jupyter refuses to run as root unless told.
ROOT_FLAG := $(if $(filter 0,$(shell id -u)),--allow-root)

.DEFAULT_GOAL := help
.PHONY: help setup demo lab test test-fast soak bench screenshots lint generate watch wheel docs clean

help:
	@sed -n '4,12s/^# *//p' Makefile

setup:
	@$(PREPARE)

demo:
	@$(PREPARE)
	@$(BIN)/python scripts/demo.py

lab:
	@$(PREPARE)
	$(BIN)/jupyter lab $(ROOT_FLAG) --ServerApp.root_dir=examples \
	  --LabApp.default_url=/lab/tree/notebooks/quickstart.ipynb

# Tests marked `alone` (timing, memory, browser) run after the others, one by one.
test:
	@$(PREPARE) --node --chromium
	npm test
	$(PYTEST) tests -n 2 --dist loadfile -m "not alone and not bench and not soak"
	$(PYTEST) tests ui-tests -m "alone and not bench and not soak"

test-fast:
	@$(PREPARE)
	$(PYTEST) tests -n 2 --dist loadfile -m "not alone and not slow and not bench and not soak"

# In an environment of its own, because TensorFlow and PyTorch are several gigabytes.
soak:
	@$(PREPARE) --venv .venv-soak --group soak
	seed=$$(od -An -N4 -tu4 /dev/urandom | tr -d ' '); echo "FFDL_SEED=$$seed"; \
	FFDL_SEED=$$seed .venv-soak/bin/python -m pytest tests --hypothesis-seed=$$seed -m soak -v

bench:
	@$(PREPARE) --group bench
	$(PYTEST) tests/benchmarks -m bench -s

screenshots:
	@$(PREPARE) --chromium
	$(BIN)/python scripts/screenshots.py

lint:
	@$(PREPARE) --node
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	npm run --silent check:types
	npm run --silent check:eslint
	npm run --silent check:prettier
	$(BIN)/python scripts/links.py
	$(BIN)/python scripts/generate.py --check

generate:
	@$(PREPARE) --node
	$(BIN)/python scripts/generate.py

watch:
	@$(PREPARE) --node
	$(BIN)/python scripts/watch.py $(ROOT_FLAG)

wheel:
	@$(PREPARE)
	$(BIN)/uv build --quiet --out-dir dist --build-constraints constraints.txt

docs:
	@$(PREPARE)
	$(BIN)/uv pip install -q -p ./.venv -c constraints.txt -e ".[docs]"
	$(BIN)/sphinx-build -W -b html docs build/docs

clean:
	rm -rf build dist lib tsconfig.tsbuildinfo ui-tests/output
	find . -name __pycache__ -not -path "./.venv*" -not -path "./node_modules/*" -prune -exec rm -rf {} +
