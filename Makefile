# Each target is enough on a fresh Debian 12, Debian 13 or Ubuntu 24.04: it sets up what is missing first.
.PHONY: setup peers demo test lint unit sdk sdk-source boot matrix bench fuzz requirements clean

BIN := .venv/bin

demo: setup
	$(BIN)/vmstamp demo

setup:
	@tools/setup.sh

# The foreign clients and servers that tests and bench ask: azcopy, az, Azurite.
peers:
	@tools/peers.sh

# Guests run in one process of their own at a time: two files of boot tests side by side.
test: setup peers sdk-source lint
	$(BIN)/pytest -n 2 --dist worksteal --ignore=tests/boot --ignore=tests/matrix
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

# doctor and generalize on Debian guests on LVM, XFS and btrfs, which are built first (many minutes).
matrix: setup
	$(BIN)/pytest tests/matrix

# Readers to measure against come from bench/requirements.txt.
bench: setup peers
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r bench/requirements.txt
	$(BIN)/python -m bench

# Damaged and hostile disk files; says how many, and what was found. Without atheris it is not guided by coverage.
fuzz: setup
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r fuzz/requirements.txt || \
	    echo "fuzz: atheris cannot be installed here" >&2
	nice $(BIN)/python -m fuzz --runs 10000

# Exact versions with hashes of everything that pyproject.toml names, and of the peers.
requirements: setup
	$(BIN)/pip-compile -q --all-extras --build-deps-for editable --allow-unsafe --generate-hashes --strip-extras \
	    --no-header --no-annotate --no-emit-index-url --no-emit-trusted-host --no-emit-find-links \
	    --output-file requirements.txt pyproject.toml
	$(BIN)/pip-compile -q --allow-unsafe --generate-hashes --strip-extras \
	    --no-header --no-annotate --no-emit-index-url --no-emit-trusted-host --no-emit-find-links \
	    --output-file bench/requirements.txt bench/requirements.in
	$(BIN)/pip-compile -q --allow-unsafe --generate-hashes --strip-extras \
	    --no-header --no-annotate --no-emit-index-url --no-emit-trusted-host --no-emit-find-links \
	    --output-file tools/peers/azure-cli.txt tools/peers/azure-cli.in
	$(BIN)/pip-compile -q --allow-unsafe --generate-hashes --strip-extras \
	    --no-header --no-annotate --no-emit-index-url --no-emit-trusted-host --no-emit-find-links \
	    --output-file tools/peers/azure-sdk-2023.txt tools/peers/azure-sdk-2023.in
	cd tools/peers && npm install --package-lock-only --ignore-scripts --omit-lockfile-registry-resolved=true \
	    --no-audit --no-fund

clean:
	rm -rf .venv .peers .sdk .mypy_cache .pytest_cache .ruff_cache .hypothesis build
