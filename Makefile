# Commands for developers.  All packages are installed into $(VENV).

PYTHON ?= python3
VENV ?= .venv
# The tests to run, such as "make test TESTS=tests.test_dialects"; empty for all.
TESTS ?=
# Exact versions of packages: "make test VENV=.venv/24 PINS=Twisted==24.7.0".
PINS ?=
# Seconds for each kind of input of "make fuzz".
SECONDS ?= 60
# Data in each run of "make bench", such as 4GiB, and the number of runs.
SIZE ?=
RUNS ?=

BIN = $(VENV)/bin
# Twisted finds the drop-ins of an editable install only in compat mode.
PIP_INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check \
    --config-settings editable_mode=compat

# Remove an environment whose Python has been removed.
$(shell test -x $(BIN)/python || test ! -f $(VENV)/pyvenv.cfg || rm -rf $(VENV))

help:
	@echo "make demo      see it work, on this machine alone"
	@echo "make test      run all tests; some with TESTS=tests.test_dialects"
	@echo "make servers   install the servers that the tests use (Debian, as root)"
	@echo "make torture   run the tests of hard use in full; make test runs a share"
	@echo "make fuzz      run random input, SECONDS=60 for each kind"
	@echo "make lint      check style and types"
	@echo "make docs      make pages of the Python API, in build/api"
	@echo "make bench     compare the speed with other programs, for doc/performance.rst"
	@echo "               (a quarter of an hour; bench-quick takes two minutes)"
	@echo "make coverage  run the tests, and show the lines that they do not reach"
	@echo "make clean     remove the files that these commands have made"

demo: $(VENV)/.run
	@$(BIN)/python doc/examples/demo.py

test: $(VENV)/.test
	$(BIN)/python -m tests.run $(TESTS)

servers:
	@tests/install-servers

torture: $(VENV)/.test
	TORTURE=1 $(BIN)/python -m tests.run $(or $(TESTS),tests.torture)

fuzz: $(VENV)/.fuzz
	$(BIN)/python -m tests.torture.fuzzer $(SECONDS)

lint: $(VENV)/.lint
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

docs: $(VENV)/.doc build/twisted/objects.inv
	$(BIN)/pydoctor

# The names in Twisted that pages can link to, read from a copy of the installed Twisted:
# this needs no network, and a link to a name that Twisted has removed is an error.  Most
# of Twisted is its tests, to which no page links.
build/twisted/objects.inv: | $(VENV)/.doc
	@echo "Reading Twisted, which takes half a minute ..."
	@mkdir -p $(@D)
	@tar -C "$$($(BIN)/python -c 'import twisted; print(twisted.__path__[0])')/.." \
	    --exclude=test --exclude=__pycache__ -cf - twisted | tar -C $(@D) -xf -
	@cd $(@D) && $(abspath $(BIN))/pydoctor --quiet --make-intersphinx \
	    --project-name=Twisted --docformat=plaintext --html-output=. twisted

coverage: $(VENV)/.test
	$(BIN)/coverage erase
	$(BIN)/coverage run -m tests.run $(TESTS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

bench: $(VENV)/.test
	$(BIN)/python -m benchmarks --page doc/performance.rst \
	    $(if $(SIZE),--size $(SIZE)) $(if $(RUNS),--runs $(RUNS))

bench-quick: $(VENV)/.test
	$(BIN)/python -m benchmarks --quick

clean:
	rm -rf $(VENV) build dist *.egg-info .coverage .coverage.* \
	    .mypy_cache .ruff_cache .hypothesis _trial_temp* \
	    crash-* oom-* slow-unit-* timeout-*

# The checkout is installed as editable, so that a change to the code needs no new
# installation.  Only a change to these files does.
INSTALLED = setup.cfg pyproject.toml twisted_tcpclient/__init__.py

$(VENV)/.run: EXTRAS =
$(VENV)/.test: EXTRAS = [test]
$(VENV)/.lint: EXTRAS = [test,lint]
$(VENV)/.doc: EXTRAS = [doc]
$(VENV)/.fuzz: EXTRAS = [test,fuzz]

$(VENV)/.run $(VENV)/.test $(VENV)/.lint $(VENV)/.doc $(VENV)/.fuzz: \
    $(INSTALLED) $(VENV)/pyvenv.cfg
	@echo "Installing into $(VENV), which takes a moment ..."
	@$(PIP_INSTALL) --editable '.$(EXTRAS)' $(PINS)
	@touch $@

$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 10))" 2>/dev/null \
	    || { echo "$(PYTHON) is not Python 3.10 or newer;" \
	        "name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c "import ensurepip, venv" 2>/dev/null \
	    || { echo "$(PYTHON) cannot make virtual environments:" \
	        "it lacks venv or ensurepip (on Debian: apt install python3-venv)" >&2; \
	    exit 1; }
	@$(PYTHON) -m venv $(VENV)

.PHONY: help demo test servers torture fuzz lint docs coverage clean bench bench-quick
# Remove an environment that could not be completed.
.DELETE_ON_ERROR:
# Two runs of pip must not share an environment.
.NOTPARALLEL:
