PYTHON ?= python3
PORT ?= 4200
SERVE_PORT ?= 3000
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export DO_NOT_TRACK := 1
export GX_ANALYTICS_ENABLED := false
export BENTOML_DO_NOT_TRACK := True
export NO_MKDOCS_2_WARNING := 1

.PHONY: env loop test lint format serve ui bench docs lock
.DEFAULT_GOAL := loop

env: .venv/.installed  ## the virtual environment, from requirements.lock

.venv/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "recloop needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 2; }
	@$(PYTHON) -m venv .venv || { echo "Python cannot make a virtual environment; install it with: apt-get install python3-venv"; exit 2; }
	@echo "Installing the packages of requirements.lock into .venv (a few minutes the first time)"
	@.venv/bin/python -m pip install --disable-pip-version-check $(if $(shell [ -t 1 ] && echo y),,--quiet) -r requirements.lock
	@.venv/bin/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation -e .
	@touch $@

loop: env  ## one whole turn: data, models, decision, service, a recommendation
	@recloop loop

# Without CI=true: what needs no network, no server and no GPU, and ends soon.
QUICK = -m "not slow and not integration and not browser and not realdata and not gpu"

test: env  ## the quick tests; with CI=true all of them, and one that cannot run is a failure
	@python -m pytest -n 2 --dist loadfile $(if $(filter true,$(CI)),,$(QUICK)) $(TESTS)

lint: env  ## style, types and import arrows
	@ruff check .
	@ruff format --check .
	@basedpyright
	@lint-imports

format: env
	@ruff check --fix-only --quiet .
	@ruff format .

serve: env  ## the packaged model on http://127.0.0.1:$(SERVE_PORT)
	@recloop serve --port $(SERVE_PORT)

ui: env  ## the Prefect UI with every flow on http://127.0.0.1:$(PORT)
	@python -m flows.serve --with-server --port $(PORT)

bench: env  ## the figures of the README
	@python -m benchmarks
	@python benchmarks/evaluation.py

docs: env  ## the documentation, built into site/
	@mkdocs build --strict --quiet && echo "Documentation: site/index.html"

lock:  ## resolve pyproject.toml anew and rewrite requirements.lock
	@.venv/bin/python -m pip install --quiet --dry-run --ignore-installed --report .venv/lock.json -e '.[dev,privacy]' setuptools
	@.venv/bin/python .ci/lock.py .venv/lock.json > requirements.lock
