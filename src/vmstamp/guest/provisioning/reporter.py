"""A reporter of its own for a guest without any provisioning agent: it tells Azure that the VM is up.

A script asks the wire server for the goal state and posts the health of its container. It needs one of
bash (whose /dev/tcp speaks HTTP), curl or python3. It makes no users, no keys and no host name.

Spec: azure-compute-docs linux/no-agent.md; GET /machine?comp=goalstate, POST /machine?comp=health.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from vmstamp.guest.edits import Edit, Symlink, Write
from vmstamp.guest.files.fs import Files
from vmstamp.guest.packages import find_program
from vmstamp.guest.services import UNIT_DIRECTORIES, find_unit, has_systemd, is_enabled, read_unit

UNIT = "vmstamp-report-ready.service"
UNIT_PATH = f"/etc/systemd/system/{UNIT}"
SCRIPT_PATH = "/usr/local/sbin/vmstamp-report-ready"

# Programs of others that report Ready on their own.
KNOWN_UNITS = ("azure-init.service", "afterburn-checkin.service", "afterburn-firstboot-checkin.service")
# Enabled by presets at first boot on systems that Ignition sets up.
PRESET_SYSTEMS = ("fedora-coreos", "flatcar", "rhcos", "coreos")

OWN_UNITS = 60  # enabled units of the administrator whose programs are looked at
SCRIPT_LIMIT = 64 * 1024
_POSTS_HEALTH = "comp=health"

UNIT_TEXT = f"""[Unit]
Description=Report Ready to Azure, in place of a provisioning agent
After=network.target

[Service]
Type=simple
ExecStart={SCRIPT_PATH}

[Install]
WantedBy=multi-user.target
"""

_HEAD = """#!{shell}
# Written by vmstamp doctor: this system has no provisioning agent, so this tells Azure that it is up.
# It makes no users, no keys and no host name.
set -u
host=${{AZURE_WIRE_SERVER:-168.63.129.16}}
port=${{AZURE_WIRE_PORT:-80}}

# request METHOD PATH BODY: prints the body of the reply; fails unless the status is 200
request() {{
"""
_BASH = r"""    local length=${#3} reply
    {
        printf '%s %s HTTP/1.0\r\nHost: %s\r\nx-ms-version: 2012-11-30\r\nx-ms-agent-name: vmstamp\r\n' \
            "$1" "$2" "$host" >&3
        printf 'Content-Type: text/xml; charset=utf-8\r\nContent-Length: %s\r\n\r\n%s' "$length" "$3" >&3
        reply=$(tr -d '\r' <&3)
    } 3<>"/dev/tcp/$host/$port" || return 1
    case $reply in "HTTP/1."?" 200"*) printf '%s\n' "$reply" ;; *) return 1 ;; esac
"""
_CURL = r"""    if [ "$1" = POST ]; then
        curl -sS -f -m 30 -H 'x-ms-version: 2012-11-30' -H 'x-ms-agent-name: vmstamp' \
            -H 'Content-Type: text/xml; charset=utf-8' --data-binary "$3" "http://$host:$port$2"
    else
        curl -sS -f -m 30 -H 'x-ms-version: 2012-11-30' -H 'x-ms-agent-name: vmstamp' "http://$host:$port$2"
    fi
"""
_PYTHON = r"""    python3 - "$1" "http://$host:$port$2" "$3" <<'END'
import sys, urllib.request
method, url, body = sys.argv[1:]
headers = {"x-ms-version": "2012-11-30", "x-ms-agent-name": "vmstamp",
           "Content-Type": "text/xml; charset=utf-8"}
asked = urllib.request.Request(url, body.encode() if body else None, headers, method=method)
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
print(opener.open(asked, timeout=30).read().decode("utf-8", "replace"))
END
"""
_TAIL = r"""}

value() { printf '%s\n' "$1" | sed -n "s:.*<$2>\([^<]*\)</$2>.*:\1:p" | head -n 1; }

report() {
    goal=$(request GET '/machine/?comp=goalstate' '') || return 1
    incarnation=$(value "$goal" Incarnation)
    container=$(value "$goal" ContainerId)
    instance=$(value "$goal" InstanceId)
    [ -n "$container" ] && [ -n "$instance" ] || return 1
    health="<?xml version=\"1.0\" encoding=\"utf-8\"?><Health>"
    health="$health<GoalStateIncarnation>${incarnation:-1}</GoalStateIncarnation>"
    health="$health<Container><ContainerId>$container</ContainerId><RoleInstanceList><Role>"
    health="$health<InstanceId>$instance</InstanceId><Health><State>Ready</State></Health>"
    health="$health</Role></RoleInstanceList></Container></Health>"
    request POST '/machine?comp=health' "$health" >/dev/null
}

# The network may come up later than this starts.
attempt=0
while [ "$attempt" -lt 240 ]; do
    if report; then
        echo 'reported Ready to Azure'
        exit 0
    fi
    attempt=$((attempt + 1))
    sleep "${AZURE_WIRE_PAUSE:-5}"
done
echo 'could not report Ready to Azure' >&2
exit 1
"""


def reporter_script(program: str, shell: str = "/bin/sh") -> str:
    """The script for a guest that has `program`: bash, curl or python3; of bash `shell` is its path."""
    body = {"bash": _BASH, "curl": _CURL, "python3": _PYTHON}[program]
    return _HEAD.format(shell=shell) + body + _TAIL


def reporter_edits(files: Files) -> Iterator[Edit]:
    """The script, its unit and the link that enables it; none without systemd or a program that can ask."""
    if not has_systemd(files):
        return
    bash = find_program(files, "bash")
    program = "bash" if bash else next((p for p in ("curl", "python3") if find_program(files, p)), None)
    if program is None:
        return
    yield Write(SCRIPT_PATH, reporter_script(program, bash or "/bin/sh").encode(), 0o755)
    yield Write(UNIT_PATH, UNIT_TEXT.encode())
    yield Symlink(f"/etc/systemd/system/multi-user.target.wants/{UNIT}", UNIT_PATH)


def find_reporter(files: Files, os_id: str = "") -> str | None:
    """The unit that reports Ready without cloud-init and waagent; None when there is none.

    A known one that is enabled, or one of the administrator whose program posts to the wire server.
    """
    for unit in KNOWN_UNITS:
        if is_enabled(files, unit) or (os_id in PRESET_SYSTEMS and find_unit(files, unit)):
            return unit
    return next((unit for unit in _own_units(files) if _posts_health(files, unit)), None)


def _own_units(files: Files) -> Iterator[str]:
    """The enabled services whose unit the administrator wrote."""
    directory = UNIT_DIRECTORIES[0]
    seen: set[str] = set()
    for name in files.list(directory):
        if name.endswith((".wants", ".requires")):
            for unit in files.list(f"{directory}/{name}"):
                own = find_unit(files, unit) == f"{directory}/{unit}" and unit.endswith(".service")
                if own and unit not in seen and len(seen) < OWN_UNITS and is_enabled(files, unit):
                    seen.add(unit)
                    yield unit


def _posts_health(files: Files, unit: str) -> bool:
    for _, name, value in read_unit(files, unit):
        if name != "ExecStart":
            continue
        if _POSTS_HEALTH in value:
            return True
        for path in re.findall(r"(?:^|[\s\"'@+!:-])(/[^\s\"']+)", value)[:5]:
            if _POSTS_HEALTH.encode() in files.read_part(path, 0, SCRIPT_LIMIT):
                return True
    return False
