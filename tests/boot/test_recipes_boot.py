"""The tiny guest in QEMU's own user network, with a wireserver of a few lines: no root, no namespace."""

from __future__ import annotations

import contextlib
import io
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pycdlib
import pytest

from vmstamp.paths import Home
from vmstamp.recipes import build
from vmstamp.run import Process, spawn

pytestmark = [pytest.mark.boot, pytest.mark.timeout(300)]

OVMF = Path("/usr/share/OVMF")
OVF_ENV = """<?xml version="1.0"?>
<Environment xmlns="http://schemas.dmtf.org/ovf/environment/1" xmlns:wa="http://schemas.microsoft.com/windowsazure">
 <wa:ProvisioningSection><wa:LinuxProvisioningConfigurationSet>
  <wa:HostName>vm-one</wa:HostName><wa:UserName>azureuser</wa:UserName>
 </wa:LinuxProvisioningConfigurationSet></wa:ProvisioningSection>
</Environment>
"""
# QEMU starts it for each connection to 168.63.129.16 or 169.254.169.254; argv[1] is its log.
ENDPOINT = """
import sys
request, headers = sys.stdin.buffer.readline().decode(), {}
while line := sys.stdin.buffer.readline().decode().strip():
    name, _, value = line.partition(":")
    headers[name.lower()] = value.strip()
body = sys.stdin.buffer.read(int(headers.get("content-length", 0)))
with open(sys.argv[1], "a") as log:
    log.write(request.strip() + " " + body.decode().replace("\\n", "") + "\\n")
answer = b"{}"
if "goalstate" in request:
    answer = (
        b"<GoalState><Incarnation>3</Incarnation><Container><ContainerId>container-1</ContainerId>"
        b"<InstanceId>instance-1</InstanceId></Container></GoalState>"
    )
head = "HTTP/1.1 200 OK\\r\\nConnection: close\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(answer)
sys.stdout.buffer.write(head.encode() + answer)
"""


@dataclass
class Guest:
    process: Process
    directory: Path
    port: int

    @property
    def serial(self) -> str:
        path = self.directory / "serial.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def wait_for(self, words: str, seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while words not in self.serial:
            assert self.process.poll() is None, f"QEMU ended: {self.serial[-2000:]}"
            assert time.monotonic() < deadline, f"no {words!r} within {seconds} s: {self.serial[-2000:]}"
            time.sleep(0.2)

    def press_power(self) -> None:
        with socket.socket(socket.AF_UNIX) as monitor, contextlib.closing(monitor.makefile("rw")) as file:
            monitor.connect(str(self.directory / "qmp"))
            file.readline()
            for command in ("qmp_capabilities", "system_powerdown"):
                file.write(json.dumps({"execute": command}) + "\n")
                file.flush()
                file.readline()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = os.environ.get("VMSTAMP_HOME") or tmp_path_factory.mktemp("home")
    return build("tiny", None, Home(Path(root)), lambda step, share: None)


@contextlib.contextmanager
def booted(disk: Path, directory: Path, custom_data: str = "") -> Iterator[Guest]:
    (directory / "vars.fd").write_bytes((OVMF / "OVMF_VARS_4M.fd").read_bytes())
    (directory / "endpoint.py").write_text(ENDPOINT)
    write_dvd(directory / "dvd.iso", OVF_ENV.replace("</wa:UserName>", "</wa:UserName>" + custom_data))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    command = f"cmd:{sys.executable} {directory}/endpoint.py {directory}/requests"
    forwards = ",".join(f"guestfwd=tcp:{ip}:80-{command}" for ip in ("168.63.129.16", "169.254.169.254"))
    pflash = "if=pflash,format=raw"
    words = ["qemu-system-x86_64", "-nodefaults", "-machine", "q35", "-cpu", "Nehalem", "-m", "512"]
    words += ["-display", "none", "-serial", f"file:{directory}/serial.log"]
    words += ["-qmp", f"unix:{directory}/qmp,server=on,wait=off"]
    words += ["-drive", f"{pflash},readonly=on,file={OVMF}/OVMF_CODE_4M.fd"]
    words += ["-drive", f"{pflash},file={directory}/vars.fd", "-device", "virtio-scsi-pci,id=scsi"]
    words += ["-drive", f"if=none,id=disk,format=vhdx,snapshot=on,file={disk}"]
    words += ["-device", "scsi-hd,drive=disk,bootindex=1"]
    words += ["-drive", f"if=none,id=dvd,format=raw,readonly=on,file={directory}/dvd.iso"]
    words += ["-device", "scsi-cd,drive=dvd"]
    words += ["-netdev", f"user,id=net,net=168.0.0.0/7,{forwards},hostfwd=tcp:127.0.0.1:{port}-:22"]
    words += ["-device", "virtio-net-pci,netdev=net,mac=00:0d:3a:00:00:01,romfile="]
    process = spawn(words, output=directory / "qemu.log")
    try:
        yield Guest(process, directory, port)
    finally:
        process.kill()
        process.wait()


def write_dvd(path: Path, ovf_env: str) -> None:
    data = ovf_env.encode()
    disc = pycdlib.PyCdlib()
    disc.new(udf="2.60")
    disc.add_fp(io.BytesIO(data), len(data), "/OVF_ENV.XML;1", udf_path="/ovf-env.xml")
    disc.write(str(path))
    disc.close()


def test_tiny_reports_ready_answers_and_powers_off(tiny: Path, tmp_path: Path) -> None:
    with booted(tiny, tmp_path) as guest:
        guest.wait_for("tiny: up after")
        assert "tiny: ovf-env.xml for host vm-one, user azureuser" in guest.serial
        requests = (tmp_path / "requests").read_text().splitlines()
        assert [line.split()[:2] for line in requests] == [
            ["GET", "/metadata/instance?api-version=2021-08-01&extended=true"],
            ["GET", "/machine/?comp=goalstate"],
            ["POST", "/machine?comp=health"],
        ]
        assert "<State>Ready</State>" in requests[2]
        for element in ("<ContainerId>container-1<", "<InstanceId>instance-1<", "<GoalStateIncarnation>3<"):
            assert element in requests[2]
        with socket.create_connection(("127.0.0.1", guest.port), timeout=10) as connection:
            assert connection.makefile().readline().strip() == "SSH-2.0-vmstamp_tiny vm-one"
        guest.press_power()
        assert guest.process.wait(timeout=120) == 0


def test_tiny_fails_when_its_custom_data_says_so(tiny: Path, tmp_path: Path) -> None:
    custom_data = "<wa:CustomData>dm1zdGFtcC1mYWlsPW5vdHJlYWR5</wa:CustomData>"  # vmstamp-fail=notready
    with booted(tiny, tmp_path, custom_data) as guest:
        guest.wait_for("tiny: reported NotReady")
        report = (tmp_path / "requests").read_text().splitlines()[-1]
        assert "<State>NotReady</State><Details><SubStatus>ProvisioningFailed</SubStatus>" in report
