# Everything a person or CI does here. Each target makes .venv first if it is missing or out of date.
PYTHON ?= python3
BIN := .venv/bin
RUN ?= runs/demo

.PHONY: setup page demo test test-slow test-browser test-lowest check format bench lock clean

setup: .venv/.made

.venv/.made: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "safelight needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; try make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

# The engine of the page, and what checks its JavaScript; needs npm.
ENGINE := src/safelight/explorer/page/engine
page: $(ENGINE)/.made

$(ENGINE)/.made: package-lock.json
	@command -v npm >/dev/null || { echo "make page: expected npm, which fetches the page's engine, got none; install Node.js (Debian: apt install npm), or use the wheel, which has the engine inside" >&2; exit 2; }
	npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	mkdir -p $(ENGINE)
	cp node_modules/onnxruntime-web/dist/ort.wasm.bundle.min.mjs node_modules/onnxruntime-web/dist/ort-wasm-simd-threaded.wasm $(ENGINE)/
	touch $@

demo: setup # a demo that is there is gone on with, and never made anew
	$(BIN)/safelight data fetch mnist
	if test -e $(RUN)/config.json; then $(BIN)/safelight train --resume $(RUN); else $(BIN)/safelight train mnist --out $(RUN); fi
	$(BIN)/safelight evaluate $(RUN)
	$(BIN)/safelight report $(RUN)

test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto

test-slow: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto -m slow

test-browser: setup page # needs Debian's chromium
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto -m browser

# The oldest versions that pyproject.toml allows, in an environment of their own, by tests that use each of them. What
# they say of newer ones that they bring along is no fault of ours; gigabytes, so CI does without.
LOWEST := build/lowest
test-lowest: $(LOWEST)/.made
	PYTHONPATH=src OMP_NUM_THREADS=1 $(LOWEST)/bin/python -m pytest -q -p no:cacheprovider -W ignore::DeprecationWarning tests/test_networks.py tests/test_opening.py tests/test_writing.py tests/test_training.py tests/test_ledger.py tests/test_codes.py tests/test_surrogate.py tests/test_spreading.py tests/test_advice.py tests/test_similarity.py

$(LOWEST)/.made: pyproject.toml
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(LOWEST)/bin/uv pip compile --quiet --resolution lowest-direct --all-extras --python $(LOWEST)/bin/python --output-file $(LOWEST)/lowest.txt pyproject.toml
	$(LOWEST)/bin/uv pip install --quiet --python $(LOWEST)/bin/python --requirement $(LOWEST)/lowest.txt pytest hypothesis
	touch $@

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	if command -v npm >/dev/null; then $(MAKE) page && npm run --silent check; fi

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup
	$(BIN)/python benchmarks/train_step.py

lock: # versions as they are in .venv, for the repository's own measurements
	$(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu//' > requirements.lock

clean:
	rm -rf .venv build dist node_modules $(ENGINE) .pytest_cache .mypy_cache .ruff_cache
