# Everything a person or CI does here. Each target makes .venv first if it is missing or out of date.
PYTHON ?= python3
BIN := .venv/bin
RUN ?= runs/demo

.PHONY: setup demo test test-slow check format bench lock clean

setup: .venv/.made

.venv/.made: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "safelight needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; try make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

demo: setup
	$(BIN)/safelight data fetch mnist
	$(BIN)/safelight train mnist --out $(RUN) --overwrite
	$(BIN)/safelight evaluate $(RUN)
	$(BIN)/safelight report $(RUN)

test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto

test-slow: setup
	$(BIN)/python -m pytest -q -m slow

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup
	$(BIN)/python benchmarks/train_step.py

lock: # versions as they are in .venv, for the repository's own measurements
	$(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu//' > requirements.lock

clean:
	rm -rf .venv dist .pytest_cache .mypy_cache .ruff_cache
