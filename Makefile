# Ringlane: every target works from a fresh clone and needs no root.
#   make run    set up and run the engine on the embedded default for about 30 s, then print the report
#   make test   set up and pass the tests (5 minutes at most on 2 cores)

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# The first Python in 3.11 .. 3.13 that is here; `make PYTHON=/path/to/python` chooses another.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(not (3,11) <= sys.version_info[:2] <= (3,13))' 2>/dev/null \
	&& { command -v $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
DURATION ?= 30
PYTEST := $(BIN)/python -P -m pytest

COMPILED := $(shell find shm feeds exec risk actors profiles tools -name '*.pyx' -o -name '*.pxd' -o -name '*.h' 2>/dev/null)

.PHONY: help run test lint types prove soak bench clean setup doctor-build

help:
	@sed -n 's/^# \{0,1\}//p' Makefile | sed -n '1,3p'
	@echo "  make lint   format and lint;  make types   mypy;  make prove   models, sanitizers, fuzz, kills"
	@echo "  make bench  figures beside their floor;  make clean   remove everything that was built"

doctor-build:
	@missing=; \
	command -v git >/dev/null || missing="$$missing git"; \
	command -v gcc >/dev/null || command -v cc >/dev/null || missing="$$missing gcc"; \
	[ -n "$(PYTHON)" ] || missing="$$missing python3.11-or-3.12-or-3.13"; \
	if [ -n "$(PYTHON)" ]; then \
		"$(PYTHON)" -c 'import sysconfig,os,sys; sys.exit(not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")))' \
			|| missing="$$missing python-headers(python3-dev)"; \
		"$(PYTHON)" -c 'import venv, ensurepip' 2>/dev/null || missing="$$missing python-venv(python3-venv)"; \
	fi; \
	[ -z "$$missing" ] || { echo "make: this machine lacks:$$missing" >&2; exit 1; }

# Names of the packages that pyproject.toml asks for, so that the versions stand in one place.
define REQUIREMENTS
import sys, tomllib
p = tomllib.load(open("pyproject.toml", "rb"))
project = p["project"]
lists = {"build": p["build-system"]["requires"], "base": project["dependencies"], **project["optional-dependencies"]}
print("\n".join(r for name in sys.argv[1:] for r in lists[name] if not r.startswith("ringlane")))
endef
export REQUIREMENTS
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
BUILD := $(BIN)/python -W ignore -c 'import setuptools; setuptools.setup()' -q build_ext --inplace

$(VENV)/.base: pyproject.toml | doctor-build
	@[ -x $(BIN)/python ] || { echo "== making $(VENV) with $(PYTHON)"; "$(PYTHON)" -m venv $(VENV); }
	@echo "== installing what the engine needs"
	@$(PIP) -r <($(BIN)/python -c "$$REQUIREMENTS" build base tls)
	@touch $@

$(VENV)/.built: $(VENV)/.base $(COMPILED)
	@if $(BIN)/python -m pip show -q ringlane 2>/dev/null; then \
		echo "== compiling what changed"; $(BUILD); \
	else \
		echo "== compiling the core (one to two minutes the first time)"; $(PIP) --no-build-isolation --no-deps -e .; \
	fi
	@touch $@

$(VENV)/.test: $(VENV)/.base
	@echo "== installing what the tests need"
	@$(PIP) -r <($(BIN)/python -c "$$REQUIREMENTS" test store archive)
	@touch $@

setup: $(VENV)/.built

run: $(VENV)/.built
	$(BIN)/ringlane run --duration $(DURATION)

test: $(VENV)/.built $(VENV)/.test
	$(PYTEST) -n 2 --dist loadgroup -m "not prove and not soak"

lint: $(VENV)/.test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.test
	$(BIN)/mypy

prove: $(VENV)/.built $(VENV)/.test
	HYPOTHESIS_PROFILE=prove RINGLANE_KILL_ROUNDS=20 RINGLANE_PING_PONGS=50000 RINGLANE_ENGINE_KILLS=100 \
		RINGLANE_VENUE_KILLS=20 $(PYTEST) -n 2 --dist loadgroup -m "(prove or stress) and not soak" --timeout 600

soak: $(VENV)/.built $(VENV)/.test
	RINGLANE_KILL_ROUNDS=500 RINGLANE_ENGINE_KILLS=2000 RINGLANE_VENUE_KILLS=500 RINGLANE_STRESS_RECORDS=5000000000 \
		$(PYTEST) -m "soak or stress" --timeout 0

$(VENV)/.bench: $(VENV)/.base
	@echo "== installing the peers"
	@$(PIP) -r <($(BIN)/python -c "$$REQUIREMENTS" bench)
	@touch $@

bench: $(VENV)/.built $(VENV)/.bench
	$(BIN)/ringlane bench memory
	$(BIN)/ringlane bench ring --peers
	$(BIN)/ringlane bench decode

clean:
	rm -rf $(VENV) build dist *.egg-info report .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	find shm feeds exec risk actors profiles tools -name '*.so' -delete
	find shm feeds exec risk actors profiles tools -name '*.pyx' | sed 's/\.pyx$$/.c/' | xargs -r rm -f
