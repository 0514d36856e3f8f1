"""`az storage` against our Blob service, by connection string: blobs, copies, leases, SAS, containers.

az takes seconds for each command, so a test asks az for what it is about and the store for the rest.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.client.blob_service import ACCOUNT, BlobService, ask, serving
from tests.peers.programs import Peer, az, make_sparse, sha256
from vmstamp.blob.store import BlobRef

MIB = 2**20
SIZE = 16 * MIB + 512
DATA = ((0, 4 * MIB), (8 * MIB, 12 * MIB), (16 * MIB, 16 * MIB + 512))  # whole chunks of az's 4 MiB
EXPIRY = "2126-01-01T00:00Z"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BlobService]:
    with serving(tmp_path_factory.mktemp("az")) as service:
        yield service


@pytest.fixture
def tool(service: BlobService, tmp_path: Path) -> Peer:
    parts = (
        "DefaultEndpointsProtocol=http",
        f"AccountName={ACCOUNT}",
        f"AccountKey={service.key}",
        f"BlobEndpoint={service.url}",
    )
    return az(tmp_path, ";".join(parts))


def blob(tool: Peer, *words: str | Path) -> Any:
    return tool.json("storage", "blob", *words)


def container(tool: Peer, *words: str | Path) -> Any:
    return tool.json("storage", "container", *words)


def refusal(tool: Peer, *words: str) -> str:
    """What az says of a command that must fail."""
    done = tool.run("storage", *words, check=False)
    assert done.status != 0
    return done.stderr.decode()


def new_container(service: BlobService, name: str) -> str:
    service.store.create_container(ACCOUNT, name)
    return name


def stored_bytes(service: BlobService, where: str, name: str) -> bytes:
    size = service.store.get_blob(ACCOUNT, where, name).size
    return service.store.read(BlobRef(ACCOUNT, where, name), 0, size)


def test_a_vhd_goes_up_as_a_page_blob_with_holes_and_comes_down_whole(
    service: BlobService, tool: Peer, tmp_path: Path
) -> None:
    where = new_container(service, "pages")
    disk = make_sparse(tmp_path / "a.vhd", SIZE, *DATA)
    blob(tool, "upload", "-c", where, "-f", disk, "-n", "d/a.vhd", "--no-progress")
    found = service.store.get_blob(ACCOUNT, where, "d/a.vhd")
    assert (found.type, found.size) == ("PageBlob", SIZE)
    assert list(service.store.page_ranges(BlobRef(ACCOUNT, where, "d/a.vhd"))) == list(DATA)
    assert stored_bytes(service, where, "d/a.vhd") == disk.read_bytes()
    back = tmp_path / "b.vhd"
    blob(tool, "download", "-c", where, "-n", "d/a.vhd", "-f", back, "--no-progress")
    assert sha256(back) == sha256(disk)


@pytest.mark.parametrize("size", [3000, 65 * MIB])
def test_a_file_goes_up_as_a_block_blob_and_comes_down(
    service: BlobService, tool: Peer, tmp_path: Path, size: int
) -> None:
    """65 MiB: more than az sends in one Put Blob, so it puts blocks."""
    where = new_container(service, f"blocks{size}")
    file = make_sparse(tmp_path / "a.bin", size, (0, size))
    blob(tool, "upload", "-c", where, "-f", file, "-n", "a.bin", "--no-progress", "--metadata", "k=v")
    found = service.store.get_blob(ACCOUNT, where, "a.bin")
    assert (found.type, found.metadata) == ("BlockBlob", {"k": "v"})
    assert stored_bytes(service, where, "a.bin") == file.read_bytes()
    blob(tool, "download", "-c", where, "-n", "a.bin", "-f", tmp_path / "back", "--no-progress")
    assert sha256(tmp_path / "back") == sha256(file)


def test_a_file_goes_up_as_an_append_blob(service: BlobService, tool: Peer, tmp_path: Path) -> None:
    where = new_container(service, "append")
    file = make_sparse(tmp_path / "a.log", 5 * MIB, (0, 5 * MIB))
    blob(tool, "upload", "-c", where, "-f", file, "-n", "a.log", "--type", "append", "--no-progress")
    assert stored_bytes(service, where, "a.log") == file.read_bytes()


def test_upload_without_overwrite_keeps_the_blob_that_is_there(
    service: BlobService, tool: Peer, tmp_path: Path
) -> None:
    where = new_container(service, "kept")
    service.store.put_block_blob(BlobRef(ACCOUNT, where, "a.txt"), b"old")
    file = tmp_path / "a.txt"
    file.write_bytes(b"new")
    words = ("blob", "upload", "-c", where, "-f", str(file), "-n", "a.txt", "--no-progress")
    assert "BlobAlreadyExists" in refusal(tool, *words)
    assert stored_bytes(service, where, "a.txt") == b"old"
    tool.run("storage", *words, "--overwrite")
    assert stored_bytes(service, where, "a.txt") == b"new"


def test_copy_start_within_the_account_keeps_bytes_and_holes(
    service: BlobService, tool: Peer, tmp_path: Path
) -> None:
    """The source by its URL: from an account's name az makes one of Azure's own hosts."""
    where = new_container(service, "copies")
    disk = make_sparse(tmp_path / "a.vhd", SIZE, *DATA)
    service.store.create_page_blob(BlobRef(ACCOUNT, where, "a.vhd"), SIZE)
    for start, end in DATA:
        piece = disk.read_bytes()[start:end]
        service.store.write_pages(BlobRef(ACCOUNT, where, "a.vhd"), start, piece)
    target = ("--destination-container", where, "--destination-blob", "b.vhd")
    started = blob(tool, "copy", "start", *target, "--source-uri", f"{service.url}/{where}/a.vhd")
    assert started["copy_status"] in ("pending", "success")
    shown = show_until_copied(tool, where, "b.vhd")
    assert shown["properties"]["copy"]["id"] == started["copy_id"]
    assert shown["properties"]["copy"]["progress"] == f"{SIZE}/{SIZE}"
    assert stored_bytes(service, where, "b.vhd") == disk.read_bytes()
    assert list(service.store.page_ranges(BlobRef(ACCOUNT, where, "b.vhd"))) == list(DATA)


def show_until_copied(tool: Peer, where: str, name: str, shows: int = 20) -> Any:
    """`blob show` of a copy, asked again while it is pending, at most so often."""
    for _ in range(shows):
        shown = blob(tool, "show", "-c", where, "-n", name)
        if shown["properties"]["copy"]["status"] != "pending":
            break
    assert shown["properties"]["copy"]["status"] == "success"
    return shown


def test_list_shows_names_types_metadata_and_prefixes(service: BlobService, tool: Peer) -> None:
    where = new_container(service, "listed")
    service.store.put_block_blob(BlobRef(ACCOUNT, where, "d/b &<c>.txt"), b"12345", metadata={"k": "v"})
    service.store.put_block_blob(BlobRef(ACCOUNT, where, "e.txt"), b"")
    service.store.create_page_blob(BlobRef(ACCOUNT, where, "a.vhd"), 1024)
    listed = blob(tool, "list", "-c", where, "--include", "m")
    found = [
        (
            item["name"],
            item["properties"]["blobType"],
            item["properties"]["contentLength"],
            item["metadata"] or {},
        )
        for item in listed
    ]
    assert found == [
        ("a.vhd", "PageBlob", 1024, {}),
        ("d/b &<c>.txt", "BlockBlob", 5, {"k": "v"}),
        ("e.txt", "BlockBlob", 0, {}),
    ]
    tree = blob(tool, "list", "-c", where, "--delimiter", "/", "--num-results", "2")
    assert sorted(item["name"] for item in tree if "name" in item) == ["a.vhd", "d/"]


def test_show_gives_a_page_blobs_properties_and_ranges(service: BlobService, tool: Peer) -> None:
    where = new_container(service, "shown")
    service.store.create_page_blob(BlobRef(ACCOUNT, where, "a.vhd"), 4096, sequence_number=7)
    service.store.write_pages(BlobRef(ACCOUNT, where, "a.vhd"), 512, bytes([1]) * 512)
    shown = blob(tool, "show", "-c", where, "-n", "a.vhd")
    properties = shown["properties"]
    assert (properties["contentLength"], properties["blobType"]) == (4096, "PageBlob")
    assert properties["pageBlobSequenceNumber"] == 7
    assert [(item["start"], item["end"]) for item in properties["pageRanges"]] == [(512, 1023)]


def test_exists_then_delete_then_exists_not(service: BlobService, tool: Peer) -> None:
    where = new_container(service, "deleted")
    service.store.put_block_blob(BlobRef(ACCOUNT, where, "a.txt"), b"x")
    name = ("-c", where, "-n", "a.txt")
    assert blob(tool, "exists", *name) == {"exists": True}
    blob(tool, "delete", *name)
    assert blob(tool, "exists", *name) == {"exists": False}
    assert "BlobNotFound" in refusal(tool, "blob", "delete", *name)


def test_a_snapshot_keeps_what_the_blob_had(service: BlobService, tool: Peer, tmp_path: Path) -> None:
    where = new_container(service, "snapshots")
    old, new = os.urandom(1024), os.urandom(1024)
    service.store.create_page_blob(BlobRef(ACCOUNT, where, "a.vhd"), 1024)
    service.store.write_pages(BlobRef(ACCOUNT, where, "a.vhd"), 0, old)
    name = ("-c", where, "-n", "a.vhd")
    stamp = blob(tool, "snapshot", *name)["snapshot"]
    service.store.write_pages(BlobRef(ACCOUNT, where, "a.vhd"), 0, new)
    blob(tool, "download", *name, "-f", tmp_path / "old", "--snapshot", stamp, "--no-progress")
    blob(tool, "download", *name, "-f", tmp_path / "new", "--no-progress")
    assert ((tmp_path / "old").read_bytes(), (tmp_path / "new").read_bytes()) == (old, new)
    listed = blob(tool, "list", "-c", where, "--include", "s")
    assert [(item["name"], item["snapshot"]) for item in listed] == [("a.vhd", stamp), ("a.vhd", None)]
    assert "SnapshotsPresent" in refusal(tool, "blob", "delete", *name)
    blob(tool, "delete", *name, "--delete-snapshots", "include")
    assert service.store.find_blob(ACCOUNT, where, "a.vhd") is None


def test_metadata_is_replaced_and_shown(service: BlobService, tool: Peer) -> None:
    where = new_container(service, "metadata")
    service.store.put_block_blob(BlobRef(ACCOUNT, where, "a.txt"), b"x", metadata={"old": "1"})
    name = ("-c", where, "-n", "a.txt")
    blob(tool, "metadata", "update", *name, "--metadata", "a=1", "b=two words")
    assert blob(tool, "metadata", "show", *name) == {"a": "1", "b": "two words"}


def test_tags_are_uploaded_listed_and_conditions(service: BlobService, tool: Peer, tmp_path: Path) -> None:
    """az has no command for the tags of a blob alone."""
    where = new_container(service, "tags")
    file = tmp_path / "a.txt"
    file.write_bytes(b"x")
    tags = ("--tags", "kind=disk", "year=2026")
    blob(tool, "upload", "-c", where, "-f", file, "-n", "a.txt", *tags, "--no-progress")
    listed = blob(tool, "list", "-c", where, "--include", "t")
    assert [(item["name"], item["tags"]) for item in listed] == [("a.txt", {"kind": "disk", "year": "2026"})]
    words = ("blob", "delete", "-c", where, "-n", "a.txt", "--tags-condition")
    assert "ConditionNotMet" in refusal(tool, *words, "\"kind\"='vm'")
    tool.run("storage", *words, "\"kind\"='disk'")
    assert service.store.find_blob(ACCOUNT, where, "a.txt") is None


def test_a_blobs_lease_refuses_whoever_does_not_hold_it(service: BlobService, tool: Peer) -> None:
    where = new_container(service, "leases")
    service.store.put_block_blob(BlobRef(ACCOUNT, where, "a.txt"), b"x")
    name = ("-c", where, "-b", "a.txt")
    lease = blob(tool, "lease", "acquire", *name, "--lease-duration", "-1")
    assert "LeaseIdMissing" in refusal(tool, "blob", "delete", "-c", where, "-n", "a.txt")
    assert "LeaseAlreadyPresent" in refusal(tool, "blob", "lease", "acquire", *name, "--lease-duration", "15")
    proposed = "11111111-2222-3333-4444-555555555555"
    changed = ("--lease-id", lease, "--proposed-lease-id", proposed)
    blob(tool, "lease", "change", *name, *changed)
    assert blob(tool, "lease", "renew", *name, "--lease-id", proposed) == proposed
    blob(tool, "lease", "release", *name, "--lease-id", proposed)
    lease = blob(tool, "lease", "acquire", *name, "--lease-duration", "60")
    assert blob(tool, "lease", "break", *name, "--lease-break-period", "0") == 0
    shown = blob(tool, "show", "-c", where, "-n", "a.txt")
    assert shown["properties"]["lease"]["state"] == "broken"


def test_generated_sas_opens_one_blob_for_what_it_allows(service: BlobService, tool: Peer) -> None:
    where = new_container(service, "sas")
    for name in ("a b.txt", "other.txt"):
        service.store.put_block_blob(BlobRef(ACCOUNT, where, name), b"12345")
    allowed = ("--permissions", "r", "--expiry", EXPIRY, "--content-type", "x/y")
    url = blob(tool, "generate-sas", "-c", where, "-n", "a b.txt", *allowed, "--full-uri")
    reply = ask("GET", url)
    assert (reply.status, reply.getheader("Content-Type"), reply.getheader("Content-Length")) == (
        200,
        "x/y",
        "5",
    )
    assert ask("DELETE", url).status == 403
    assert ask("GET", url.replace("a%20b.txt", "other.txt")).status == 403


def test_generated_sas_by_a_stored_policy_ends_with_the_policy(service: BlobService, tool: Peer) -> None:
    where = new_container(service, "policies")
    service.store.put_block_blob(BlobRef(ACCOUNT, where, "a.txt"), b"x")
    policy = ("-c", where, "-n", "readers")
    container(tool, "policy", "create", *policy, "--permissions", "r", "--expiry", EXPIRY)
    listed = container(tool, "policy", "list", "-c", where)
    assert {name: item["permission"] for name, item in listed.items()} == {"readers": "r"}
    sas = container(tool, "generate-sas", "-n", where, "--policy-name", "readers")
    assert parse_qs(urlsplit(f"?{sas}").query)["si"] == ["readers"]
    url = f"{service.url}/{where}/a.txt?{sas}"
    assert ask("GET", url).status == 200
    container(tool, "policy", "delete", *policy)
    assert ask("GET", url).status == 403


def test_a_container_is_made_once_listed_shown_and_deleted(service: BlobService, tool: Peer) -> None:
    name = ("-n", "made")
    assert container(tool, "create", *name, "--metadata", "k=v") == {"created": True}
    assert container(tool, "create", *name) == {"created": False}
    listed = container(tool, "list", "--prefix", "mad", "--include-metadata")
    assert [(item["name"], item["metadata"]) for item in listed] == [("made", {"k": "v"})]
    assert container(tool, "show", *name)["properties"]["lease"]["state"] == "available"
    assert container(tool, "exists", *name) == {"exists": True}
    assert container(tool, "delete", *name) == {"deleted": True}
    assert service.store.find_container(ACCOUNT, "made") is None
    assert container(tool, "exists", *name) == {"exists": False}


def test_set_permission_opens_blobs_to_everybody_and_closes_them(service: BlobService, tool: Peer) -> None:
    where = new_container(service, "public")
    service.store.put_block_blob(BlobRef(ACCOUNT, where, "a.txt"), b"x")
    url, listing = f"{service.url}/{where}/a.txt", f"{service.url}/{where}?restype=container&comp=list"
    container(tool, "set-permission", "-n", where, "--public-access", "blob")
    assert container(tool, "show-permission", "-n", where) == {"publicAccess": "blob"}
    assert (ask("GET", url).status, ask("GET", listing).status) == (200, 401)
    container(tool, "set-permission", "-n", where, "--public-access", "off")
    assert ask("GET", url).status == 401


def test_a_leased_container_is_deleted_only_with_its_lease(service: BlobService, tool: Peer) -> None:
    where = new_container(service, "leasedbox")
    lease = container(tool, "lease", "acquire", "-c", where, "--lease-duration", "-1")
    assert "LeaseIdMissing" in refusal(tool, "container", "delete", "-n", where)
    assert container(tool, "delete", "-n", where, "--lease-id", lease) == {"deleted": True}


def test_soft_delete_is_switched_on_and_a_blob_comes_back(service: BlobService, tool: Peer) -> None:
    where = new_container(service, "softly")
    service.store.put_block_blob(BlobRef(ACCOUNT, where, "a.txt"), b"12345")
    policy = ("service-properties", "delete-policy", "update")
    assert blob(tool, *policy, "--enable", "true", "--days-retained", "3")["days"] == 3
    try:
        name = ("-c", where, "-n", "a.txt")
        blob(tool, "delete", *name)
        assert blob(tool, "exists", *name) == {"exists": False}
        blob(tool, "undelete", *name)
        assert stored_bytes(service, where, "a.txt") == b"12345"
    finally:
        blob(tool, *policy, "--enable", "false")


def test_a_wrong_key_is_refused(service: BlobService, tmp_path: Path) -> None:
    """By --blob-endpoint, as a user does who has no connection string."""
    tool = az(tmp_path, "")
    words = ("--account-name", ACCOUNT, "--blob-endpoint", service.url, "--account-key")
    assert "Authentication failure" in refusal(tool, "container", "list", *words, "AAAA")
    listed = container(tool, "list", *words, service.key, "--prefix", "vhd")
    assert [item["name"] for item in listed] == ["vhds"]
