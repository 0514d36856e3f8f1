"""The commands, as programs, against a real stamp; no guest is booted."""

import gzip
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vmstamp.run import Completed, run, spawn

VMSTAMP = Path(sys.executable).with_name("vmstamp")
MIB = 1024 * 1024


class Stamp:
    """A home of its own, and `vmstamp` in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.env = {
            "VMSTAMP_HOME": str(root / "home"),
            "VMSTAMP_ARM_PORT": "0",
            "VMSTAMP_BLOB_PORT": "0",
            "VMSTAMP_GROUP": "vmstamp",
        }

    def __call__(self, *words: str | Path, status: int = 0) -> Completed:
        done = run([VMSTAMP, *words], env=self.env, check=False, timeout=240)
        assert done.status == status, (words, done.text, done.stderr.decode())
        return done

    def json(self, *words: str | Path, status: int = 0) -> Any:
        return json.loads(self(*words, "--json", status=status).stdout)

    def error(self, *words: str | Path, status: int = 1) -> dict[str, str]:
        found: dict[str, str] = json.loads(self(*words, "--json", status=status).stderr)["error"]
        return found


@pytest.fixture(scope="module")
def stamp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stamp]:
    found = Stamp(tmp_path_factory.mktemp("cli"))
    assert found.json("up")["started"] is True
    yield found
    found("down")
    found("status", status=3)


@pytest.fixture(scope="module")
def disk(stamp: Stamp) -> Path:
    path = stamp.root / "disk.raw"
    with path.open("wb") as file:
        file.truncate(40 * MIB)
        file.seek(8 * MIB)
        file.write(os.urandom(MIB))
    return path


def test_status_tells_the_endpoints_and_no_secret(stamp: Stamp) -> None:
    secret = json.loads((stamp.root / "home" / "stamp.json").read_text())["client_secret"]
    text = stamp("status").text + stamp("status", "--json").text
    assert secret not in text
    assert "ARM           https://127.0.0.1:" in text
    assert "SOFTWARE EMULATION" in text or "with KVM" in text


def test_a_second_up_finds_the_first(stamp: Stamp) -> None:
    first = stamp.json("status")
    again = stamp.json("up")
    assert (again["started"], again["pid"]) == (False, first["pid"])


def test_upload_image_and_back(stamp: Stamp, disk: Path) -> None:
    done = stamp.json("upload", disk)
    assert done["logical"] == 40 * MIB + 512
    assert done["sent"] == MIB + 512
    assert "--overwrite" in stamp.error("upload", disk)["hint"]
    stamp("upload", disk, "--overwrite")
    stamp("image", "create", "web", "--source", done["url"], "--generation", "2")
    assert [image["name"] for image in stamp.json("image", "list")] == ["web"]
    assert done["url"] in stamp("image", "show", "web").text
    assert "exists already" in stamp.error("image", "create", "web", "--source", done["url"])["message"]
    planned = stamp.json("image", "delete", "web", "--vhds", "--plan")
    assert planned["plan"] is True
    assert stamp.json("image", "delete", "web", "--vhds")["deleted"] == planned["deleted"]
    assert stamp.json("image", "list") == []
    error = stamp.error("image", "create", "web", "--source", done["url"])
    assert error["code"] == "ImageBlobNotFound"


def test_a_blob_comes_back_as_any_format_and_is_verified(stamp: Stamp, disk: Path) -> None:
    stamp("upload", disk, "back.vhd")
    done = stamp.json("download", "back.vhd", stamp.root / "back.vhdx")
    assert (done["logical"], done["received"]) == (40 * MIB, MIB)
    stamp("disk", "compare", disk, stamp.root / "back.vhdx")
    stamp("verify", stamp.root / "back.vhdx", "vhds/back.vhd")
    assert "is there already" in stamp.error("download", "back.vhd", stamp.root / "back.vhdx")["message"]
    changed = stamp.root / "changed.raw"
    changed.write_bytes(disk.read_bytes())
    with changed.open("r+b") as file:
        file.seek(20 * MIB)
        file.write(b"!")
    assert stamp.json("verify", changed, "back.vhd", status=1)["difference"]["offset"] == 20 * MIB
    assert "BlobNotFound" in stamp.error("verify", changed, "none.vhd", status=2)["message"]
    assert "BlobNotFound" in stamp.error("download", "none.vhd", stamp.root / "none.vhd")["message"]


def kill_in_the_middle(stamp: Stamp, path: Path, mib: int, *words: str) -> None:
    """Make `path` of `mib` MiB of data, and kill its upload when a quarter of it is in the stamp."""
    piece = os.urandom(MIB)
    with path.open("wb") as file:
        for _ in range(mib):
            file.write(piece)
    content = stamp.root / "home" / "content"

    def held() -> int:
        return sum(one.stat().st_blocks for one in content.iterdir()) * 512

    before, deadline = held(), time.monotonic() + 60
    process = spawn([VMSTAMP, "upload", path, *words], env=stamp.env)
    while held() - before < mib // 4 * MIB:
        assert time.monotonic() < deadline
        assert process.poll() is None, "it was too quick to be killed"
        time.sleep(0.02)
    process.kill()
    process.wait()


def test_an_upload_that_was_killed_is_continued(stamp: Stamp) -> None:
    large = stamp.root / "large.raw"
    kill_in_the_middle(stamp, large, 400)
    done = stamp.json("upload", large)
    assert done["resumed"] > 50 * MIB
    assert done["resumed"] + done["sent"] == 400 * MIB + 512
    stamp("verify", large, "large.vhd")


def test_a_managed_disk_is_made_in_one_command(stamp: Stamp, disk: Path) -> None:
    done = stamp.json("upload", disk, "--as", "disk", "data-1")
    properties = done["disk"]["properties"]
    assert (properties["diskState"], properties["diskSizeBytes"]) == ("Unattached", 40 * MIB)
    assert (done["upload"]["logical"], done["upload"]["sent"]) == (40 * MIB + 512, MIB + 512)
    again = stamp.json("upload", disk, "--as", "disk", "data-1")
    assert (again["disk"], again["upload"]["sent"]) == (done["disk"], 0)
    other = stamp.root / "other.raw"
    shutil.copy(disk, other)
    with other.open("r+b") as file:
        file.write(b"other")
    refused = stamp.error("upload", other, "--as", "disk", "data-1")
    assert "exists already and is Unattached" in refused["message"]
    assert "no destination" in stamp.error("upload", disk, "x.vhd", "--as", "disk", "y", status=2)["message"]
    assert "not a name" in stamp.error("upload", disk, "--as", "disk", "a/b")["message"]


def test_a_managed_disk_whose_upload_was_killed_is_filled_by_the_same_command(stamp: Stamp) -> None:
    large = stamp.root / "large-disk.raw"
    kill_in_the_middle(stamp, large, 300, "--as", "disk", "data-2")
    done = stamp.json("upload", large, "--as", "disk", "data-2")
    assert done["disk"]["properties"]["diskState"] == "Unattached"
    assert done["upload"]["sent"] == 300 * MIB + 512


def test_a_packed_disk_is_unpacked_on_the_way(stamp: Stamp, disk: Path) -> None:
    packed = stamp.root / "packed.raw.gz"
    packed.write_bytes(gzip.compress(disk.read_bytes(), 1))
    done = stamp.json("upload", packed)
    assert done["url"].endswith("/vhds/packed.vhd")
    assert (done["logical"], done["sent"]) == (40 * MIB + 512, MIB + 512)
    assert stamp.json("inspect", packed, status=1)["sizes"]["virtual"] == 40 * MIB


def test_a_backing_file_is_read_only_when_it_may_be_followed(stamp: Stamp, disk: Path) -> None:
    child = stamp.root / "child.qcow2"
    run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", disk, "-F", "raw", child])
    assert "--follow" in stamp.error("upload", child)["hint"]
    done = stamp.json("upload", "--follow", child, "followed/child.vhd")
    assert (done["logical"], done["sent"]) == (40 * MIB + 512, MIB + 512)


def test_a_disk_without_an_operating_system_is_no_image(stamp: Stamp, disk: Path) -> None:
    assert "no operating system" in stamp.error("image", "create", "data", "--source", disk)["message"]


def test_a_name_that_azure_refuses_is_said_before_the_upload(stamp: Stamp, disk: Path) -> None:
    error = stamp.error("image", "create", "-x-", "--source", "http://127.0.0.1:1/a/b/c.vhd", status=2)
    assert error["code"] == "Usage"
    error = stamp.error("image", "create", "a/b", "--source", "http://127.0.0.1:1/a/b/c.vhd")
    assert "not a name that Azure takes" in error["message"]


def test_a_vm_of_no_image_is_azures_not_found(stamp: Stamp) -> None:
    error = stamp.error("vm", "create", "web", "--image", "none")
    assert error["code"] in ("ResourceNotFound", "ResourceGroupNotFound")
    assert stamp.json("vm", "list") == []


def test_a_killed_server_comes_back_with_what_was_acknowledged(stamp: Stamp, disk: Path) -> None:
    url = stamp.json("upload", disk, "kept.vhd")["url"]
    stamp("image", "create", "kept", "--source", url, "--generation", "1")
    os.kill(stamp.json("status")["pid"], signal.SIGKILL)
    stamp("status", status=3)
    assert stamp.error("image", "list")["hint"] == "start it: vmstamp up"
    assert stamp.json("up")["started"] is True
    assert stamp.json("image", "show", "kept")["properties"]["hyperVGeneration"] == "V1"
    stamp("image", "delete", "kept", "--vhds")
