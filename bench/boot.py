"""Time to Ready, against a plain QEMU boot of the same disk that gets its data from cloud-init's NoCloud.

Both boots run on the same emulated hardware. Ready is cloud-init's own report to the fabric, at the end of
its first stage (init-local). The plain boot has nobody to report to: its time is that of the line by which
the next stage begins, the first one that shows on the console; the time of that line in ours is given, too.
"""

from __future__ import annotations

import io
import socket
import statistics
import tempfile
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pycdlib

from bench.figure import Figure
from vmstamp import disk, settings
from vmstamp.arm.compute.host import DiskPlan, NicPlan, VmPlan
from vmstamp.disk.partitions import read_partitions
from vmstamp.errors import MachineError
from vmstamp.fabric.fabric import Fabric
from vmstamp.fabric.instance import DiskFacts, Instance, Nic
from vmstamp.host import VmHost
from vmstamp.machine.accelerator import probe_accelerator
from vmstamp.machine.firmware import install_firmware
from vmstamp.machine.network import NetworkSpec, SubnetSpec
from vmstamp.machine.overlay import create_overlay
from vmstamp.machine.spec import DiskSpec, MachineSpec, argv
from vmstamp.paths import Home
from vmstamp.recipes import build
from vmstamp.run import run, spawn
from vmstamp.timeline import Stage

RUNS = 3
LIMIT = 1.15
TIMEOUT = 600.0  # seconds for one boot
MEMORY = 1 << 30
FOOTER = 512
NEXT_STAGE = b"running 'init' at"
OVERRIDE = "datasource_list: [NoCloud]\n"


def measure() -> Iterator[Figure]:
    home = settings.home()
    home.make()
    source = build("debian-12", None, home, lambda step, done: None)
    with tempfile.TemporaryDirectory(prefix="vmstamp-bench-") as name:
        directory = Path(name)
        ours, theirs = directory / "azure.vhd", directory / "nocloud.vhd"
        with disk.open(source) as opened:
            disk.convert(opened, ours, "vhd-fixed")
            disk.convert(opened, theirs, "vhd-fixed")
        _use_nocloud(theirs, directory)
        ready, ahead, plain = [], [], []
        for number in range(RUNS):
            seconds, next_stage = _time_to_ready(ours, directory / f"azure-{number}")
            ready.append(seconds)
            ahead.append(next_stage)
            plain.append(_time_to_next_stage(theirs, directory / f"nocloud-{number}"))
    yield Figure("time to Ready", statistics.median(ready), "s", None, f"median of {RUNS}")
    yield Figure("plain boot with NoCloud", statistics.median(plain), "s", None, f"median of {RUNS}")
    for label, seconds_of_ours in (("time to Ready", ready), ("time to the same stage", ahead)):
        ratio = statistics.median(a / b for a, b in zip(seconds_of_ours, plain, strict=True))
        yield Figure(f"{label} / plain boot", ratio, "x", LIMIT, f"median of {RUNS} pairs")


def _time_to_ready(image: Path, directory: Path) -> tuple[float, float]:
    """Seconds from QEMU's start to the agent's report, and to cloud-init's second stage."""
    home = Home(directory)
    home.make()
    fabric = Fabric()
    host = VmHost(
        home, fabric, probe_accelerator, lambda: datetime.now(UTC), ready_timeout=TIMEOUT, way_out=False
    )
    plan = _plan(image)
    try:
        host.start(plan)
        outcome = host.wait_ready(plan.vm_id, lambda: False)
        if not outcome.ready:
            raise MachineError(f"{outcome.code}: {outcome.message}")
        _wait_for_next_stage(host.serial_log(plan.vm_id))
        next_stage = datetime.now(UTC)
        times = {event.stage: event.at for event in host.timeline(plan.vm_id)}
        host.stop(plan.vm_id, graceful=False)
    finally:
        host.close()
        fabric.close()
    start = times[Stage.STARTED]
    return (times[Stage.READY] - start).total_seconds(), (next_stage - start).total_seconds()


def _wait_for_next_stage(serial_log: Path) -> None:
    """Wait for the line by which cloud-init's second stage begins."""
    deadline = time.monotonic() + TIMEOUT
    while not (serial_log.exists() and NEXT_STAGE in serial_log.read_bytes()):
        if time.monotonic() > deadline:
            raise MachineError(f"cloud-init's second stage did not begin within {TIMEOUT:.0f} s")
        time.sleep(0.1)


def _plan(image: Path) -> VmPlan:
    prefix = IPv4Network("10.0.0.0/24")
    nic = Nic("00-0D-3A-00-00-04", IPv4Address("10.0.0.4"), prefix)
    instance = Instance(
        vm_id=str(uuid.uuid4()),
        name="bench",
        resource_group="bench",
        subscription_id=str(uuid.uuid4()),
        resource_id="/bench",
        location="local",
        vm_size="Standard_B1s",
        computer_name="bench",
        admin_username="azureuser",
        nics=(nic,),
        os_disk=DiskFacts("os", image.stat().st_size - FOOTER),
    )
    return VmPlan(
        instance=instance,
        generation=2,
        vcpus=1,
        memory=MEMORY,
        os_disk=DiskPlan(image, image.stat().st_size - FOOTER, None, "os.qcow2"),
        data_disks=(),
        nics=(NicPlan("nic", nic.mac, "bench", nic.private_address, prefix, None, (), "bench"),),
        networks=(NetworkSpec("bench", "bench", (SubnetSpec("default", prefix),)),),
        provision=True,
    )


def _time_to_next_stage(image: Path, directory: Path) -> float:
    """Seconds from QEMU's start to cloud-init's second stage."""
    directory.mkdir()
    size = image.stat().st_size - FOOTER
    create_overlay(directory / "os.qcow2", image, size)
    _write_seed(directory / "seed.iso")
    spec = MachineSpec(
        id=str(uuid.uuid4()),
        name="plain",
        generation=2,
        vcpus=1,
        memory=MEMORY,
        accelerator=probe_accelerator().name,
        directory=directory,
        os_disk=DiskSpec(directory / "os.qcow2", "qcow2"),
        dvd=directory / "seed.iso",
    )
    network = ["-netdev", "user,id=net0,restrict=on", "-device", "virtio-net-pci,netdev=net0,romfile="]
    ours, theirs = socket.socketpair()
    words = [*argv(spec, install_firmware(directory), theirs.fileno()), *network]
    start = time.monotonic()
    with theirs:
        process = spawn(words, output=directory / "qemu.log", pass_fds=[theirs.fileno()])
    try:
        _wait_for_next_stage(spec.serial_log)
        return time.monotonic() - start
    finally:
        process.kill()
        process.wait()
        ours.close()


def _use_nocloud(image: Path, directory: Path) -> None:
    """Let cloud-init on a disk file look for NoCloud alone."""
    override = directory / "99-nocloud.cfg"
    override.write_text(OVERRIDE)
    with disk.open(image) as opened:
        root = max(read_partitions(opened).partitions, key=lambda part: part.end - part.start)
    where = f"{image}?offset={root.start}"
    run(["debugfs", "-w", "-R", f"write {override} /etc/cloud/cloud.cfg.d/99-nocloud.cfg", where])


def _write_seed(path: Path) -> None:
    seed = pycdlib.PyCdlib()
    seed.new(interchange_level=3, vol_ident="cidata", rock_ridge="1.09", joliet=3)
    files = {"meta-data": b"instance-id: bench\nlocal-hostname: bench\n", "user-data": b"#cloud-config\n{}\n"}
    for number, (name, content) in enumerate(files.items()):
        seed.add_fp(io.BytesIO(content), len(content), f"/F{number}.;1", rr_name=name, joliet_path=f"/{name}")
    seed.write(str(path))
    seed.close()
