# Each target is enough on a fresh Debian 12, Debian 13 or Ubuntu 24.04: it sets up what is missing first.
.PHONY: setup demo test lint unit sdk sdk-source boot bench fuzz requirements clean

BIN := .venv/bin

demo: setup
	$(BIN)/vmstamp demo

setup:
	@tools/setup.sh

# Guests run in one process of their own at a time: two files of boot tests side by side.
test: setup lint sdk-source
	$(BIN)/pytest --ignore=tests/boot
	$(BIN)/pytest -n 2 --dist loadfile tests/boot

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

unit: setup
	$(BIN)/pytest tests/unit tests/contract tests/golden

# The Azure SDK's own tests against our Blob service. Their source distribution is fetched once, into .sdk.
sdk: setup sdk-source
	$(BIN)/pytest tests/sdk

sdk-source: setup
	@$(BIN)/python -m tests.sdk.source

boot: setup
	$(BIN)/pytest -n 2 --dist loadfile tests/boot

# Readers to measure against come from bench/requirements.txt.
bench: setup
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r bench/requirements.txt
	$(BIN)/python -m bench

# Damaged and hostile disk files; says how many, and what was found. Without atheris it is not guided by coverage.
fuzz: setup
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r fuzz/requirements.txt || \
	    echo "fuzz: atheris cannot be installed here" >&2
	nice $(BIN)/python -m fuzz --runs 10000

# Exact versions with hashes of everything that pyproject.toml names.
requirements: setup
	$(BIN)/pip-compile -q --all-extras --build-deps-for editable --allow-unsafe --generate-hashes --strip-extras \
	    --no-header --no-annotate --no-emit-index-url --no-emit-trusted-host --no-emit-find-links \
	    --output-file requirements.txt pyproject.toml
	$(BIN)/pip-compile -q --allow-unsafe --generate-hashes --strip-extras \
	    --no-header --no-annotate --no-emit-index-url --no-emit-trusted-host --no-emit-find-links \
	    --output-file bench/requirements.txt bench/requirements.in

clean:
	rm -rf .venv .sdk .mypy_cache .pytest_cache .ruff_cache .hypothesis build
