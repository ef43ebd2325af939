# The commands, for a machine that has only Python; all but viewer and wheel first set up VENV, and again whenever the
# requirements change:
#   make demo    a small data set, a small model trained on it, its Dice report
#   make test    every check that CI makes
#   make test-fast  linters and unit tests without training, about three minutes on two cores
#   make docs    the documentation, in docs/_build/html
#   make viewer  what `swin-unetr view` needs from npm; the setup of VENV tries it too, and goes on without
#   make wheel   a wheel with the viewer in it, in dist/

PYTHON ?= python3
VENV ?= .venv
# Where pip gets torch. Empty: from PyPI (on Linux: the GPU build, several GB). The CPU build, for Linux without a GPU:
#  make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
DEMO ?= demo-output

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
RUN := $(BIN)/swin-unetr
ACTIVATE = echo "to type 'swin-unetr' without '$(BIN)/': . $(BIN)/activate"
VIEWER := swin_unetr/viewer/assets/niivue.umd.js

.PHONY: help install demo test test-fast docs constraints viewer wheel
.DELETE_ON_ERROR:

help:
	@sed -n 's/^#   //p' Makefile

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt package-lock.json
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if v >= (3, 11) else \
	    f"Python 3.11 or newer is needed, {sys.executable} is {v[0]}.{v[1]}; say which with: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -c constraints.txt $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	$(BIN)/python -m pip install -c constraints.txt -e '.[dev]'
	@-$(MAKE) --no-print-directory viewer
	@touch $@

viewer: $(VIEWER)

$(VIEWER): package.json package-lock.json scripts/build_viewer.py
	@$(PYTHON) scripts/build_viewer.py

wheel: viewer
	$(PYTHON) -m pip wheel --no-deps --wheel-dir dist .

demo: $(STAMP)
	rm -rf $(DEMO)
	$(RUN) phantoms --output $(DEMO)/phantoms --cases 12 --held-back 4
	$(RUN) finetune --config finetune/recipes/demo.yaml --data $(DEMO)/phantoms --fold 0 --output $(DEMO)/run
	$(RUN) predict $(DEMO)/run $(DEMO)/phantoms/imagesTs --output $(DEMO)/predictions
	$(RUN) evaluate $(DEMO)/predictions $(DEMO)/phantoms/labelsTs --output $(DEMO)/report
	@$(ACTIVATE)

test: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build/html
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses=logical --maxprocesses=8 --durations=15
	@$(ACTIVATE)

test-fast: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses=logical --maxprocesses=8 -m "not slow" tests/architecture tests/unit

docs: $(STAMP)
	$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build/html
	@echo "documentation: docs/_build/html/index.html"

# After a change of the requirements in pyproject.toml, in an environment that has passed `make test`.
constraints:
	$(BIN)/python scripts/write_constraints.py constraints.txt
