# The front door. Needs Python 3.11 or newer and make; everything else is put into .venv.
#
#   make setup PIP_ARGS="..."     hands arguments to pip, for example where PyTorch's CPU build is to be taken from
#   make setup PYTHON=python3.13  uses that Python
#   make setup CONSTRAINTS=constraints.txt   installs the versions that are listed there, not the newest ones

VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.ready
PYTHON ?= python3
PIP_ARGS ?=
CONSTRAINTS ?=
ARGS   ?=
TESTERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
PYTEST  := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(TESTERS) --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help setup demo serve test test-long test-fast mutants audit lint bench doctor docs reference screenshots constraints clean

help:  ## Say what there is.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

setup: $(STAMP)  ## Install everything into .venv; costs nothing the second time.

# The stamp is older than these files only when the dependencies may have changed.
$(STAMP): pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "inferq needs Python 3.11 or newer, and '$(PYTHON)' is not; name one: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
	  { echo "'$(PYTHON) -m venv' does not work; on Debian and Ubuntu it needs the package python3-venv"; exit 2; }
	@echo "installing into $(VENV); the first time this takes a minute or more"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) \
	  $(if $(CONSTRAINTS),--constraint $(CONSTRAINTS)) --config-settings editable_mode=compat --editable '.[dev]'
	@touch $@

demo: setup  ## Start the service for a moment, send it photographs, show what comes back.
	@$(BIN)/inferq demo $(ARGS)

serve: setup  ## Run the service until Ctrl-C; ARGS="--port 9000" and so on are handed on.
	@exec $(BIN)/inferq up $(ARGS)

# One process more than there are cores, since many tests wait for a stack most of their time; the tests of one file stay
# together, since many files share a stack of their own. The order is that of tests/conftest.py: by default xdist takes
# the files with the most tests first, and the longest ones last. One thread for each process, since two that share two
# cores wait for each other.
test: setup  ## Run the tests but the long ones; ARGS="-k supervisor" and so on are handed on.
	$(PYTEST) -m "not long" $(ARGS)

test-long: setup  ## Run the tests that `make test` leaves out: more of a kind, and what rarely breaks.
	$(PYTEST) -m long $(ARGS)

test-fast: setup  ## Run the unit tests that need no process, no network and no training.
	$(BIN)/python -m pytest tests/unit -m "not slow" $(ARGS)

# Cosmic Ray has a .venv of its own: nothing else needs it, nor what it brings.
mutants: setup  ## Try whether the tests notice a sample of small faults; takes a quarter of an hour or more.
	@test -x .venv-mutants/bin/cosmic-ray || { $(PYTHON) -m venv .venv-mutants && \
	  .venv-mutants/bin/python -m pip install --quiet --disable-pip-version-check 'cosmic-ray>=8.7,<9'; }
	.venv-mutants/bin/python tests/mutants.py $(ARGS)

# pip-audit has a .venv of its own as well. It needs the network: without it, the audit says so, and does the rest.
audit: setup  ## Look for known vulnerabilities and for secrets, and run the generated tests for longer.
	@test -x .venv-audit/bin/pip-audit || { $(PYTHON) -m venv .venv-audit && \
	  .venv-audit/bin/python -m pip install --quiet --disable-pip-version-check 'pip-audit>=2.9,<3'; } || true
	$(BIN)/python -m tests.audit $(ARGS)

lint: setup  ## Check style, format and types.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup  ## Measure throughput and latency of the real HTTP path.
	$(BIN)/inferq bench $(ARGS)

doctor: setup  ## Check that this machine has all that is needed.
	@$(BIN)/inferq doctor $(ARGS)

docs: setup  ## Build the site of the pages, without a network; a warning is an error.
	@$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet --builder html --conf-dir docs . build/site
	@echo "open build/site/docs/index.html"

reference: setup  ## Write the pages of docs/, and the types of clients/, that come from the code.
	@for script in docs/settings.py docs/reference/*.py clients/typescript/generate.py; do $(BIN)/python $$script || exit 1; done

# From a fresh .venv: `make clean`, then `make constraints`. Builds such as +cpu are left out, and so is what follows
# from the build of torch, so that the list does for every card.
constraints: setup  ## Write the versions that are installed into constraints.txt.
	@{ sed '/^#/!d' constraints.txt; $(BIN)/python -m pip freeze --exclude-editable | \
	  sed -nE '/^(nvidia|cuda|triton)/d; s/^([A-Za-z0-9._-]+==[^+ ]+).*/\1/p'; } > constraints.new
	@mv constraints.new constraints.txt

screenshots: setup  ## Take the pictures of the pages that the README shows; needs Chromium and a quarter of an hour.
	$(BIN)/python docs/screenshots.py $(ARGS)

clean:  ## Remove what was installed and built; the data folder stays.
	rm -rf $(VENV) .venv-mutants .venv-audit .hypothesis build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
