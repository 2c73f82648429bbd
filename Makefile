# Everything that people and CI do with a checkout. `make` lists it.
PYTHON ?= python3
BIN := .venv/bin
NPM := PATH="$(CURDIR)/.bootstrap/node/shims:$$PATH" npm --prefix ui
PYTEST := $(BIN)/python -m pytest
WORKERS ?= 0
JOBS ?= 2
CHECKS := check-mypy check-ui-lint check-ui-test check-ui-types check-docs check-imports check-deptry check-style

.DEFAULT_GOAL := help
.PHONY: help up down demo test test-all check bench docs fmt dist clean setup setup-dev $(CHECKS)

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup:
	@$(PYTHON) scripts/bootstrap.py

setup-dev:
	@$(PYTHON) scripts/bootstrap.py --dev

up: setup ## set everything up and start Tetrad (Ctrl-C stops it)
	@$(BIN)/tetrad up $(ARGS)

down: ## stop a Tetrad that runs in the background
	@$(BIN)/tetrad down

demo: setup ## ask the example app of a running Tetrad a few questions (ARGS="…" asks your own)
	@eval "$$($(BIN)/tetrad env)" && $(if $(ARGS),$(BIN)/python examples/assistant/assistant.py $(ARGS), \
	  for question in "Why is the sky blue?" "What is the capital of France?" "How do bees make honey?"; do \
	    echo "▸ $$question"; $(BIN)/python examples/assistant/assistant.py "$$question" || exit 1; done)

test: setup-dev ## the tests, with real processes and a real model (ARGS=… goes to pytest)
	@$(PYTEST) -m "not slow" $(if $(filter-out 0,$(WORKERS)),-n $(WORKERS) --dist loadfile --no-loadscope-reorder) $(ARGS)

test-all: setup-dev ## the tests with soak, fault and statistics runs, many more examples, and coverage
	@HYPOTHESIS_PROFILE=all $(BIN)/coverage run -m pytest --timeout 900 $(ARGS); status=$$?; \
	  $(BIN)/coverage combine --quiet; $(BIN)/coverage report; exit $$status

# They know nothing of each other: JOBS at a time, the longest first, what each one says together.
check: setup-dev ## everything that reads the code without running it: style, types, contracts, docs
	@$(MAKE) --no-print-directory -j$(JOBS) $(if $(filter output-sync,$(.FEATURES)),--output-sync=target) $(CHECKS)

check-style:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

check-mypy:
	$(BIN)/mypy

check-imports:
	$(BIN)/lint-imports

check-deptry:
	$(BIN)/deptry src

check-docs:
	$(BIN)/python scripts/docs.py --check

check-ui-lint check-ui-types check-ui-test: check-ui-%:
	$(NPM) run $*

bench: setup-dev ## gateway, registry, datasets, traces: speed and memory beside nginx, LiteLLM and MLflow
	@$(BIN)/python benchmarks/run.py $(ARGS)

docs: setup-dev ## write the generated reference pages, check links and snippets
	@$(BIN)/python scripts/docs.py

fmt: setup-dev ## format the code and mend what can be mended
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

dist: setup-dev ## build the wheel, with the console inside
	@rm -rf dist src/tetrad/processes/control/static && cp -R ui/dist src/tetrad/processes/control/static
	@$(or $(wildcard .bootstrap/uv/uv),uv) build --wheel --out-dir dist; status=$$?; \
	  rm -rf src/tetrad/processes/control/static; exit $$status

clean: ## remove everything that can be made again (not your data in TETRAD_HOME)
	rm -rf .venv .bootstrap ui/node_modules ui/dist dist build htmlcov test-artifacts bench-results .coverage* \
	  .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache src/tetrad/processes/control/static
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
