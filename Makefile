# Requires make, Python 3.11 or later, and access to a package registry. Everything is installed into .venv.
#   make demo ARGS="--events 1000"        passes arguments to the command
#   make test JOBS=2 ARGS="tests/worker"  runs a part of the suite in 2 processes; most tests wait, so use more processes than cores
#   make PYTHON=/path/to/python3.12 …     selects the interpreter
#   UV_TORCH_BACKEND=cpu make demo        installs the small CPU build of torch from torch's package index
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
# Each process of the tests would compile all modules again if the environment says that no compiled ones are written.
KEEP_BYTECODE := PYTHONDONTWRITEBYTECODE=
# The compiled part is built by the installation, so a change of its sources installs again.
PINS := pyproject.toml constraints.txt $(SETUP) $(wildcard stream/native/*.pyx stream/native/*.pxi)

.PHONY: help demo test test-exactness test-processes test-evaluate test-experiments test-rollouts test-objective test-faults test-mutations test-simulation test-trees test-training test-fuzz test-artefacts test-registry check bench chart dist image clean constraints test-gpu bench-gpu

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/.ready-demo ## Run a worker on real flight data with an embedded broker
	@$(BIN)/forebay demo $(ARGS)

test: .venv/.ready-dev ## Run the test suite; starts an Apache Kafka if Java and Maven, or Docker, are available
	@$(KEEP_BYTECODE) $(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(ARGS)

.PHONY: test-long
test-long: .venv/.ready-dev ## Follow the README, the examples, the demo, the Compose file, a chart release and the built wheel to their end
	@$(KEEP_BYTECODE) $(BIN)/python -m pytest -m long -n $(JOBS) --dist loadfile $(ARGS)

test-exactness: .venv/.ready-dev ## Verify exactly-once processing on an Apache Kafka and print a report; takes 20 minutes
	@$(BIN)/python -m tests.exactness.report $(ARGS)

test-processes: .venv/.ready-dev ## Kill and restart the processes of one supervisor on an Apache Kafka, and count every event; takes 4 minutes
	@$(BIN)/python -m tests.exactness.processes $(ARGS)

test-evaluate: .venv/.ready-dev ## Join labels with predictions while evaluators are killed, and compare with a recount; takes 5 minutes
	@$(BIN)/python -m tests.exactness.evaluation $(ARGS)

test-rollouts: .venv/.ready-dev ## Judge good and bad versions; roll out and back 50 times while workers are killed; takes 20 minutes
	@$(BIN)/python -m tests.worker.judged_rollouts
	@$(BIN)/python -m tests.exactness.rollouts $(ARGS)

test-experiments: .venv/.ready-dev ## Simulate 1,000 comparisons of equal versions, and find bad canaries and shadows; takes 8 minutes
	@$(BIN)/python -m tests.experiments.proof $(ARGS)

test-objective: .venv/.ready-dev ## Compare the controller of the objective with fixed settings at simulated workers; takes 15 minutes
	@$(BIN)/python -m tests.objective.proof

test-faults: .venv/.ready-dev ## Test failures of brokers, network, clocks and groups and print a report; takes 10 minutes
	@$(BIN)/python -m tests.faults.report $(ARGS)

test-mutations: .venv/.ready-dev ## Remove each exactly-once protection in turn and verify that a test fails
	@$(BIN)/python -m tests.exactness.mutations $(ARGS)

test-simulation: .venv/.ready-dev ## Simulate workers, faults and rebalances in a million random steps; takes an hour
	@$(BIN)/python -m tests.simulation.storm $(ARGS)

test-registry: .venv/.ready-dev ## Read events of Apicurio's Java serializers with its registry and a real Kafka; takes 3 minutes
	@$(BIN)/python -m pytest -m registry tests/registry $(ARGS)

test-fuzz: .venv/.ready-dev ## Mutate payloads of all formats, a million of each, and decode them; takes 20 minutes
	@$(BIN)/python -m tests.fuzz $(ARGS)

test-artefacts: .venv/.ready-dev ## Mutate artefacts of all backends 100,000 times and load them; takes 20 minutes
	@$(BIN)/python -m tests.fuzz.run $(ARGS)

test-trees: .venv/.ready-dev ## Compare converted trees with their libraries on a million rows for each model; takes 15 minutes
	@$(BIN)/python -m tests.models.registration.tree_proof $(ARGS)

test-gpu: .venv/.ready-dev ## Run the tests that need a CUDA device; they are skipped where there is none
	@$(BIN)/python -m pytest -m cuda tests/models/backends/torch/cuda tests/models/training/test_run.py $(ARGS)

test-training: .venv/.ready-dev ## Compare 1,000 random preparations with a worker's, and trainings with killed ranks; takes 30 minutes
	@$(BIN)/python -m tests.models.preparation.proof $(ARGS)
	@$(BIN)/python -m tests.models.distributed.proof

check: .venv/.ready-dev ## Run the linter, the type checker and the import rules
	@$(BIN)/ruff check .
	@$(BIN)/lint-imports & imports=$$!; $(BIN)/mypy && $(BIN)/mypy examples/*.py && wait $$imports

.PHONY: docs
docs: .venv/.ready-dev ## Build the documentation site into build/site; every link is checked
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet && echo "open build/site/index.html"

chart: .venv/.ready-dev ## Regenerate the chart's README, settings schema and test snapshots
	@$(BIN)/python -m tests.chart.generate
	@FOREBAY_UPDATE_SNAPSHOTS=1 $(BIN)/python -m pytest -q tests/chart/test_render.py -k snapshot

.PHONY: test-edge
test-edge: .venv/.ready-dev ## Run exported models in a bare environment under the limits of a small device; takes 5 minutes
	@$(BIN)/python -m tests.models.edge.proof $(ARGS)

bench-gpu: .venv/.ready-dev ## Measure models on a CUDA device, and whole workers; takes 10 minutes
	@$(BIN)/python -m benchmarks.gpu $(ARGS)

bench: .venv/.ready-dev ## Compare Forebay with hand-written workers on this machine
	@$(BIN)/python -m benchmarks.compare $(ARGS)

.PHONY: native test-native
native: .venv/.ready-dev ## Build the compiled part into the checkout again, after a change of its sources
	@$(BIN)/python .ci/build_native.py $(ARGS)

test-native: .venv/.ready-dev ## Compare the compiled part with its twin on millions of mutated events; takes 20 minutes
	@$(BIN)/python -m tests.native $(ARGS)

dist: .venv/.ready-dev ## Build the wheels, source distribution and bill of materials (CycloneDX) in dist/
	@rm -rf dist
	@$(BIN)/python -m build --no-isolation --outdir dist .
	@FOREBAY_BUILD_NATIVE=0 $(BIN)/python -m build --no-isolation --wheel --outdir dist .
	@$(BIN)/python .ci/sbom dist/forebay-$(VERSION).cdx.json

image: ## Build the container image with Docker; for CUDA: IMAGE_ARGS='--build-arg TORCH_BACKEND=cu130'
	@docker build --tag forebay:$(VERSION) --build-arg VERSION=$(VERSION) \
	  --build-arg REVISION=$$(git rev-parse HEAD 2>/dev/null || echo unknown) $(IMAGE_ARGS) .

constraints: .venv/.ready-dev ## Resolve the dependencies of all extras and write constraints.txt
	@command -v uv >/dev/null 2>&1 || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@export PATH="$$PATH:$$PWD/$(BIN)"; uv pip compile pyproject.toml --all-extras --python-version 3.11 --upgrade \
	  --no-header --no-annotate --no-emit-package forebay --quiet --output-file .venv/constraints.txt >/dev/null
	@{ echo '# The resolved versions of all extras. Update with: make constraints'; \
	  cat .venv/constraints.txt; } > constraints.txt

clean: ## Remove .venv, build results and caches
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.ready-demo: $(PINS)
	@$(SETUP) demo
	@touch $@

.venv/.ready-dev: $(PINS)
	@$(SETUP) dev
	@touch $@ .venv/.ready-demo
