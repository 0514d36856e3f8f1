"""Bad input on the live stamp: each is refused with what was found and what to do, and nothing is lost."""

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from azure.core.exceptions import HttpResponseError
from azure.mgmt.compute import ComputeManagementClient

from tests.boot.road import BIN, Stamp, stamp_in
from vmstamp.cli.arm_credential import ClientCredential
from vmstamp.cli.endpoint import get_endpoint

pytestmark = [pytest.mark.boot, pytest.mark.timeout(600)]

SILENT = "vmstamp-fail=noready"
FAILING = "vmstamp-fail=notready"


@pytest.fixture(scope="module")
def stamp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stamp]:
    """A stamp with the tiny guest's image, whose VMs have 45 seconds in software emulation to be Ready."""
    with stamp_in(tmp_path_factory.mktemp("bad"), VMSTAMP_READY_TIMEOUT="15") as made:
        made.vmstamp("image build tiny -o tiny.vhdx")
        made.vmstamp("up")
        made.vmstamp("image create tiny --source tiny.vhdx")
        (made.directory / "silent").write_text(SILENT)
        (made.directory / "failing").write_text(FAILING)
        yield made


@pytest.fixture
def compute(stamp: Stamp) -> Iterator[ComputeManagementClient]:
    endpoint = get_endpoint(stamp.home)
    credential = ClientCredential(endpoint)
    made = ComputeManagementClient(
        credential,
        endpoint.subscription,
        base_url=endpoint.arm,
        credential_scopes=[endpoint.arm + "/.default"],
        connection_verify=str(endpoint.ca),
    )
    with made:
        yield made
    credential.close()


def refused(stamp: Stamp, command: str) -> str:
    """What a command says that must fail with exit status 1 and an error of ours, not a traceback."""
    done = stamp.shell(f"vmstamp {command}")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "error: " in done.stderr and "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("empty.vhd", b"", "empty"),
        ("text.vhdx", b"hello, this is no disk\n" * 1000, "vhdx"),
        ("named.vhd", bytes(1 << 20), "conectix"),
        ("blank.raw", bytes(4 << 20), "operating system"),
    ],
)
@pytest.mark.parametrize("command", ["try", "image create wrong --source"])
def test_a_file_that_is_no_bootable_disk_is_refused_before_anything_is_sent(
    stamp: Stamp, name: str, content: bytes, said: str, command: str
) -> None:
    (stamp.directory / name).write_bytes(content)
    assert said in refused(stamp, f"{command} {name}").lower()
    assert stamp.names("image") == {"tiny"} and stamp.names("vm") == set()


def test_a_truncated_disk_is_refused_with_the_place(stamp: Stamp) -> None:
    whole = (stamp.directory / "tiny.vhdx").read_bytes()
    (stamp.directory / "cut.vhdx").write_bytes(whole[: len(whole) // 3])
    assert "cut.vhdx" in refused(stamp, "try cut.vhdx")


def test_a_blob_that_exists_stays_without_overwrite(stamp: Stamp) -> None:
    stamp.vmstamp("upload tiny.vhdx again.vhd")
    assert "--overwrite" in refused(stamp, "upload tiny.vhdx again.vhd")
    stamp.vmstamp("upload tiny.vhdx again.vhd --overwrite")


def test_a_wrong_key_is_azures_refusal(stamp: Stamp) -> None:
    url = stamp.json("upload tiny.vhdx keyed.vhd")["url"]
    wrong = "d3JvbmcK" * 11
    said = refused(stamp, f"upload tiny.vhdx {url} --overwrite --account-key {wrong}")
    assert "AuthenticationFailed" in said and wrong not in said


def test_a_name_that_azure_refuses_is_refused(stamp: Stamp) -> None:
    assert "name" in refused(stamp, "vm create 'not a name!' --image tiny").lower()


def test_a_vm_in_another_region_does_not_find_the_image(stamp: Stamp) -> None:
    said = refused(stamp, "vm create far --image tiny --location westeurope")
    assert "cannot be found" in said


def test_a_vm_that_never_reports_times_out_with_its_timeline(stamp: Stamp) -> None:
    said = refused(stamp, "vm create silent --image tiny --custom-data silent")
    assert "OSProvisioningTimedOut" in said
    assert "started" in said and "kernel" in said
    assert stamp.vm_state("silent") == ("Failed", "running")
    stamp.vmstamp("vm delete silent")


def test_a_vm_whose_agent_reports_failure_fails_with_its_words(stamp: Stamp) -> None:
    assert "OSProvisioningClientError" in refused(
        stamp, "vm create failing --image tiny --custom-data failing"
    )
    stamp.vmstamp("vm delete failing")


def test_an_image_stays_while_a_vm_is_provisioned_from_it(stamp: Stamp) -> None:
    stamp.vmstamp("vm create waiting --image tiny --custom-data silent --no-wait")
    said = refused(stamp, "image delete tiny")
    assert "OperationNotAllowed" in said and "are being provisioned using the Image" in said
    stamp.vmstamp("vm delete waiting")
    assert stamp.names("image") == {"tiny"}


def test_only_a_generalized_vm_is_captured_and_it_never_starts_again(
    stamp: Stamp, compute: ComputeManagementClient
) -> None:
    stamp.vmstamp("vm create model --image tiny")
    assert "to be Generalized" in refused(stamp, "vm capture model golden")
    with pytest.raises(HttpResponseError) as running:
        compute.virtual_machines.generalize("vmstamp", "model")
    assert running.value.error is not None and running.value.error.code == "OperationNotAllowed"
    stamp.vmstamp("vm stop model")
    compute.virtual_machines.generalize("vmstamp", "model")
    assert "since the VM is generalized" in refused(stamp, "vm start model")
    stamp.vmstamp("vm capture model golden")
    assert stamp.names("image") == {"tiny", "golden"}
    stamp.vmstamp("vm delete model")
    stamp.vmstamp("image delete golden")


def test_try_fails_when_a_vm_is_ready_but_ssh_does_not_answer(stamp: Stamp) -> None:
    done = stamp.shell("vmstamp try tiny.vhdx")
    assert done.returncode == 1
    assert "ready" in done.stdout + done.stderr
    assert "probable cause" in done.stdout + done.stderr
    assert stamp.names("vm") == set()


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken, stamp_in(tmp_path) as stamp:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert str(port) in refused(stamp, f"up --blob-port {port}")
        assert not stamp.home.endpoint.exists()


def test_without_qemu_it_says_what_to_install(tmp_path: Path) -> None:
    """A PATH with everything but QEMU; the stamp itself still starts."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for directory in ("/usr/bin", "/bin", "/usr/sbin", "/sbin"):
        for program in Path(directory).iterdir():
            link = programs / program.name
            if not program.name.startswith("qemu-system") and not link.exists():
                link.symlink_to(program)
    with stamp_in(tmp_path, PATH=f"{BIN}{os.pathsep}{programs}") as stamp:
        stamp.vmstamp("image build tiny -o tiny.vhdx")
        said = refused(stamp, "try tiny.vhdx")
        assert "qemu-system-x86_64 is not installed" in said
        assert "apt-get install qemu-system-x86" in said


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small file system")
def test_no_space_in_the_home_loses_nothing(tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(tmp_path)], check=True)
    try:
        with stamp_in(tmp_path) as stamp:
            disk = Path("/dev/shm") / f"vmstamp-large-{os.getpid()}.raw"
            disk.write_bytes(os.urandom(64 << 20))
            try:
                stamp.vmstamp("up")
                stamp.vmstamp("image build tiny")
                assert "space" in refused(stamp, f"upload {disk} large.vhd").lower()
                disk.write_bytes(os.urandom(4 << 20))
                stamp.vmstamp(f"upload {disk} small.vhd")
            finally:
                disk.unlink()
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
