# Countersign. `make help` lists the targets.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help run compiled setup check test containers services vectors bench faults crm-proof hostile

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

run: .venv/run compiled ## set up and start everything on this machine (PORT, DATA_DIR, PUBLIC_URL)
	@./countersign run

compiled: # A start does not wait for the compiler, even where Python may not keep what it compiled.
	@$(BIN)/python -m compileall -q services shared

setup: .venv/dev ## set up for development: locked packages with their hashes

check: .venv/dev ## format, lint, types and import walls
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	PYTHONPATH=. $(BIN)/lint-imports

test: .venv/dev ## run the tests (T=name for some of them)
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder $(if $(T),-k "$(T)")

containers: .venv/dev ## the whole story in docker compose, on the engine of this machine
	TEST_CONTAINERS=1 $(BIN)/python -m pytest --timeout 1800 tests/journey/test_event_to_audit.py -k containers

services: ## start the real servers on this machine (deploy/dev/services stop ends them)
	@deploy/dev/services start

vectors: .venv/dev ## post recorded webhooks through the real endpoint (FILE=path)
	$(BIN)/python -m tests.vectors $(FILE)

bench: .venv/dev compiled ## measure speed (P="p1 columns" for some; FULL=1, SMOKE=1, COLUMN=distributed)
	$(BIN)/python -m tests.bench $(P)

faults: .venv/dev ## kill, cut and fill up every part (ONLY="points disk", SECONDS=600, SEED=1); goes on
	$(BIN)/python -m tests.faults

crm-proof: .venv/dev ## every CRM: edits of people and failing calls by chance (CRM=jobber); goes on
	-INTERLEAVINGS=$(or $(INTERLEAVINGS),1000) FAILING_CALLS=$(or $(FAILING_CALLS),10000) \
	  $(BIN)/python -m pytest -q --timeout 3600 tests/crm -k "at_random and test_$(CRM)"
	$(BIN)/python -m tests.crm.proof

hostile: .venv/dev ## prove that the intake holds (P="requests slow replay echo logs", SCALE=0.01, N=)
	$(BIN)/python -m tests.hostile $(P)

.venv/run: deploy/requirements.txt
	@$(PYTHON) -m venv .venv
	@echo "Setting up (once)…"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

.venv/dev: deploy/requirements-dev.txt
	@$(PYTHON) -m venv .venv
	@echo "Setting up for development (once)…"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@ .venv/run
