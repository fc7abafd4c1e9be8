# `make demo` and `make test` each work alone in a fresh clone: they make .venv, install, and run.
PYTHON ?= python3
EXTRAS ?= dev
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready-$(EXTRAS)

.PHONY: demo test check format docs notebooks bench reproduce faults fuzz clean

demo: $(READY)  ## train and evaluate EASE on MovieLens-100K
	$(BIN)/recctl train configs/ease.yaml

test: $(READY)  ## set up, then everything `check` does
	$(MAKE) check

check: $(READY)  ## format, lint, types, import layers, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m pytest -n auto --dist worksteal -q

format: $(READY)  ## format the code and fix lint errors
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/.ready-docs  ## generate the reference pages of docs/ from the code, and build the site in site/
	$(BIN)/python docs/reference.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

notebooks: $(READY)  ## execute the notebooks of docs/ and store their outputs
	$(BIN)/python -m tests.clients.notebooks

bench: $(READY)  ## measure against peers; see tests/benchmarks/README.md
	$(BIN)/python -m tests.benchmarks

reproduce: $(READY)  ## reproduce published results; takes hours and resumes; see tests/benchmarks/README.md
	$(BIN)/python -m tests.benchmarks.reproduce $(NAMES)

faults: $(READY)  ## inject a thousand faults into commands and write the table of docs/explanation/faults.md; half an hour
	$(BIN)/python -m tests.faults --write

fuzz: $(READY)  ## fuzz all readers for a minute each: make fuzz SECONDS=60; needs atheris
	$(BIN)/python -m tests.fuzz $(SECONDS)

clean:  ## remove all build products
	rm -rf $(VENV) .venv-mlflow dist build site .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.ready-%: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[$*]'
	touch $@
