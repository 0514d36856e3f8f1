"""The real agents' own code on our documents and doors: Debian's cloud-init and WALinuxAgent.

Their packages are fetched once into the user's cache and unpacked, never installed; the system's Python
runs them, and their connections to the fabric's addresses are made to end at a server of ours.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest

from vmstamp.errors import ProgramError, VmstampError
from vmstamp.fabric.extensions import CUSTOM_SCRIPT, MANAGED_COMMAND
from vmstamp.fabric.fabric import Fabric
from vmstamp.fabric.instance import DiskFacts, Instance, Nic, PublicKey
from vmstamp.fabric.ovf_env import build_ovf_env
from vmstamp.run import run
from vmstamp.timeline import Stage, Timeline

PYTHON = "/usr/bin/python3"
DRIVERS = Path(__file__).parent / "fabric_agents"
NETWORK = "2f1d3a4b-0000-4000-8000-000000000001"
# The agent is waagent in Debian 12, walinuxagent in Debian 13 and in Ubuntu.
AGENTS = ("walinuxagent", "waagent")
LIBRARIES = (
    "cloud-init",
    "python3-certifi",
    "python3-chardet",
    "python3-charset-normalizer",
    "python3-configobj",
    "python3-distro",
    "python3-idna",
    "python3-jinja2",
    "python3-markupsafe",
    "python3-requests",
    "python3-six",
    "python3-urllib3",
    "python3-yaml",
)
KEY = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQC7 azureuser@<laptop> & co"
INSTANCE = Instance(
    vm_id="5c08b38e-4d57-4c23-ac45-aca61037f084",
    name="web1",
    resource_group="demo",
    subscription_id="8d10da13-8125-4ba9-a717-bf7490507b3d",
    resource_id="/subscriptions/8d10da13-8125-4ba9-a717-bf7490507b3d/resourceGroups/demo"
    "/providers/Microsoft.Compute/virtualMachines/web1",
    location="local",
    vm_size="Standard_B2s",
    computer_name="web1-host",
    admin_username="azureuser",
    admin_password="p<&>\"'ß1",
    disable_password_authentication=False,
    public_keys=(PublicKey("/home/azureuser/.ssh/authorized_keys", KEY),),
    custom_data=base64.b64encode(b"#cloud-config\n{}\n").decode(),
    user_data=base64.b64encode(b"user data").decode(),
    nics=(Nic("00-0D-3A-01-02-03", IPv4Address("127.0.0.1"), IPv4Network("127.0.0.0/24")),),
    os_disk=DiskFacts("web1_OsDisk", 4 << 30),
    tags={"team": "images"},
)


def fetch_packages(directory: Path) -> None:
    """Download and unpack the agents' packages into `directory`; ProgramError when that fails."""
    downloads = directory / "packages"
    downloads.mkdir(parents=True)
    agent = next((name for name in AGENTS if _is_offered(name)), AGENTS[0])
    run(["apt-get", "-q", "download", agent, *LIBRARIES], cwd=downloads, timeout=120)
    for package in downloads.iterdir():
        run(["dpkg-deb", "-x", package, directory])


def _is_offered(package: str) -> bool:
    policy = run(["apt-cache", "policy", package], check=False, env={"LC_ALL": "C"}).text
    return "Candidate:" in policy and "Candidate: (none)" not in policy


@pytest.fixture(scope="session")
def agents() -> Path:
    """The directory of Python packages that holds both agents."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vmstamp"
    release = next(
        line.partition("=")[2].strip('"')
        for line in Path("/etc/os-release").read_text().splitlines()
        if line.startswith("VERSION_CODENAME=")
    )
    root = cache / f"agents-{release}"
    if not root.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as directory:
            partial = Path(directory) / "agents"
            try:
                fetch_packages(partial)
            except VmstampError as error:
                pytest.skip(f"Debian's packages {', '.join((*AGENTS, *LIBRARIES))} are missing: {error}")
            with contextlib.suppress(OSError):  # another run has fetched them meanwhile
                partial.rename(root)
    if not Path(PYTHON).exists():
        pytest.skip(f"the system's Python {PYTHON} is missing")
    return root / "usr/lib/python3/dist-packages"


class Doors:
    """A fabric with one VM, whose address is 127.0.0.1, and the ports where its doors are."""

    def __init__(self) -> None:
        self.fabric = Fabric()
        self.timeline = Timeline()
        names = ("168.63.129.16:80", "168.63.129.16:32526", "169.254.169.254:80")
        listeners = []
        self.ports = {}
        for name in names:
            listener = socket.create_server(("127.0.0.1", 0))
            listeners.append(listener)
            self.ports[name] = listener.getsockname()[1]
        wireserver, plugin, imds = listeners
        self.fabric.serve(NETWORK, wireserver, plugin, imds)
        self.fabric.register(NETWORK, INSTANCE, self.timeline)


@pytest.fixture
def doors() -> Iterator[Doors]:
    found = Doors()
    yield found
    found.fabric.close()


def drive(driver: str, agents: Path, **job: Any) -> dict[str, Any]:
    """Run a driver on a job; its observations."""
    environment = {"PYTHONPATH": str(agents), "LC_ALL": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = run(
            [PYTHON, DRIVERS / f"{driver}.py"], input=json.dumps(job).encode(), timeout=120, env=environment
        )
    except ProgramError as error:
        pytest.fail(f"{driver} failed:\n{error.stderr}")
    found: dict[str, Any] = json.loads(done.text.strip().splitlines()[-1])
    print(json.dumps(found, indent=1), done.stderr.decode(), file=sys.stderr)
    return found


@pytest.fixture
def by_waagent(agents: Path, doors: Doors, tmp_path: Path) -> dict[str, Any]:
    return drive(
        "waagent_driver",
        agents,
        ports=doors.ports,
        directory=str(tmp_path),
        ovf=build_ovf_env(INSTANCE).decode(),
    )


@pytest.fixture
def by_cloud_init(agents: Path, doors: Doors) -> dict[str, Any]:
    return drive("cloudinit_driver", agents, ports=doors.ports, ovf=build_ovf_env(INSTANCE).decode())


def test_waagent_provisions_and_reports_through_our_doors(by_waagent: dict[str, Any], doors: Doors) -> None:
    version = by_waagent["version"]
    assert by_waagent["ovf"] == {
        "hostname": "web1-host",
        "username": "azureuser",
        "password": "p<&>\"'ß1",
        "custom_data": INSTANCE.custom_data,
        "disable_password": False,
        "keys": [["/home/azureuser/.ssh/authorized_keys", None, KEY]],
        "agent": "true",
    }
    goal_state = by_waagent["goal_state"]
    assert goal_state["incarnation"] in (1, "1")
    assert goal_state["container"] == INSTANCE.container_id
    assert goal_state["role_instance"] == INSTANCE.role_instance_id
    assert goal_state["config_name"] == INSTANCE.config_name
    assert goal_state["vm"] == "web1-host"
    assert goal_state["role"] == "_web1"
    assert goal_state["families"] == ["Prod"]
    assert goal_state["offered"] == ["1.0.0.0"]
    assert goal_state["status_type"] == "BlockBlob"
    assert "?" in goal_state["status_blob"]
    assert goal_state["extensions"] == []
    assert goal_state["created"][:4] == str(doors.timeline.events()[0].at.year)
    [thumbprint] = goal_state["thumbprints"]
    assert by_waagent["key_pairs"] == [f"{thumbprint}.crt", f"{thumbprint}.prv"]
    assert by_waagent["plugin"] is True
    assert by_waagent["plugin_health"] is True
    assert by_waagent["compute"] == {"name": "web1", "vmSize": "Standard_B2s", "vmId": INSTANCE.vm_id}
    assert by_waagent["imds"] == [True, ""]
    assert by_waagent["direct_upload"] is True

    agent = doors.fabric.agent(INSTANCE.vm_id)
    told = [(report.state, report.substatus, report.description) for report in agent.reports]
    assert told == [("NotReady", "Provisioning", "Starting"), ("Ready", "", "")]
    assert {report.reporter.split()[0] for report in agent.reports} == {"WALinuxAgent"}
    assert agent.version
    assert version.startswith(agent.version[:3])
    assert agent.status is not None
    status = agent.status["aggregateStatus"]["guestAgentStatus"]
    assert status["status"] == "Ready"
    assert status["formattedMessage"]["message"] == "put straight to its URL"
    assert agent.heartbeat is not None
    stages = {event.stage for event in doors.timeline.events()}
    assert stages == {Stage.WIRESERVER, Stage.GOAL_STATE, Stage.IMDS, Stage.AGENT, Stage.READY}


def test_waagent_reads_extensions_of_both_kinds(agents: Path, doors: Doors, tmp_path: Path) -> None:
    fabric, vm = doors.fabric, INSTANCE.vm_id
    fabric.extend(vm, MANAGED_COMMAND, 4, {"source": {"script": "true"}}, name="one")
    fabric.extend(vm, CUSTOM_SCRIPT, 7, {"commandToExecute": "echo '<&>'"})
    fabric.extend(vm, MANAGED_COMMAND, 5, {"source": {"script": "false"}}, name="two")
    fabric.withdraw(vm, MANAGED_COMMAND, 6, "one")
    found = drive(
        "waagent_driver",
        agents,
        ports=doors.ports,
        directory=str(tmp_path),
        ovf=build_ovf_env(INSTANCE).decode(),
    )
    script, commands = found["goal_state"]["extensions"]
    settings = [CUSTOM_SCRIPT.name, 7, "enabled", {"commandToExecute": "echo '<&>'"}]
    assert script == [CUSTOM_SCRIPT.name, CUSTOM_SCRIPT.version, "enabled", False, [settings]]
    two, one = ["two", 5, "enabled", {"source": {"script": "false"}}], ["one", 6, "disabled", {}]
    assert commands == [MANAGED_COMMAND.name, MANAGED_COMMAND.version, "enabled", True, [two, one]]


def test_waagent_can_say_that_it_failed(agents: Path, doors: Doors, tmp_path: Path) -> None:
    drive(
        "waagent_driver",
        agents,
        ports=doors.ports,
        directory=str(tmp_path),
        ovf=build_ovf_env(INSTANCE).decode(),
        failure="mount: <wrong> fs type & so on",
    )
    failed = doors.timeline.find(Stage.FAILED)
    assert failed is not None
    assert failed.detail.endswith(": mount: <wrong> fs type & so on")


def test_cloud_init_provisions_through_our_doors(by_cloud_init: dict[str, Any], doors: Doors) -> None:
    ovf = by_cloud_init["ovf"]
    assert ovf["hostname"] == "web1-host"
    assert ovf["username"] == "azureuser"
    assert ovf["password"] == "p<&>\"'ß1"
    assert ovf["custom_data"] == "#cloud-config\n{}\n"
    assert ovf["disable_password"] is False
    assert ovf["preprovisioned"] is False
    assert [key["value"] for key in ovf["keys"]] == [KEY]

    imds = by_cloud_init["imds"]
    assert imds["username"] == "azureuser"
    assert imds["hostname"] == "web1-host"
    assert imds["disable_password"] is False
    assert base64.b64decode(imds["userdata"]) == b"user data"
    assert imds["keys"] == [KEY]
    assert imds["extended"]["compute"] == {"hasCustomData": True, "ppsType": "None"}
    assert imds["network"]["ethernets"]["eth0"]["match"]["macaddress"] == "00:0d:3a:01:02:03"
    [ssh_key] = by_cloud_init["certificates"].values()
    assert ssh_key.startswith("ssh-rsa ")

    [report] = doors.fabric.agent(INSTANCE.vm_id).reports
    assert (report.state, report.reporter) == ("Ready", f"cloud-init {by_cloud_init['version']}")
    assert report.agent_name == "WALinuxAgent"
    ready = doors.timeline.find(Stage.READY)
    assert ready is not None
    assert doors.timeline.find(Stage.AGENT) is None


def test_cloud_init_can_say_that_it_failed(agents: Path, doors: Doors) -> None:
    reason = "result=error|reason=failed to bring up <eth0>|agent=Cloud-Init/x"
    ovf = build_ovf_env(INSTANCE).decode()
    drive("cloudinit_driver", agents, ports=doors.ports, ovf=ovf, failure=reason)
    failed = doors.timeline.find(Stage.FAILED)
    assert failed is not None
    assert failed.detail.endswith(f": {reason}")
    assert doors.timeline.find(Stage.READY) is None


@pytest.mark.parametrize("driver", ["waagent_driver", "cloudinit_driver"])
def test_a_vm_with_no_secrets_at_all_is_understood(
    driver: str, agents: Path, doors: Doors, tmp_path: Path
) -> None:
    bare = replace(INSTANCE, admin_password=None, public_keys=(), custom_data=None, user_data=None, tags={})
    doors.fabric.register(NETWORK, bare, doors.timeline)
    found = drive(
        driver, agents, ports=doors.ports, directory=str(tmp_path), ovf=build_ovf_env(bare).decode()
    )
    assert found["ovf"]["password"] is None
    assert found["ovf"]["custom_data"] is None
    assert not found["ovf"]["keys"]
    assert doors.timeline.find(Stage.READY) is not None
