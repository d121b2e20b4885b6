# Everything runs in .venv, which is made on first use.
#
#   make demo       train the four models on the built-in data set, in a few minutes
#   make test       the tests but those that take minutes, with the branch coverage of ops, nn, optim
#   make check      lint, and the tests of what differs from upstream, in under a minute
#   make lint       ruff and mypy
#   make examples   every example, for one epoch on the built-in data set
#   make docs       the documentation's pages, in site/
#   make test-all   lint, test, the tests that take minutes, examples and docs
#   make clean      remove .venv and everything else that was made here

PYTHON ?= python3
BIN := .venv/bin
LESSONS := part1_numpy_by_hand part2_mlp part3_cnn autograd_tour \
	compare_regularisation compare_optimizers features finetune prune
MEASURED := ops nn optim
# A process for each core. One that has nothing left takes tests from the end of another's, so that
# those of one file, which share what they have trained, mostly stay together.
PYTEST = $(BIN)/python -m pytest -n auto --dist worksteal

# Stamp files: they exist if a step was completed, and are newer than what it was made from.
VENV := .venv/made
SOURCES := setup.cfg pyproject.toml constraints.txt
COMMAND := .venv/command-installed
TEST := .venv/test-installed
DOCS := .venv/docs-installed
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt

.PHONY: demo test check lint slow examples docs test-all clean

demo: $(COMMAND)
	$(BIN)/python -m tinygrad_fm demo

test: $(TEST)
	$(PYTEST) $(MEASURED:%=--cov=tinygrad_fm/%) --cov-fail-under=95

check: lint
	set -e; tests=$$($(BIN)/python -m tests.mirror); if [ -n "$$tests" ]; then $(PYTEST) $$tests; fi

lint: $(TEST)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

examples: $(COMMAND)
	set -e; for lesson in $(LESSONS); do \
		$(BIN)/python examples/$$lesson.py --dataset garments --epochs 1; \
	done

docs: $(DOCS)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "The pages are in site/; open site/index.html"

test-all: lint test slow examples docs

slow: $(TEST)
	$(BIN)/python -m pytest -m slow

clean:
	rm -rf .venv out site build dist *.egg-info .coverage .hypothesis .*_cache
	find . -name __pycache__ -type d -prune -exec rm -r {} +

$(COMMAND): $(SOURCES) | $(VENV)
	$(INSTALL) -e '.[train,report]'
	touch $@

$(TEST): $(SOURCES) | $(VENV)
	$(INSTALL) -e '.[test]'
	touch $@ $(COMMAND)

$(DOCS): $(SOURCES) | $(VENV)
	$(INSTALL) -e '.[docs]'
	touch $@

define CHECK_VERSION
import sys
if sys.version_info < (3, 10):
    sys.exit("tinygrad_fm needs Python 3.10 or newer, but $(PYTHON) is " + sys.version.split()[0]
             + "; name another one, as in: make demo PYTHON=python3.12")
endef
export CHECK_VERSION

$(VENV):
	@$(PYTHON) -c "$$CHECK_VERSION"
	$(PYTHON) -m venv --clear .venv
	touch $@
