"""The checks of cloud-init, WALinuxAgent and whoever else reports Ready: one defect each, and it mended."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from shutil import which

import pytest

from tests.unit.guest import trees
from tests.unit.guest.apply import apply
from tests.unit.guest.conftest import memory_facts, memory_files
from vmstamp.guest.checks import agent, cloud_init, waagent
from vmstamp.guest.facts import Facts
from vmstamp.guest.finding import Status, judge
from vmstamp.guest.provisioning.agents import find_waagent, read_waagent_options
from vmstamp.guest.provisioning.cloud_config import read_cloud_config
from vmstamp.guest.provisioning.reporter import (
    SCRIPT_PATH,
    UNIT,
    find_reporter,
    reporter_edits,
    reporter_script,
)
from vmstamp.run import run

Changes = Mapping[str, str | None]
CHECKS = (*agent.CHECKS, *cloud_init.CHECKS, *waagent.CHECKS)
CLOUD = "/etc/cloud/cloud.cfg.d"
WAAGENT_CONF = "/etc/waagent.conf"
VERSION = "/usr/lib/python3/dist-packages/azurelinuxagent/common/version.py"
NEW_AGENT = "AGENT_VERSION = '2.12.0.2'\n"
UNIT_LINK = "/etc/systemd/system/cloud-init.target.wants/cloud-init-local.service"
GENERATOR = "/usr/lib/systemd/system-generators/cloud-init-generator"
PROXY_PROGRAM, PROXY_UNIT = "/usr/sbin/azure-proxy-agent", "azure-proxy-agent.service"
PROXY_FILTER, PROXY_LINK = (
    "/usr/lib/azure-proxy-agent/ebpf_cgroup.o",
    f"{trees.WANTS}/azure-proxy-agent.service",
)
PROXY_AGENT: Changes = {PROXY_PROGRAM: "ELF", PROXY_FILTER: "ELF", **trees.enabled(PROXY_UNIT)}  # type: ignore[dict-item]
NO_CLOUD_INIT: Changes = {
    "/usr/lib/systemd/system/cloud-init-local.service": None,
    "/usr/lib/python3/dist-packages/cloudinit/version.py": None,
}


def changed(family: str, changes: Changes) -> trees.Tree:
    tree = {**trees.FAMILIES[family], **{path: text for path, text in changes.items() if text is not None}}
    return {path: text for path, text in tree.items() if changes.get(path, "") is not None}


def bad(facts: Facts) -> dict[str, str]:
    found = [judge(check, facts) for check in CHECKS]
    return {f.id: f.status for f in found if f.status in (Status.FAIL, Status.WARNING)}


def mend(tree: trees.Tree, found: Mapping[str, str]) -> trees.Tree:
    facts = memory_facts(tree)
    fixes = [check.fix for check in CHECKS if check.id in found and check.fix]
    return apply([edit for fix in fixes for edit in fix(facts)], tree)


@pytest.mark.parametrize("family", trees.FAMILIES)
def test_a_healthy_guest_passes(family: str) -> None:
    assert bad(memory_facts(trees.FAMILIES[family])) == {}


@pytest.mark.parametrize(
    ("family", "changes", "found"),
    [
        # who provisions
        (
            "debian",
            {"/etc/cloud/cloud-init.disabled": "", WAAGENT_CONF: "Provisioning.Agent=cloud-init\n"},
            {"agent-any": "fail", "ci-enabled": "fail", "wa-conf-provisioning": "fail"},
        ),
        (
            "debian",
            {"/etc/cloud/cloud-init.disabled": "", f"{trees.WANTS}/walinuxagent.service": None},
            {"agent-any": "fail", "ci-enabled": "fail", "wa-present": "warning"},
        ),
        (
            "debian",
            {
                "/etc/systemd/system/cloud-init-local.service": "-> /dev/null",
                WAAGENT_CONF: "Provisioning.Agent=disabled\n",
            },
            {"agent-any": "fail", "ci-enabled": "fail", "wa-conf-provisioning": "fail"},
        ),
        (
            "debian",
            {GENERATOR: None, UNIT_LINK: None, WAAGENT_CONF: "Provisioning.Agent=cloud-init\n"},
            {"agent-any": "fail", "ci-enabled": "fail", "wa-conf-provisioning": "fail"},
        ),
        (
            "waagent",
            {f"{trees.WANTS}/walinuxagent.service": None},
            {"agent-any": "fail", "wa-present": "warning"},
        ),
        (
            "waagent",
            {WAAGENT_CONF: "# Provisioning.Agent=waagent\nProvisioning.Agent=cloud-init\nLogs.Verbose=n\n"},
            {"agent-any": "fail", "wa-conf-provisioning": "fail"},
        ),
        # cloud-init
        ("debian", {f"{CLOUD}/99.cfg": "datasource_list: [NoCloud, None]\n"}, {"ci-datasource": "fail"}),
        ("debian", {f"{CLOUD}/99.cfg": "datasource_list:\n - Azure\n"}, {"ci-datasource": "warning"}),
        ("debian", {"/etc/cloud/ds-identify.cfg": "policy: disabled\n"}, {"ci-ds-identify-policy": "fail"}),
        ("debian", {f"{CLOUD}/10-azure-kvp.cfg": None}, {"ci-kvp-telemetry": "warning"}),
        (
            "debian",
            {f"{CLOUD}/20.cfg": "reporting:\n  telemetry:\n    type: log\n"},
            {"ci-kvp-telemetry": "warning"},
        ),
        ("debian", {f"{CLOUD}/95.cfg": "preserve_hostname: true\n"}, {"ci-preserve-hostname": "warning"}),
        (
            "suse",
            {"/etc/cloud/cloud.cfg": "cloud_init_modules: [ssh, [mounts, always]]\nssh_genkeytypes: [rsa]\n"},
            {"ci-mounts-stage": "warning"},
        ),
        # WALinuxAgent
        ("debian", {f"{trees.WANTS}/walinuxagent.service": None}, {"wa-present": "warning"}),
        (
            "debian",
            {VERSION: "AGENT_VERSION = '2.2.45'\n", WAAGENT_CONF: "AutoUpdate.Enabled=n\n"},
            {"wa-present": "warning"},
        ),
        ("debian", {VERSION: "AGENT_VERSION = '2.2.45'\n"}, {}),
        ("debian", PROXY_AGENT, {}),
        ("debian", {**PROXY_AGENT, PROXY_LINK: None}, {"azurelinux-proxy-agent": "warning"}),
        ("debian", {WAAGENT_CONF: "Provisioning.Agent=waagent\n"}, {"wa-conf-provisioning": "fail"}),
        ("debian", {WAAGENT_CONF: "Provisioning.Agent=nonsense\n"}, {"wa-conf-provisioning": "fail"}),
        ("debian", {UNIT_LINK: None}, {"wa-conf-provisioning": "warning"}),
        ("debian", {WAAGENT_CONF: "Extensions.Enabled=n\n"}, {"wa-ext-enabled": "warning"}),
        ("debian", {"/var/lib/waagent/disable_agent": ""}, {"wa-ext-enabled": "warning"}),
        ("debian", {f"{CLOUD}/95.cfg": "ssh_genkeytypes: [ed25519]\n"}, {"wa-hostkey-type": "warning"}),
        (
            "debian",
            {
                WAAGENT_CONF: "Provisioning.Agent=waagent\nExtensions.Enabled=n\nX=y",
                f"{CLOUD}/95.cfg": "ssh_genkeytypes: [ed25519]\n",
            },
            {"wa-conf-provisioning": "fail", "wa-ext-enabled": "warning"},
        ),
    ],
)
def test_a_defect_is_found_and_mended(family: str, changes: Changes, found: dict[str, str]) -> None:
    tree = changed(family, changes)
    assert bad(memory_facts(tree)) == found
    mended = mend(tree, found)
    left = bad(memory_facts(mended))
    assert bad(memory_facts(mend(mended, left))) == {}, left


@pytest.mark.parametrize(
    ("family", "changes", "found"),
    [
        ("debian", {f"{CLOUD}/99.cfg": "a: [b\n"}, {"ci-config-valid": "warning"}),
        (
            "debian",
            {"/usr/bin/python3": "-> python3.13", "/usr/bin/python3.13": "", VERSION: NEW_AGENT},
            {"ci-python-crypt": "warning"},
        ),
        (
            "waagent",
            {"/usr/bin/python3": "-> python3.13", "/usr/bin/python3.13": "", VERSION: NEW_AGENT},
            {"wa-python": "warning"},
        ),
        (
            "debian",
            {
                "/usr/bin/python3": "-> python3.12",
                "/usr/bin/python3.12": "",
                VERSION: "AGENT_VERSION = '2.9.1.1'\n",
            },
            {"wa-python": "fail"},
        ),
        ("debian", {"/usr/sbin/waagent": "#!/usr/bin/python2\n"}, {"wa-python": "fail"}),
        ("debian", {"/etc/os-release": "ID=azurelinux\n"}, {"azurelinux-proxy-agent": "warning"}),
        ("debian", {**PROXY_AGENT, PROXY_PROGRAM: None}, {"azurelinux-proxy-agent": "warning"}),
        ("debian", {PROXY_PROGRAM: "ELF"}, {"azurelinux-proxy-agent": "warning"}),
        ("debian", {**PROXY_AGENT, PROXY_FILTER: None}, {"azurelinux-proxy-agent": "warning"}),
        (
            "debian",
            {**PROXY_AGENT, f"/etc/systemd/system/{PROXY_UNIT}": "-> /dev/null"},
            {"azurelinux-proxy-agent": "warning"},
        ),
        ("waagent", {"/usr/bin/openssl": None}, {"wa-tools": "fail"}),
        ("debian", {"/usr/bin/iptables": None}, {"wa-tools": "warning"}),
        ("debian", {"/etc/os-release": "ID=homebrew\n"}, {"wa-supported-distro": "warning"}),
        ("debian", {"/etc/fstab": "LABEL=v /var ext4 noexec 0 0\n"}, {"wa-ext-enabled": "warning"}),
    ],
)
def test_what_cannot_be_mended_offline_is_told(family: str, changes: Changes, found: dict[str, str]) -> None:
    tree = changed(family, changes)
    assert bad(memory_facts(tree)) == found
    assert mend(tree, found) == tree


def test_setuptools_has_the_distutils_that_an_old_agent_needs() -> None:
    new: Changes = {"/usr/bin/python3": "-> python3.12", "/usr/bin/python3.12": ""}
    assert bad(memory_facts(changed("debian", new))) == {"wa-python": "fail"}
    with_it = {**new, "/usr/lib/python3/dist-packages/setuptools/__init__.py": ""}
    assert bad(memory_facts(changed("debian", with_it))) == {}


def test_modules_that_hash_passwords_are_enough_for_a_new_python() -> None:
    new: Changes = {"/usr/bin/python3": "-> python3.13", "/usr/bin/python3.13": "", VERSION: NEW_AGENT}
    passlib = {"/usr/lib/python3/dist-packages/passlib/__init__.py": ""}
    assert bad(memory_facts({**changed("debian", new), **passlib})) == {}
    legacy = {"/usr/lib/python3/dist-packages/legacycrypt.py": ""}
    assert bad(memory_facts({**changed("waagent", new), **legacy})) == {}


def test_waagent_conf_keeps_its_other_lines() -> None:
    conf = "# Who provisions\nProvisioning.Agent=nonsense # here\nLogs.Verbose=n\nProvisioning.Agent=x\n"
    mended = mend(changed("debian", {WAAGENT_CONF: conf}), {"wa-conf-provisioning": "fail"})
    assert mended[WAAGENT_CONF] == (
        b"# Who provisions\nProvisioning.Agent=cloud-init\nLogs.Verbose=n\n# Provisioning.Agent=x\n"
    )


def test_bytes_that_are_not_utf_8_stay() -> None:
    tree = changed("debian", {})
    tree[WAAGENT_CONF] = b"# Gr\xfc\xdfe\nExtensions.Enabled=n\n"
    mended = mend(tree, {"wa-ext-enabled": "warning"})
    assert mended[WAAGENT_CONF] == b"# Gr\xfc\xdfe\nExtensions.Enabled=y\n"


def test_waagent_conf_is_read_as_waagent_reads_it() -> None:
    conf = '#A=1\nB="2" # two\n B = 3\nC=None\nD\nOS.OpensslPath=None\nProvisioning.Agent="Auto"\n'
    files = memory_files({WAAGENT_CONF: conf, "/usr/sbin/waagent": ""})
    assert read_waagent_options(files) == {"B": "3", "Provisioning.Agent": "Auto"}
    found = find_waagent(files)
    assert found and found.provisioning_agent == "auto"


def test_cloud_configuration_is_merged_as_cloud_init_does() -> None:
    config = read_cloud_config(
        memory_files(
            {
                "/etc/cloud/cloud.cfg": "a: {x: 1, y: 2}\nl: [1, 2]\nonly: yes\n",
                f"{CLOUD}/10.cfg": "a: {x: 3, z: {deep: 1}}\nl: [3]\n",
                f"{CLOUD}/20.cfg": "a: {z: {more: 2}}\n",
                f"{CLOUD}/30.txt": "a: no\n",
                f"{CLOUD}/40.cfg": "a: [\n",
            }
        )
    )
    assert config.values == {"a": {"x": 3, "y": 2, "z": {"deep": 1, "more": 2}}, "l": [3], "only": True}
    assert config.where("a", "x") == f"{CLOUD}/10.cfg"
    assert config.where("a", "z", "more") == f"{CLOUD}/20.cfg"
    assert config.errors[0].startswith(f"{CLOUD}/40.cfg: ")


def test_a_guest_without_any_agent_gets_a_unit_that_reports_ready() -> None:
    tree = changed("waagent", {"/usr/sbin/waagent": None})
    assert bad(memory_facts(tree)) == {"agent-any": "fail", "wa-present": "warning"}
    mended = mend(tree, {"agent-any": "fail"})
    assert bad(memory_facts(mended)) == {"wa-present": "warning"}
    assert find_reporter(memory_files(mended)) == UNIT
    assert bytes(mended[SCRIPT_PATH]).startswith(b"#!/usr/bin/bash\n")  # type: ignore[arg-type]


def test_a_unit_of_ones_own_that_posts_the_health_is_an_agent() -> None:
    own: Changes = {
        "/usr/sbin/waagent": None,
        "/etc/systemd/system/azure-provisioning.service": "[Service]\n"
        "ExecStart=/usr/bin/python3 /usr/local/azure-provisioning.py\n",
        f"{trees.WANTS}/azure-provisioning.service": "-> /etc/systemd/system/azure-provisioning.service",
        "/usr/local/azure-provisioning.py": "conn.request('POST', '/machine?comp=health')\n",
    }
    assert bad(memory_facts(changed("waagent", own))) == {"wa-present": "warning"}


@pytest.mark.parametrize("missing", [("/usr/lib/systemd/systemd",), ("/usr/bin/bash", "/usr/bin/python3")])
def test_nothing_is_written_where_it_could_not_run(missing: tuple[str, ...]) -> None:
    tree = changed("waagent", {"/usr/sbin/waagent": None, **dict.fromkeys(missing)})
    assert list(reporter_edits(memory_files(tree))) == []


GOAL_STATE = """<?xml version="1.0" encoding="utf-8"?>\r
<GoalState>\r
  <Incarnation>7</Incarnation>\r
  <Container>\r
    <ContainerId>c-1</ContainerId>\r
    <RoleInstanceList>\r
      <RoleInstance><InstanceId>i-2</InstanceId><State>Started</State></RoleInstance>\r
    </RoleInstanceList>\r
  </Container>\r
</GoalState>\r
"""


class WireServer(BaseHTTPRequestHandler):
    """Refuses the first request, as before the network is up."""

    asked: list[tuple[str, str, str]]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.asked.append(("GET", self.path, self.headers["x-ms-version"]))
        self._answer(GOAL_STATE.encode(), 200 if len(self.asked) > 1 else 503)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.asked.append(("POST", self.path, body))
        self._answer(b"", 200)

    def _answer(self, body: bytes, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def wire_server() -> Iterator[tuple[int, list[tuple[str, str, str]]]]:
    asked: list[tuple[str, str, str]] = []
    server = HTTPServer(("127.0.0.1", 0), type("Asked", (WireServer,), {"asked": asked}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server.server_port, asked
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("program", ["bash", "curl", "python3"])
def test_the_script_reports_ready_when_the_server_answers(
    program: str, wire_server: tuple[int, list[tuple[str, str, str]]], tmp_path: Path
) -> None:
    path = which(program)
    if path is None:
        pytest.skip(f"{program} is not installed")
    port, asked = wire_server
    script = tmp_path / "report"
    script.write_text(reporter_script(program, path if program == "bash" else "/bin/sh"))
    where = ("AZURE_WIRE_SERVER=127.0.0.1", f"AZURE_WIRE_PORT={port}", "AZURE_WIRE_PAUSE=0.01")
    run(["env", *where, path if program == "bash" else "/bin/sh", script], timeout=60)
    assert asked[:2] == [("GET", "/machine/?comp=goalstate", "2012-11-30")] * 2
    assert asked[2] == (
        "POST",
        "/machine?comp=health",
        '<?xml version="1.0" encoding="utf-8"?><Health><GoalStateIncarnation>7</GoalStateIncarnation>'
        "<Container><ContainerId>c-1</ContainerId><RoleInstanceList><Role><InstanceId>i-2</InstanceId><Health>"
        "<State>Ready</State></Health></Role></RoleInstanceList></Container></Health>",
    )
