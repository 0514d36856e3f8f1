"""azcopy against our Blob service, by SAS: upload, download, copy, sync, list, make, remove."""

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.client.blob_service import ACCOUNT, BlobService, serving
from tests.peers.front import proxy
from tests.peers.programs import Peer, account_sas, azcopy, container_sas, make_sparse, sha256
from vmstamp.blob.store import BlobRef

MIB = 2**20
OTHER = "other"
SIZE = 64 * MIB + 512
DATA = ((0, 4 * MIB), (20 * MIB, 24 * MIB), (64 * MIB, 64 * MIB + 512))  # whole chunks of azcopy's 4 MiB


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BlobService]:
    """The service with a second account."""
    with serving(tmp_path_factory.mktemp("azcopy")) as service:
        service.store.create_account(OTHER)
        yield service


@pytest.fixture
def tool(tmp_path: Path) -> Peer:
    return azcopy(tmp_path)


def new_container(service: BlobService, name: str, account: str = ACCOUNT) -> str:
    service.store.create_container(account, name)
    return name


def url(service: BlobService, path: str, account: str = ACCOUNT) -> str:
    """A URL with a SAS for everything in the account."""
    key = service.store.get_account(account).key1
    return f"{service.url.removesuffix(ACCOUNT)}{account}/{path}?{account_sas(account, key)}"


def held(service: BlobService, container: str, name: str, account: str = ACCOUNT) -> list[tuple[int, int]]:
    """The blob's page ranges, half-open, as the store has them."""
    blob = service.store.get_blob(account, container, name)
    with service.store.reader(blob):
        return [(start, end) for start, end in service.store.page_ranges(BlobRef(account, container, name))]


def stored_bytes(service: BlobService, container: str, name: str, account: str = ACCOUNT) -> bytes:
    size = service.store.get_blob(account, container, name).size
    return service.store.read(BlobRef(account, container, name), 0, size)


def put_disk(service: BlobService, container: str, name: str, path: Path) -> None:
    """A page blob with the bytes of a file whose data lies in DATA."""
    service.store.create_page_blob(BlobRef(ACCOUNT, container, name), path.stat().st_size)
    with path.open("rb") as file:
        for start, end in DATA:
            service.store.write_pages(
                BlobRef(ACCOUNT, container, name), start, os.pread(file.fileno(), end - start, start)
            )


def test_an_uploaded_page_blob_has_the_bytes_and_the_holes_of_the_file(
    service: BlobService, tool: Peer, tmp_path: Path
) -> None:
    container = new_container(service, "pageup")
    disk = make_sparse(tmp_path / "a.vhd", SIZE, *DATA)
    sas = container_sas(ACCOUNT, container, service.key)
    target = f"{service.url}/{container}/a.vhd?{sas}"
    tool.run("copy", disk, target, "--from-to", "LocalBlob", "--blob-type", "PageBlob", "--put-md5")
    assert stored_bytes(service, container, "a.vhd") == disk.read_bytes()
    assert held(service, container, "a.vhd") == list(DATA)
    settings = service.blob("a.vhd", container).get_blob_properties().content_settings
    assert settings.content_md5 is not None


def test_a_page_blob_goes_up_by_localhost_whose_slash_azcopy_encodes(
    service: BlobService, tool: Peer, tmp_path: Path
) -> None:
    """By a name azcopy does not take a path for an account's, and sends CONTAINER%2FBLOB."""
    container = new_container(service, "named")
    disk = make_sparse(tmp_path / "a.vhd", MIB, (0, MIB))
    target = url(service, f"{container}/a.vhd").replace("127.0.0.1", "localhost")
    tool.run("copy", disk, target, "--from-to", "LocalBlob", "--blob-type", "PageBlob")
    assert stored_bytes(service, container, "a.vhd") == disk.read_bytes()


def test_a_page_blob_is_downloaded_as_a_sparse_file(service: BlobService, tool: Peer, tmp_path: Path) -> None:
    container = new_container(service, "pagedown")
    disk = make_sparse(tmp_path / "a.vhd", SIZE, *DATA)
    put_disk(service, container, "a.vhd", disk)
    copy = tmp_path / "b.vhd"
    tool.run("copy", url(service, f"{container}/a.vhd"), copy, "--from-to", "BlobLocal")
    assert sha256(copy) == sha256(disk)


@pytest.mark.parametrize("size", [0, 3000, 20 * MIB + 1])
def test_a_block_blob_goes_up_in_blocks_and_comes_down_with_its_md5_checked(
    service: BlobService, tool: Peer, tmp_path: Path, size: int
) -> None:
    container = new_container(service, f"blocks{size}")
    file = make_sparse(tmp_path / "a.bin", size, (0, size))
    there = url(service, f"{container}/a.bin")
    blocks = ("--blob-type", "BlockBlob", "--block-size-mb", "4")
    tool.run("copy", file, there, "--from-to", "LocalBlob", *blocks, "--put-md5")
    assert stored_bytes(service, container, "a.bin") == file.read_bytes()
    back = tmp_path / "back.bin"
    tool.run("copy", there, back, "--from-to", "BlobLocal", "--check-md5", "FailIfDifferentOrMissing")
    assert sha256(back) == sha256(file)


def test_an_append_blob_goes_up(service: BlobService, tool: Peer, tmp_path: Path) -> None:
    container = new_container(service, "append")
    file = make_sparse(tmp_path / "a.log", 9 * MIB, (0, 9 * MIB))
    there = url(service, f"{container}/a.log")
    tool.run("copy", file, there, "--from-to", "LocalBlob", "--blob-type", "AppendBlob")
    assert stored_bytes(service, container, "a.log") == file.read_bytes()


@pytest.mark.parametrize("account", [ACCOUNT, OTHER])
def test_a_page_blob_is_copied_from_service_to_service_with_its_holes(
    service: BlobService, tool: Peer, tmp_path: Path, account: str
) -> None:
    source, target = new_container(service, f"from{account}"), new_container(service, f"to{account}", account)
    disk = make_sparse(tmp_path / "a.vhd", SIZE, *DATA)
    put_disk(service, source, "a.vhd", disk)
    there = url(service, f"{target}/b.vhd", account)
    tool.run("copy", url(service, f"{source}/a.vhd"), there, "--from-to", "BlobBlob")
    assert stored_bytes(service, target, "b.vhd", account) == disk.read_bytes()
    assert held(service, target, "b.vhd", account) == list(DATA)


def test_a_container_of_block_blobs_is_copied_to_another_account(
    service: BlobService, tool: Peer, tmp_path: Path
) -> None:
    source, target = new_container(service, "manyfrom"), new_container(service, "manyto", OTHER)
    contents = {"a.txt": b"a", "d/b.txt": b"", "d/c d.txt": os.urandom(3 * MIB)}
    for name, content in contents.items():
        service.store.put_block_blob(BlobRef(ACCOUNT, source, name), content)
    tool.run(
        "copy",
        url(service, f"{source}/*"),
        url(service, target, OTHER),
        *("--from-to", "BlobBlob", "--recursive"),
    )
    assert {name: stored_bytes(service, target, name, OTHER) for name in contents} == contents


def test_sync_up_sends_what_is_new_and_deletes_what_is_gone(
    service: BlobService, tool: Peer, tmp_path: Path
) -> None:
    container = new_container(service, "syncup")
    tree = tmp_path / "tree"
    (tree / "d").mkdir(parents=True)
    (tree / "a.txt").write_bytes(b"new")
    (tree / "d" / "b.txt").write_bytes(b"b")
    # A blob's time has whole seconds: a file of the same second counts as newer.
    os.utime(tree / "a.txt", (1.6e9, 1.6e9))
    service.store.put_block_blob(BlobRef(ACCOUNT, container, "gone.txt"), b"old")
    there = url(service, container)
    tool.run("sync", tree, there, "--from-to", "LocalBlob", "--delete-destination", "true")
    assert names(service, container) == ["a.txt", "d/b.txt"]
    before = service.store.get_blob(ACCOUNT, container, "a.txt").etag
    (tree / "d" / "b.txt").write_bytes(b"changed")
    tool.run("sync", tree, there, "--from-to", "LocalBlob")
    assert stored_bytes(service, container, "d/b.txt") == b"changed"
    assert service.store.get_blob(ACCOUNT, container, "a.txt").etag == before


def test_sync_down_fetches_what_is_new_and_deletes_what_is_gone(
    service: BlobService, tool: Peer, tmp_path: Path
) -> None:
    container = new_container(service, "syncdown")
    for name, content in (("a.txt", b"a"), ("d/b.txt", b"b")):
        service.store.put_block_blob(BlobRef(ACCOUNT, container, name), content)
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "gone.txt").write_bytes(b"old")
    there = url(service, container)
    tool.run("sync", there, tree, "--from-to", "BlobLocal", "--delete-destination", "true")
    found = {
        path.relative_to(tree).as_posix(): path.read_bytes() for path in tree.rglob("*") if path.is_file()
    }
    assert found == {"a.txt": b"a", "d/b.txt": b"b"}


def test_list_gives_every_blob_with_its_size_and_type(service: BlobService, tool: Peer) -> None:
    container = new_container(service, "listed")
    service.store.put_block_blob(BlobRef(ACCOUNT, container, "d/e f.txt"), b"12345")
    service.store.create_page_blob(BlobRef(ACCOUNT, container, "a.vhd"), 1024)
    where = (url(service, container), "--location", "Blob", "--properties", "BlobType")
    done = tool.run("list", *where, "--machine-readable", "--output-type", "json")
    found = {item["Path"]: (item["ContentLength"], item["BlobType"]) for item in listed(done.text)}
    assert found == {"d/e f.txt": ("5", "BlockBlob"), "a.vhd": ("1024", "PageBlob")}


def test_remove_takes_one_blob_then_a_directory_then_the_container(service: BlobService, tool: Peer) -> None:
    container = new_container(service, "removed")
    for name in ("a.txt", "b.txt", "d/c.txt", "d/e/f.txt"):
        service.store.put_block_blob(BlobRef(ACCOUNT, container, name), b"x")
    tool.run("remove", url(service, f"{container}/a.txt"), "--from-to", "BlobTrash")
    assert names(service, container) == ["b.txt", "d/c.txt", "d/e/f.txt"]
    tool.run("remove", url(service, f"{container}/d"), "--from-to", "BlobTrash", "--recursive")
    assert names(service, container) == ["b.txt"]


def test_remove_takes_a_blob_with_its_snapshots(service: BlobService, tool: Peer) -> None:
    container = new_container(service, "snapshots")
    service.store.create_page_blob(BlobRef(ACCOUNT, container, "a.vhd"), 1024)
    service.blob("a.vhd", container).create_snapshot()
    there = url(service, f"{container}/a.vhd")
    tool.run("remove", there, "--from-to", "BlobTrash", "--delete-snapshots", "include")
    assert names(service, container) == []


def test_make_makes_a_container(service: BlobService, tool: Peer) -> None:
    with proxy(service.store) as environment:
        sas = account_sas(ACCOUNT, service.key)
        peer = Peer(tool.program, {**tool.environment, **environment}, tool.logs)
        peer.run("make", f"http://{ACCOUNT}.blob.localhost/made?{sas}")
    assert service.store.find_container(ACCOUNT, "made") is not None


def test_by_a_host_name_both_sides_are_known_without_from_to(
    service: BlobService, tool: Peer, tmp_path: Path
) -> None:
    container = new_container(service, "hosts")
    disk = make_sparse(tmp_path / "a.vhd", SIZE, *DATA)
    sas = container_sas(ACCOUNT, container, service.key)
    with proxy(service.store) as environment:
        peer = Peer(tool.program, {**tool.environment, **environment}, tool.logs)
        there = f"http://{ACCOUNT}.blob.localhost/{container}/a.vhd?{sas}"
        peer.run("copy", disk, there)
        peer.run("copy", there, tmp_path / "b.vhd")
    assert service.store.get_blob(ACCOUNT, container, "a.vhd").type == "PageBlob"
    assert sha256(tmp_path / "b.vhd") == sha256(disk)


def test_a_managed_disk_is_filled_and_read_without_being_made(service: BlobService, tmp_path: Path) -> None:
    ref = BlobRef("md-0123456789ab", "disk", "abcd")
    service.store.create_account(ref.account, hidden=True)
    service.store.create_container(ref.account, ref.container)
    before = service.store.create_page_blob(ref, SIZE)
    sas = service.store.sign_sas(
        ref, permissions="rw", start=None, expiry=datetime.now(UTC) + timedelta(hours=1), policy=None
    )
    disk = make_sparse(tmp_path / "a.vhd", SIZE, *DATA)
    with proxy(service.store) as environment:
        tool = azcopy(tmp_path, environment)
        there = f"http://{ref.account}.blob.localhost/{ref.container}/{ref.name}?{sas}"
        tool.run("copy", disk, there, "--blob-type", "PageBlob")
        tool.run("copy", there, tmp_path / "b.vhd")
    assert stored_bytes(service, ref.container, ref.name, ref.account) == disk.read_bytes()
    assert held(service, ref.container, ref.name, ref.account) == list(DATA)
    assert service.store.get_blob(*ref).created == before.created
    assert sha256(tmp_path / "b.vhd") == sha256(disk)


def test_a_managed_disk_of_another_size_is_refused(service: BlobService, tmp_path: Path) -> None:
    ref = BlobRef("md-ba9876543210", "disk", "abcd")
    service.store.create_account(ref.account, hidden=True)
    service.store.create_container(ref.account, ref.container)
    service.store.create_page_blob(ref, 2 * MIB)
    sas = service.store.sign_sas(
        ref, permissions="rw", start=None, expiry=datetime.now(UTC) + timedelta(hours=1), policy=None
    )
    disk = make_sparse(tmp_path / "a.vhd", MIB, (0, MIB))
    with proxy(service.store) as environment:
        there = f"http://{ref.account}.blob.localhost/{ref.container}/{ref.name}?{sas}"
        done = azcopy(tmp_path, environment).run("copy", disk, there, "--blob-type", "PageBlob", check=False)
    assert done.status != 0
    assert held(service, ref.container, ref.name, ref.account) == []


def test_a_sas_that_may_not_write_is_refused_with_azures_code(
    service: BlobService, tool: Peer, tmp_path: Path
) -> None:
    container = new_container(service, "readonly")
    sas = service.store.sign_sas(
        BlobRef(ACCOUNT, container, "a.vhd"),
        permissions="r",
        start=None,
        expiry=datetime.now(UTC) + timedelta(hours=1),
        policy=None,
    )
    disk = make_sparse(tmp_path / "a.vhd", MIB, (0, MIB))
    there = f"{service.url}/{container}/a.vhd?{sas}"
    done = tool.run("copy", disk, there, "--from-to", "LocalBlob", "--blob-type", "PageBlob", check=False)
    assert done.status != 0
    assert "AuthorizationPermissionMismatch" in tool.refusals()
    assert names(service, container) == []


def names(service: BlobService, container: str) -> list[str]:
    return [blob.name for blob in service.container(container).list_blobs()]


def listed(text: str) -> Iterator[dict[str, Any]]:
    """The objects of azcopy's listing: a message in each line, a document in each message."""
    for line in text.splitlines():
        message = json.loads(line)
        if message["MessageType"] == "ListObject":
            yield json.loads(message["MessageContent"])
