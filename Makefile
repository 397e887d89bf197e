# Everything from a fresh machine with Python 3.11: `make demo` and `make test` prepare what they need.
PYTHON ?= python3
BIN := .venv/bin
# `make demo -- --seconds 10`: what follows the dashes goes to the command.
ARGS = $(filter-out demo --,$(MAKECMDGOALS))

.PHONY: demo test test-long test-compiled check format lint types lock wheel bench clean

.venv/.ready: requirements-dev.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r requirements-dev.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

demo: .venv/.ready
	$(BIN)/greenstack-agent demo $(ARGS)

test: .venv/.ready
	$(BIN)/pytest -n 4 --dist worksteal

test-long: .venv/.ready
	# What runs for hours is not stuck after two minutes, and telling where it is can end the process.
	$(BIN)/pytest -m long --timeout 7200 -o faulthandler_timeout=0

# The inner loop compiled from the same source, as the image has it, in a copy of the tree; see setup.py.
COMPILED := build/compiled
$(COMPILED)/.ready: .venv/.ready setup.py $(shell find agent bench tests -name '*.py')
	rm -rf $(COMPILED)
	mkdir -p $(COMPILED)
	tar --create --exclude=./build --exclude=./.venv --exclude=./.git --exclude=./dist --exclude='__pycache__' . | \
		tar --extract --directory $(COMPILED)
	cd $(COMPILED) && GREENSTACK_AGENT_COMPILE=1 $(CURDIR)/$(BIN)/python setup.py -q build_ext --inplace
	$(BIN)/python -m compileall -q $(COMPILED)/agent # as every installation has it
	touch $@

# What the compiled modules do, and the agent with them. GREENSTACK_AGENT_COMPILED makes a test say so when they are not.
test-compiled: $(COMPILED)/.ready
	cd $(COMPILED) && GREENSTACK_AGENT_COMPILED=1 PYTHONPATH=. $(CURDIR)/$(BIN)/python -m pytest -n 4 --dist worksteal \
		tests/unit tests/properties tests/redaction tests/contract tests/system/test_command.py tests/crash/test_kill.py

wheel: .venv/.ready
	GREENSTACK_AGENT_COMPILE=1 $(BIN)/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

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

bench: $(COMPILED)/.ready
	cd $(COMPILED) && PYTHONPATH=. $(CURDIR)/$(BIN)/python bench/all.py

clean:
	rm -rf .venv build dist *.egg-info

# Options that follow `make demo --` are goals to make; they make nothing.
ifeq (demo,$(firstword $(MAKECMDGOALS)))
$(filter-out demo,$(MAKECMDGOALS)):
	@:
endif
