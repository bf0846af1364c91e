# The front door. Every other task belongs to the task runner: `make help` lists them.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

export PATH := $(CURDIR)/$(BIN):$(PATH)
export PYTHONSAFEPATH := 1

.PHONY: help setup run test bench faults hostile
help: ## Lists what can be done
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16
	@if [ -x $(BIN)/poe ]; then echo; poe --help | sed -n '/Configured tasks/,$$p'; else echo; echo '  The other tasks are listed after make setup.'; fi

setup: $(VENV)/installed ## Makes .venv with everything pinned (LOCKED=1: and checked against hashes; Linux)

$(VENV)/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11, 3.12 or 3.13 is needed; this is $$($(PYTHON) --version). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
ifdef LOCKED
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-index --no-build-isolation -e '.[dev]'
else
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
endif
	@touch $@

run: setup ## Starts everything and shows a refinement (ONCE=1: stops after it)
	@ideo dev $(if $(ONCE),--once)

test: setup ## Runs every check and every test
	@poe --quiet test

bench: setup ## Runs every measurement
	@poe --quiet bench

faults: setup ## Runs the full fault campaign (PARTS="crashes mix" MINUTES=30 SEED=1)
	@poe --quiet faults $(PARTS) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED))

hostile: setup ## Runs the campaign of hostile input (PARTS="fuzz browser" SECONDS=300)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[hostile]'
	@poe --quiet hostile $(PARTS) $(if $(SECONDS),--seconds $(SECONDS))
