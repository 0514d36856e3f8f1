# Packages of the distribution, for the scripts beside this one that source it. Uses sudo only when not root.

# Of the names on standard input, those that are not installed.
missing_packages() {
    comm -23 <(sort -u) \
        <(dpkg-query -W -f '${db:Status-Status} ${Package}\n' 2>/dev/null | sed -n 's/^installed //p' | sort -u)
}

# Says first what it will install.
install_packages() {
    local sudo=()
    [ "$(id -u)" -eq 0 ] || sudo=(sudo)
    echo "setup: packages to install: $*"
    "${sudo[@]}" apt-get update -q
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@"
}

require_dpkg() {
    command -v dpkg-query >/dev/null || {
        echo "setup: this script knows Debian and Ubuntu only; see tools/debian-packages.txt for what is needed" >&2
        exit 1
    }
}
