# Needs make, Python 3.11 or later, and the package registry; everything goes into .venv.
#   make demo ARGS="--events 1000"     passes arguments on
#   make test JOBS=2 ARGS="tests/worker" 2 processes (most tests wait, so more than cores pay); a part of the suite
#   make PYTHON=/path/to/python3.12 …  chooses the interpreter
#   UV_TORCH_BACKEND=cpu make demo     takes the small torch, where torch's own index can be reached
SHELL := /bin/bash
.DEFAULT_GOAL := help
.NOTPARALLEL:
ARGS ?=
JOBS ?= 4
PYTHON ?=
export PYTHON
BIN := .venv/bin
SETUP := .ci/setup-venv
VERSION = $(shell sed -n 's/^version = "\([^"]*\)".*/\1/p' pyproject.toml)
IMAGE_ARGS ?=
PINS := pyproject.toml constraints.txt $(SETUP)

.PHONY: help demo test test-exactness test-faults test-mutations check bench chart dist image clean constraints

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/.ready-demo ## A year of real flights through a real worker on an embedded broker
	@$(BIN)/forebay demo $(ARGS)

test: .venv/.ready-dev ## The whole suite; starts a real Apache Kafka where Java and Maven, or Docker, are
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(ARGS)

test-exactness: .venv/.ready-dev ## The whole proof of exactly once on a real Apache Kafka, with a report; a quarter of an hour
	@$(BIN)/python -m tests.exactness.report $(ARGS)

test-faults: .venv/.ready-dev ## What can befall brokers, network, clocks and groups, one after the other, with a report; ten minutes
	@$(BIN)/python -m tests.faults.report $(ARGS)

test-mutations: .venv/.ready-dev ## Take out each protection of exactly once alone: a named test must fail
	@$(BIN)/python -m tests.exactness.mutations $(ARGS)

check: .venv/.ready-dev ## Lint, types, import directions
	@$(BIN)/ruff check .
	@$(BIN)/lint-imports & imports=$$!; $(BIN)/mypy && wait $$imports

chart: .venv/.ready-dev ## Renew what of the Helm chart is generated: README, the schema of the settings, the tests' snapshots
	@$(BIN)/python -m tests.chart.generate
	@FOREBAY_UPDATE_SNAPSHOTS=1 $(BIN)/python -m pytest -q tests/chart/test_render.py -k snapshot

bench: .venv/.ready-dev ## Forebay beside hand-written workers, on this machine
	@$(BIN)/python -m benchmarks.compare $(ARGS)

dist: .venv/.ready-dev ## Wheel, source distribution and bill of materials (CycloneDX) into dist/
	@rm -rf dist
	@$(BIN)/python -m build --no-isolation --outdir dist .
	@$(BIN)/python .ci/sbom dist/forebay-$(VERSION).cdx.json

image: ## The container image, by Docker; IMAGE_ARGS='--build-arg TORCH_BACKEND=cu130' for CUDA
	@docker build --tag forebay:$(VERSION) --build-arg VERSION=$(VERSION) \
	  --build-arg REVISION=$$(git rev-parse HEAD 2>/dev/null || echo unknown) $(IMAGE_ARGS) .

constraints: .venv/.ready-dev ## Resolve every extra anew and write constraints.txt
	@command -v uv >/dev/null 2>&1 || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@export PATH="$$PATH:$$PWD/$(BIN)"; uv pip compile pyproject.toml --all-extras --python-version 3.11 --upgrade \
	  --no-header --no-annotate --no-emit-package forebay --quiet --output-file .venv/constraints.txt >/dev/null
	@{ echo '# The resolved environment of all extras, names and versions only. Renew with: make constraints'; \
	  cat .venv/constraints.txt; } > constraints.txt

clean: ## Remove .venv and what tools leave
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.ready-demo: $(PINS)
	@$(SETUP) demo
	@touch $@

.venv/.ready-dev: $(PINS)
	@$(SETUP) dev
	@touch $@ .venv/.ready-demo
