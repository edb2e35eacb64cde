# PYTHON chooses the interpreter: make lab PYTHON=python3.13

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := .tools/bin/uv
PARALLEL := -n 3 --dist loadfile

# Trust the certificates that this machine trusts, as pip does.
ifneq ($(wildcard /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem),)
export UV_SYSTEM_CERTS ?= true
endif

.DEFAULT_GOAL := help
.PHONY: help lab test test-long test-nightly lint notebooks reference picture site dist constraints clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

lab: $(VENV)/.lab ## open the tutorial in JupyterLab
	@$(BIN)/python -m reactive_demo lab $(ARGS)

test: lint ## check style and types, run the tests and the notebooks
	$(BIN)/python -m pytest $(PARALLEL) $(ARGS)

test-long: $(VENV)/.test ## run the tests that take minutes
	$(BIN)/python -m pytest $(PARALLEL) -m "long and not nightly" tests notebooks $(ARGS)

test-nightly: $(VENV)/.test ## run those that fill all cores meanwhile, one after the other
	$(BIN)/python -m pytest -m nightly tests notebooks $(ARGS)

lint: $(VENV)/.test ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

notebooks: $(VENV)/.test ## run the notebooks and keep their outputs
	PYTHONPATH=tests $(BIN)/python tests/tools/execute_notebooks.py notebooks/[0-9][0-9]_*.ipynb

reference: $(VENV)/.test ## write docs/reference.md from the docstrings
	$(BIN)/python tests/tools/write_reference.py

picture: $(VENV)/.test ## take README's picture from a live lab (needs Chromium)
	$(UV) pip install --quiet --python $(BIN)/python pillow
	PYTHONPATH=tests $(BIN)/python tests/tools/record_picture.py

site: $(VENV)/.test ## build the static site in build/site
	@$(UV) pip install --quiet --python $(BIN)/python --constraint constraints.txt --group site
	NO_MKDOCS_2_WARNING=1 PYTHONPATH=tests $(BIN)/python tests/tools/build_site.py

dist: $(VENV)/.test ## build the package in dist, and check it as an index would
	@$(UV) pip install --quiet --python $(BIN)/python --constraint constraints.txt --group dist
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	$(BIN)/twine check --strict dist/*

constraints: $(UV) ## pin the newest versions of all packages
	$(UV) pip compile -q --universal --upgrade --no-header --no-annotate --extra test -o constraints.txt pyproject.toml

clean: ## remove what make installed; `reactive-demo reset` deletes the databases
	rm -rf $(VENV) .tools dist build .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A much faster installer than pip; pip installs it, and it needs neither root nor python3-venv.
$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "This needs Python 3.11 or newer: make lab PYTHON=python3.13")'
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --target .tools uv

$(BIN)/python: | $(UV)
	@$(UV) venv --quiet --python "$$(command -v $(PYTHON))" $(VENV)

$(VENV)/.lab: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing the packages ..."
	@$(UV) pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[all]'
	@touch $@

$(VENV)/.test: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing the packages ..."
	@$(UV) pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[test]'
	@touch $@ $(VENV)/.lab
