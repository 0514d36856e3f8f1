#!/usr/bin/env bash
# Installs into .peers the foreign programs that tests and bench ask: azcopy, azurite, az and older Azure SDKs, in exact
# versions.
# From npm's and PyPI's registries as they are configured; does nothing when all is in place.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/apt.sh

peers=.peers
mark=$peers/peers.sha256
azcopy=$peers/node_modules/@azure-tools/azcopy-linux/dist/bin/azcopy_linux_amd64

# azcopy's binary is linked to libsecret. Whoever has npm from elsewhere keeps it.
wanted_packages() {
    echo libsecret-1-0
    command -v npm >/dev/null || printf 'nodejs\nnpm\n'
}

install_node_peers() {
    echo "peers: azcopy and azurite from tools/peers/package-lock.json"
    cp tools/peers/package.json tools/peers/package-lock.json $peers
    npm --prefix $peers ci --ignore-scripts --no-audit --no-fund --loglevel=error
    chmod +x $azcopy
    ln -sf "../${azcopy#"$peers"/}" $peers/bin/azcopy
    ln -sf ../node_modules/.bin/azurite-blob $peers/bin/azurite-blob
}

install_azure_cli() {
    echo "peers: az from tools/peers/azure-cli.txt"
    [ -x $peers/azure-cli/bin/python ] || python3 -m venv $peers/azure-cli
    $peers/azure-cli/bin/python -m pip install -q --disable-pip-version-check --require-hashes \
        -r tools/peers/azure-cli.txt
    ln -sf ../azure-cli/bin/az $peers/bin/az
}

install_older_sdks() {
    echo "peers: the Azure SDKs of 2023 from tools/peers/azure-sdk-2023.txt"
    [ -x $peers/azure-sdk-2023/bin/python ] || python3 -m venv $peers/azure-sdk-2023
    $peers/azure-sdk-2023/bin/python -m pip install -q --disable-pip-version-check --require-hashes \
        -r tools/peers/azure-sdk-2023.txt
}

fingerprint() {
    { cat tools/peers.sh tools/peers/*; pwd; readlink -f "$(command -v python3)"; } | sha256sum
}

require_dpkg
mapfile -t missing < <(wanted_packages | missing_packages)
[ ${#missing[@]} -eq 0 ] || install_packages "${missing[@]}"
[ "$(fingerprint)" = "$(cat $mark 2>/dev/null)" ] || {
    rm -f $mark
    mkdir -p $peers/bin
    install_node_peers
    install_azure_cli
    install_older_sdks
    fingerprint > $mark
}
