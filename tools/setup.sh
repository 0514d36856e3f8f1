#!/usr/bin/env bash
# Installs what vmstamp needs and lacks: packages of the distribution, then .venv from exact versions.
# Says first what it will install; uses sudo only when not root; does nothing when all is in place.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/apt.sh

venv=.venv
mark=$venv/setup.sha256
wanted_packages() {
    grep -v '^#' tools/debian-packages.txt
    python3 -c 'import venv, ensurepip' 2>/dev/null || echo python3-venv
}

install_venv() {
    echo "setup: making $venv from requirements.txt"
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        { echo "setup: vmstamp needs Python 3.11 or newer; found $(python3 --version)" >&2; exit 1; }
    rm -f "$mark"
    [ -x $venv/bin/python ] || python3 -m venv $venv
    $venv/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.txt
    $venv/bin/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
    $venv/bin/python -m compileall -q src # as any installed package is; else each start compiles 200 modules
    fingerprint > "$mark"
}

fingerprint() { { cat requirements.txt pyproject.toml; pwd; readlink -f "$(command -v python3)"; } | sha256sum; }

require_dpkg
mapfile -t missing < <(wanted_packages | missing_packages)
[ ${#missing[@]} -eq 0 ] || install_packages "${missing[@]}"
{ [ -x $venv/bin/vmstamp ] && [ "$(fingerprint)" = "$(cat $mark 2>/dev/null)" ]; } || install_venv
