# The tasks of a newcomer. All others belong to the task runner: `make help` lists them.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

export PATH := $(CURDIR)/$(BIN):$(PATH)
export PYTHONSAFEPATH := 1

# Compiled once, and not at each start, also where Python is told to write no bytecode.
UV      := $(BIN)/python tools/uv.py pip install --quiet --compile-bytecode
INSTALL := $(UV) --require-hashes --constraints requirements.lock --requirements pyproject.toml
# $(call step,TEXT,COMMAND) says what goes on, and how long it took.
step = @printf '%s … ' "$(1)"; began=$$(date +%s); $(2) && echo "$$(($$(date +%s) - began)) s"
# What the compiled module is made from.
CRATE := tools/compiled.py $(wildcard server/compiled/rust/*.* server/compiled/rust/src/*)
MODULE := $(VENV)/compiled.installed

# One that is there is used as it is.
ifeq ($(origin PYTHON)$(wildcard $(VENV)/run.installed),command line$(VENV)/run.installed)
MADE_WITH := $(shell $(BIN)/python --version)
ifneq ($(MADE_WITH),$(shell $(PYTHON) --version))
$(info $(VENV) was made with $(MADE_WITH); delete it to change)
endif
endif

.PHONY: help setup run test bench faults hostile
help: ## Lists the tasks
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16
	@if [ -x $(BIN)/poe ]; then echo; poe --help | sed -n '/Configured tasks/,$$p'; else echo; echo '  After make setup, this lists the other tasks, too.'; fi

setup: $(VENV)/test.installed $(MODULE) ## Makes .venv with all that the tasks need, pinned and checked against hashes

$(VENV)/run.installed: pyproject.toml requirements.lock tools/uv.py
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
	  || { echo "Python 3.11, 3.12 or 3.13 is needed; $(PYTHON) is $$($(PYTHON) --version 2>/dev/null || echo missing). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(call step,Making $(VENV) with $$($(PYTHON) --version),$(PYTHON) -m venv --clear $(VENV))
	$(call step,Installing the pinned pip,$(UV) --require-hashes --constraints requirements.lock --group installer)
	$(call step,Installing what running needs,$(INSTALL) --extra embedded)
	$(call step,Installing the hub,$(UV) --no-deps --build-constraints requirements.lock --require-build-hashes --editable . && $(BIN)/python -m compileall -q server gen/python clients/python)
	@touch $@

$(VENV)/test.installed: $(VENV)/run.installed
	$(call step,Installing what the checks and tests need,$(INSTALL) --all-extras --group dev)
	@touch $@

$(VENV)/generators.installed: $(VENV)/test.installed
	$(call step,Installing Node and Go,$(INSTALL) --group generators)
	@touch $@

$(VENV)/hostile.installed: $(VENV)/test.installed
	$(call step,Installing what the hostile campaign needs,$(INSTALL) --group hostile)
	@touch $@

$(VENV)/bench.installed: $(VENV)/test.installed
	$(call step,Installing what the peers need,$(INSTALL) --group bench)
	@touch $@

# Without cargo, or where the build fails, the hub goes on in Python, and the next `make` tries again. Not in CI.
$(MODULE): $(VENV)/test.installed $(CRATE)
	$(call step,Building the compiled module,$(BIN)/python tools/compiled.py install && touch $@) || { rm -f $@; test -z "$$CI"; }

# Starting does not build it, but neither uses one of other sources.
ifneq ($(wildcard $(MODULE)),)
run: $(MODULE)
endif
run: $(VENV)/run.installed ## Starts everything and shows a refinement (ONCE=1: stops after it)
	@ideo dev $(if $(ONCE),--once)

test: setup ## Runs every check and every test
	@poe --quiet test

bench: $(VENV)/bench.installed $(MODULE) ## Measures the hub and its peers, and writes docs/performance.md (QUICK=1 TABLES="relay pace": prints only)
	@poe --quiet bench $(TABLES) $(if $(QUICK),--quick) $(if $(QUICK)$(TABLES),,--write)

faults: setup ## Runs the full fault campaign (PARTS="crashes mix" MINUTES=30 SEED=1)
	@poe --quiet faults $(PARTS) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED))

hostile: $(VENV)/hostile.installed $(MODULE) ## Runs the campaign of hostile input (PARTS="fuzz browser" SECONDS=300 ATTACKS=ws-pings CONTROL=another-hub)
	@poe --quiet hostile $(PARTS) $(if $(SECONDS),--seconds $(SECONDS)) $(addprefix --attack=,$(ATTACKS)) $(if $(CONTROL),--control=$(CONTROL))
