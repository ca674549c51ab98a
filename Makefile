# Everything runs in .venv, made by uv, which is put into .tools: nothing outside this folder is touched.
PYTHON ?= python3
UV := .tools/bin/uv
BIN := .venv/bin
SETUP := .venv/.set-up
export UV_PYTHON_DOWNLOADS := never

.DEFAULT_GOAL := help
.PHONY: help setup demo check test bench docs schemas support format constraints clean

help: ## show this help
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(SETUP) ## make .venv with the engine, the SDK and every tool

$(UV):
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --target .tools uv

$(SETUP): $(UV) pyproject.toml sdk/pyproject.toml constraints.txt
	$(UV) venv --quiet --allow-existing --python $(PYTHON) .venv
	$(UV) pip install --quiet --python $(BIN)/python --constraints constraints.txt --group dev --editable sdk --editable '.[keyring,delta,s3,postgres,mysql,container]'
	$(UV) pip install --quiet --python $(BIN)/python --constraints constraints.txt --no-deps --target .venv/apart --group apart
	@touch $@

check: setup ## format, lint, types, import layers, dependencies
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry src

test: setup ## set up what the tests need and run them all
	$(BIN)/python -m pytest -n auto --dist worksteal $(ARGS)

demo: setup ## run the main job on the sample data and show what landed
	$(BIN)/python examples/demo.py

bench: setup ## run the benchmarks (ARGS="csv --scale 0.1" for a part)
	$(BIN)/python benchmarks/bench.py $(ARGS)

docs: setup ## build the documentation into site/, strictly
	$(BIN)/python docs/generate.py
	$(BIN)/mkdocs build --strict --quiet

support: setup ## run the conformance suites of the built-in connectors and record what they find
	$(BIN)/python docs/support_table.py
	$(BIN)/python docs/generate.py

format: setup ## format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

constraints: $(UV) ## lock the versions of every dependency, without addresses
	$(UV) pip compile --quiet --universal --python-version 3.11 --all-extras --group dev --group apart --no-header --no-annotate --no-emit-index-url --no-emit-find-links pyproject.toml sdk/pyproject.toml | grep -v '^-e\|^\.' > constraints.txt

clean: ## remove what make made
	rm -rf .venv .tools site demo
