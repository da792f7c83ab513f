# Two commands matter: `make demo` and `make test`. The rest is for people who work on Lanai.
SHELL := /bin/sh
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
LOCK := -c constraints.txt

FUZZ_SECONDS ?= 60
FUZZ_TARGETS ?=

.PHONY: demo test fuzz docs install-demo install-test models system protos lint fmt clean help

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

demo: install-demo models ## set everything up and run the whole path once on this machine
	@$(BIN)/python -m device_agent.demo

# `make test WORKERS=2`: side by side on two cores; tests/conftest.py says who is beside whom.
WORKERS ?= 0

test: install-test system $(VENV)/.installed-tpm models ## set everything up and run the whole test suite
	@$(BIN)/python -m pytest -n $(WORKERS) --no-loadscope-reorder $(PYTEST_ARGS)

fuzz: install-test ## fuzz every parser of network bytes, FUZZ_SECONDS (60) each
	@$(BIN)/python tests/fuzz/fuzz_harness.py --seconds $(FUZZ_SECONDS) $(FUZZ_TARGETS)

# Warnings are errors: a link that leads nowhere, a name that is not there, a page that is in no list.
docs: $(VENV)/.installed-cloud-docs-otlp-dev ## build the pages of docs/ into build/docs/index.html
	@$(BIN)/sphinx-build -q -W --keep-going -d build/docs-cache docs build/docs

install-demo: $(VENV)/.installed-cloud
install-test: $(VENV)/.installed-cloud-docs-otlp-dev

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] < (3, 11))' || \
	  { echo 'lanai: needs Python 3.11 or newer' >&2; echo 'hint: make PYTHON=python3.11 ...' >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo 'hint: on Debian and Ubuntu: apt-get install python3-venv' >&2; exit 2; }

# One marker for each set of extras: a second run starts in seconds.
$(VENV)/.installed-%: $(VENV)/bin/python pyproject.toml constraints.txt setup.py $(wildcard inference/kernels/native/*)
	@echo "installing the locked dependencies ($*); the first time takes a few minutes" >&2
	@$(PIP) install --quiet $(LOCK) $(PIP_ARGS) -e '.[$(subst -,$(comma),$*)]'
	@touch $@
comma := ,

models: ## fetch the default models, once
	@$(BIN)/lanai models pull smollm2-135m-instruct-source >/dev/null
	@$(BIN)/lanai models pull smollm2-135m-instruct >/dev/null
	@$(BIN)/lanai models pull gemma-3-270m-source >/dev/null
	@$(BIN)/lanai models pull gemma-3-270m >/dev/null

# What the tests need from the system: package and the program, or file, it brings. A TPM that is a
# program, and what tpm2-pytss compiles against.
SYSTEM = redis-server:redis-server swtpm:swtpm swtpm-tools:swtpm_setup gcc:cc \
  pkg-config:pkg-config libtss2-dev:/usr/include/tss2/tss2_esys.h python3-dev:$(PYTHON_H)
PYTHON_H = $(shell $(PYTHON) -c 'import sysconfig; print(sysconfig.get_paths()["include"])')/Python.h

system:
	@sh deploy/system-packages.sh $(SYSTEM)

protos: install-test ## regenerate the gRPC stubs
	@PYTHON=$(BIN)/python sh protos/generate.sh

lint: install-test ## ruff, mypy and the import arrows
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports

fmt: install-test ## format and fix what ruff can fix
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

clean: ## remove the virtual environment and caches; models and state stay
	@rm -rf $(VENV) build dist ./*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
