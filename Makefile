# What a developer types.  All that is installed goes into $(VENV).

PYTHON ?= python3
VENV ?= .venv
# The tests to run: "make test TESTS=tests.test_dialects".  All of them if empty.
TESTS ?=
# Versions to hold packages to: "make test VENV=.venv/24 PINS=Twisted==24.7.0".
PINS ?=
# For each of what is fuzzed.
SECONDS ?= 60
# What "make bench" carries each time, as 4GiB, and how often, where not as usual.
SIZE ?=
RUNS ?=

BIN = $(VENV)/bin
# Compatible, as Twisted does not find the drop-ins of other editable installs.
PIP_INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check \
    --config-settings editable_mode=compat

# An environment without the Python that it was made with is of no use.
$(shell test -x $(BIN)/python || test ! -f $(VENV)/pyvenv.cfg || rm -rf $(VENV))

help:
	@echo "make demo      see it work, on this machine alone"
	@echo "make test      run the tests; some by TESTS=tests.test_dialects"
	@echo "make servers   install what the tests talk to (Debian, as root)"
	@echo "make torture   run all of the tests of hard use, of which test runs a share"
	@echo "make fuzz      look for input that breaks a promise, SECONDS=60 for each kind"
	@echo "make lint      look for mistakes without running anything"
	@echo "make man       write the list of options into doc/tcpclient.1.rst"
	@echo "make docs      make pages of the Python API, in build/api"
	@echo "make bench     measure it beside other programs, for doc/performance.rst"
	@echo "               (a quarter of an hour; bench-quick takes two minutes)"
	@echo "make coverage  run the tests, and show what they do not reach"
	@echo "make clean     remove what these have made"

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

man: $(VENV)/.run
	$(BIN)/python -m twisted_tcpclient.command.manual

docs: $(VENV)/.doc build/twisted/objects.inv
	$(BIN)/pydoctor

# What there is in Twisted to link to, read from a copy of Twisted itself: no network is
# needed, and a name that it has no more is an error.  Its tests are most of it, and
# nobody links to them.
build/twisted/objects.inv: | $(VENV)/.doc
	@echo "Looking through Twisted, which takes half a minute ..."
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

# The checkout itself is what is installed, so that a change to it counts at once.
# Only what pip reads makes these old.
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
	        "say which is: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c "import ensurepip, venv" 2>/dev/null \
	    || { echo "$(PYTHON) cannot make virtual environments:" \
	        "it lacks venv or ensurepip (on Debian: apt install python3-venv)" >&2; \
	    exit 1; }
	@$(PYTHON) -m venv $(VENV)

.PHONY: help demo test servers torture fuzz lint man docs coverage clean bench \
    bench-quick
# An environment made by half is none.
.DELETE_ON_ERROR:
# pip must not be at work twice in one environment.
.NOTPARALLEL:
