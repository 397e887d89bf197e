# Everything from a fresh machine with Python 3.11: `make demo` and `make test` prepare what they need.
PYTHON ?= python3
BIN := .venv/bin
# `make demo -- --seconds 10`: what follows the dashes goes to the command.
ARGS = $(filter-out demo --,$(MAKECMDGOALS))

.PHONY: demo test test-long check format lint types lock bench clean

.venv/.ready: requirements-dev.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r requirements-dev.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

demo: .venv/.ready
	$(BIN)/greenstack-agent demo $(ARGS)

test: .venv/.ready
	$(BIN)/pytest -n 2 --dist worksteal

test-long: .venv/.ready
	$(BIN)/pytest -m long --timeout 7200

check: lint types test

lint: .venv/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/.ready
	$(BIN)/mypy

format: .venv/.ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: .venv/.ready
	$(BIN)/pip install --quiet pip-tools
	$(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-emit-index-url --no-emit-find-links \
		--no-emit-trusted-host --no-header --no-annotate --output-file requirements.lock pyproject.toml
	$(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-emit-index-url --no-emit-find-links \
		--no-emit-trusted-host --no-header --no-annotate --extra dev --output-file requirements-dev.lock pyproject.toml

bench: .venv/.ready
	$(BIN)/python bench/throughput.py --lines 300000
	$(BIN)/python bench/throughput.py --lines 300000 --emails 0.25
	$(BIN)/python bench/redaction.py

clean:
	rm -rf .venv build dist *.egg-info

# Options that follow `make demo --` are goals to make; they make nothing.
ifeq (demo,$(firstword $(MAKECMDGOALS)))
$(filter-out demo,$(MAKECMDGOALS)):
	@:
endif
