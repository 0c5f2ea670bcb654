# One environment for everything: .venv, built from the hashed requirements/dev.txt. `make help` lists the targets.

PYTHON ?= python3
# Test processes at the same time; 0 runs everything in one.
WORKERS ?= 2
# What pytest is to run, for example: make test TESTS=tests/unit
TESTS ?=
# More arguments for the demo or the benchmarks, for example: make demo ARGS=--keep
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp
LOCK := requirements/dev.txt

# A few of the machine's settings would change what is tested.
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV PYTEST_ADDOPTS INBOX_SYNC_CONFIG

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test check generate servers soak bench lock audit sbom build deb clean

help:  ## this list
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): $(LOCK) requirements/uv.txt pyproject.toml tools/environment
	@tools/environment $(PYTHON) $(VENV) $(LOCK)
	@touch $@

demo: $(STAMP)  ## sample mailboxes into a sandbox Inbox, before your eyes (ARGS=--keep: the page stays up)
	@$(BIN)/inbox-sync demo $(ARGS)

test: $(STAMP)  ## every test (TESTS=tests/unit: some)
	@PYTHON=$(PYTHON) tools/servers --if-possible
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup $(TESTS)

check: $(STAMP)  ## lint, format, types, imports, generated files
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python tools/generate.py --check
	@$(BIN)/tombi lint --offline --quiet

generate: $(STAMP)  ## re-make the files that are made from the code (schema, example, command reference)
	@$(BIN)/python tools/generate.py

servers:  ## the real servers that some tests need (Debian packages, one from PyPI; asks for sudo unless root)
	@PYTHON=$(PYTHON) tools/servers

soak: $(STAMP)  ## the long form of the tests that have one
	@PYTHON=$(PYTHON) tools/servers --if-possible
	@$(BIN)/python -m pytest -m soak --soak --timeout 7200 $(TESTS)

bench: $(STAMP)  ## speed, as ratios within one run, into docs/performance.md (ARGS="pipeline --rounds 1": some)
	@$(BIN)/python -m bench --write docs/performance.md $(ARGS)

lock: $(STAMP)  ## re-make requirements/*.txt from pyproject.toml
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --all-extras --group dev \
	    --generate-hashes --no-header --upgrade --output-file $(LOCK) pyproject.toml
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --all-extras --constraint $(LOCK) \
	    --generate-hashes --no-header --output-file requirements/runtime.txt pyproject.toml
	@echo 'uv>=0.9,<1' | $(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
	    --generate-hashes --no-header --upgrade --output-file requirements/uv.txt -
	@printf '%s\n' 'django-helpdesk>=2.6.1,<2.7' djangorestframework 'django<6' | \
	    $(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
	    --generate-hashes --no-header --upgrade --output-file requirements/django-helpdesk.txt -
	@printf '%s\n' 'roundup>=2.6,<2.7' | \
	    $(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
	    --generate-hashes --no-header --upgrade --output-file requirements/roundup.txt -

audit: $(STAMP)  ## known vulnerabilities of what is locked (asks PyPI's advisory service, and says so if it cannot)
	@tools/audit $(BIN) $(LOCK)

sbom: $(STAMP)  ## what is installed, as CycloneDX JSON, in dist/sbom.cdx.json (offline)
	@mkdir -p dist
	@$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --output-format JSON \
	    --output-file dist/sbom.cdx.json $(BIN)/python
	@echo "dist/sbom.cdx.json"

build: $(STAMP)  ## the wheel and the source archive, in dist/
	@$(BIN)/python -m build --no-isolation --outdir dist

deb: $(STAMP)  ## a Debian package of the program and its locked libraries, in dist/
	@tools/deb

clean:  ## removes everything that was built, .venv too
	@rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage htmlcov
