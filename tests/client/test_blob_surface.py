"""What lies beside the bytes, by the official SDK: snapshots, copies, blocks, tags, properties, leases."""

import base64
import hashlib
import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import pytest
from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.storage.blob import (
    BlobBlock,
    BlobClient,
    BlobProperties,
    BlobServiceClient,
    ContentSettings,
    CorsRule,
    RetentionPolicy,
    StandardBlobTier,
    StaticWebsite,
    UserDelegationKey,
    generate_blob_sas,
    generate_container_sas,
)
from defusedxml.ElementTree import fromstring

from tests.client.blob_service import ACCOUNT, BlobService, ask, refusal, serving

MIB = 2**20
SOON = timedelta(hours=1)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BlobService]:
    with serving(tmp_path_factory.mktemp("surface")) as service:
        yield service


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BlobService]:
    """Another stamp."""
    with serving(tmp_path_factory.mktemp("other")) as service:
        yield service


def page_blob(service: BlobService, name: str, size: int = MIB) -> BlobClient:
    blob = service.blob(name)
    blob.create_page_blob(size)
    return blob


def taken(blob: BlobClient, **more: Any) -> str:
    """The time of a new snapshot."""
    return str(blob.create_snapshot(**more)["snapshot"])


def ranges(blob: BlobClient, **more: Any) -> list[tuple[int, int, bool]]:
    return [(int(r.start or 0), int(r.end or 0) + 1, r.cleared) for r in blob.list_page_ranges(**more)]


# -- snapshots


def test_a_snapshot_keeps_the_bytes_of_its_time(service: BlobService) -> None:
    blob = page_blob(service, "snap.vhd")
    blob.upload_page(b"1" * 512, 0, 512)
    first = taken(blob)
    blob.upload_page(b"2" * 512, 0, 512)
    second = taken(blob, metadata={"n": "two"})
    blob.clear_page(0, 512)
    old = [service.client().get_blob_client("vhds", "snap.vhd", snapshot=s) for s in (first, second)]
    assert [each.download_blob(0, 512).readall()[:1] for each in old] == [b"1", b"2"]
    assert blob.download_blob(0, 512).readall() == bytes(512)
    assert old[1].get_blob_properties().metadata == {"n": "two"}
    listed = [(b.name, b.snapshot) for b in service.container().list_blobs("snap.", include=["snapshots"])]
    assert listed == [("snap.vhd", first), ("snap.vhd", second), ("snap.vhd", None)]
    with pytest.raises(ResourceExistsError) as caught:
        blob.delete_blob()
    assert refusal(caught.value) == (409, "SnapshotsPresent")
    old[0].delete_blob()
    blob.delete_blob(delete_snapshots="include")
    with pytest.raises(ResourceNotFoundError):
        old[1].get_blob_properties()


def test_what_changed_since_a_snapshot_is_told(service: BlobService) -> None:
    blob = page_blob(service, "diff.vhd")
    blob.upload_page(b"a" * 4096, 0, 4096)
    blob.upload_page(b"b" * 512, 8192, 512)
    first = taken(blob)
    assert ranges(blob, previous_snapshot=first) == []
    blob.upload_page(b"c" * 512, 1024, 512)
    blob.clear_page(8192, 512)
    blob.upload_page(b"d" * 512, 65536, 512)
    expected = [(1024, 1536, False), (8192, 8704, True), (65536, 66048, False)]
    assert ranges(blob, previous_snapshot=first) == expected
    assert ranges(blob, previous_snapshot=first, results_per_page=1) == expected
    second = service.client().get_blob_client("vhds", "diff.vhd", snapshot=taken(blob))
    assert ranges(second, previous_snapshot=first) == expected
    assert ranges(second) == [(0, 4096, False), (65536, 66048, False)]
    blob.create_page_blob(MIB)
    with pytest.raises(HttpResponseError) as caught:
        ranges(blob, previous_snapshot=first)
    assert refusal(caught.value) == (409, "BlobOverwritten")


def test_an_incremental_copy_carries_snapshots_over(service: BlobService) -> None:
    source, target = page_blob(service, "inc.vhd"), service.blob("inc-copy.vhd")
    source.upload_page(b"1" * 512, 0, 512)
    carried = []
    for fill in (b"2", b"3"):
        snapshot = taken(source)
        target.start_copy_from_url(f"{source.url}?snapshot={snapshot}", incremental_copy=True)
        carried.append(str(target.get_blob_properties().copy.destination_snapshot))
        source.upload_page(fill * 512, 512, 512)
    assert target.get_blob_properties().copy.incremental_copy
    client = service.client()
    newer = client.get_blob_client("vhds", "inc-copy.vhd", snapshot=carried[1])
    assert newer.download_blob(0, 1024).readall() == b"1" * 512 + b"2" * 512
    assert ranges(newer, previous_snapshot=carried[0]) == [(512, 1024, False)]
    with pytest.raises(HttpResponseError) as caught:
        target.download_blob()
    assert refusal(caught.value) == (409, "OperationNotAllowedOnIncrementalCopyBlob")
    with pytest.raises(HttpResponseError) as caught:
        target.start_copy_from_url(source.url, incremental_copy=True)
    assert refusal(caught.value) == (409, "IncrementalCopySourceMustBeSnapshot")


# -- copies


def test_pages_come_from_a_url_of_this_or_another_service(service: BlobService, other: BlobService) -> None:
    data = os.urandom(1024)
    for where in (service, other):
        source, target = page_blob(where, "from.vhd"), page_blob(service, "to.vhd")
        source.upload_page(data, 512, 1024)
        url = where.signed("from.vhd")
        digest = hashlib.md5(data).digest()
        target.upload_pages_from_url(url, 2048, 1024, 512, source_content_md5=digest)
        assert target.download_blob(2048, 1024).readall() == data
        with pytest.raises(HttpResponseError) as caught:
            target.upload_pages_from_url(url, 0, 512, MIB)
        assert caught.value.status_code == 416
    with pytest.raises(HttpResponseError) as caught:
        target.upload_pages_from_url(other.blob("from.vhd").url, 0, 512, 0)
    reply: Any = caught.value.response
    assert reply.headers["x-ms-copy-source-error-code"] == "NoAuthenticationInformation"


def test_a_copy_from_another_service_goes_on_after_the_answer(
    service: BlobService, other: BlobService
) -> None:
    source = page_blob(other, "big.vhd", 16 * MIB)
    source.set_blob_metadata({"kept": "yes"})
    data = os.urandom(MIB)
    source.upload_page(data, 5 * MIB, MIB)
    target = service.blob("big.vhd")
    assert target.start_copy_from_url(other.signed("big.vhd"))["copy_status"] == "pending"
    found = wait_for_copy(target)
    assert (found.copy.status, found.copy.progress, found.metadata) == (
        *("success", f"{16 * MIB}/{16 * MIB}"),
        {"kept": "yes"},
    )
    assert ranges(target) == [(5 * MIB, 6 * MIB, False)]
    assert target.download_blob(5 * MIB, MIB).readall() == data
    assert "sig" not in str(found.copy.source)


def test_a_copy_that_is_waited_for_comes_from_this_or_another_service(
    service: BlobService, other: BlobService
) -> None:
    data = os.urandom(3 * MIB)
    digest = hashlib.md5(data).digest()
    settings = ContentSettings("text/x-log", content_md5=bytearray(digest))
    for number, where in enumerate((service, other)):
        source, target = where.blob("log.txt"), service.blob(f"log-{number}.txt")
        source.upload_blob(data, content_settings=settings, metadata={"kept": "yes"})
        url = where.signed("log.txt")
        more: dict[str, Any] = {"tags": {"a": "b"}, "standard_blob_tier": StandardBlobTier.COOL}
        done: Any = target.start_copy_from_url(url, requires_sync=True, **more)
        found = target.get_blob_properties()
        copy = found.copy
        assert (done["copy_status"], copy.status, copy.id) == ("success", "success", done["copy_id"])
        assert (copy.progress, "sig" in str(copy.source)) == (f"{3 * MIB}/{3 * MIB}", False)
        assert (found.metadata, found.tag_count, found.blob_tier) == ({"kept": "yes"}, 1, "Cool")
        assert found.content_settings.content_type == "text/x-log"
        assert found.content_settings.content_md5 == bytearray(digest)
        assert target.download_blob().readall() == data
        target.start_copy_from_url(url, requires_sync=True, metadata={"own": "one"})
        assert target.get_blob_properties().metadata == {"own": "one"}
        condition: dict[str, Any] = {
            "source_etag": '"x"',
            "source_match_condition": MatchConditions.IfNotModified,
        }
        with pytest.raises(HttpResponseError) as caught:
            target.start_copy_from_url(url, requires_sync=True, **condition)
        assert refusal(caught.value) == (412, "SourceConditionNotMet")


def test_a_copy_that_is_waited_for_takes_no_page_blob_and_no_large_one(
    service: BlobService, other: BlobService
) -> None:
    for where in (service, other):
        page_blob(where, "disk.vhd")
        with pytest.raises(HttpResponseError, match="The copy source must be a block blob") as caught:
            service.blob("no-copy").start_copy_from_url(where.signed("disk.vhd"), requires_sync=True)
        assert refusal(caught.value) == (409, "CannotVerifyCopySource")
        where.blob("too-large").stage_block("a", bytes(33 * MIB))
        where.blob("too-large").commit_block_list([BlobBlock("a")] * 8)
        with pytest.raises(HttpResponseError, match="the limit is 268435456") as caught:
            service.blob("no-copy").start_copy_from_url(where.signed("too-large"), requires_sync=True)
        assert refusal(caught.value) == (409, "CannotVerifyCopySource")
    assert not service.blob("no-copy").exists()


def test_a_copy_that_is_waited_for_is_checked_by_its_digest(service: BlobService, other: BlobService) -> None:
    data = b"what is copied"
    other.blob("text").upload_blob(data)
    for text, status in ((data, 202), (b"what is not", 400)):
        headers = {
            "x-ms-copy-source": other.signed("text"),
            "x-ms-requires-sync": "true",
            "x-ms-source-content-md5": base64.b64encode(hashlib.md5(text).digest()).decode(),
            "content-length": "0",
        }
        assert ask("PUT", service.signed("copied"), headers).status == status
    assert service.blob("copied").download_blob().readall() == data


def wait_for_copy(blob: BlobClient) -> BlobProperties:
    deadline = datetime.now(UTC) + timedelta(seconds=30)
    while (found := blob.get_blob_properties()).copy.status == "pending":
        assert datetime.now(UTC) < deadline, "the copy does not end"
    return found


class Slow(BaseHTTPRequestHandler):
    """A server of something that never comes."""

    go_on = threading.Event()

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(MIB))
        self.end_headers()

    def do_GET(self) -> None:
        self.go_on.wait(30)
        self.send_error(500)

    def log_message(self, *arguments: object) -> None:
        pass


def test_a_copy_that_goes_on_is_aborted_and_takes_no_writes(service: BlobService) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            blob = service.blob("aborted")
            begun = blob.start_copy_from_url(f"http://127.0.0.1:{server.server_port}/file")
            assert blob.get_blob_properties().copy.status == "pending"
            with pytest.raises(HttpResponseError) as caught:
                blob.set_blob_metadata({"a": "b"})
            assert refusal(caught.value) == (409, "PendingCopyOperation")
            blob.abort_copy(str(begun["copy_id"]))
            found = blob.get_blob_properties()
            assert (found.copy.status, found.size) == ("aborted", 0)
            blob.upload_blob(b"free again", overwrite=True)
        finally:
            Slow.go_on.set()
            server.shutdown()
            thread.join()


# -- blocks


def test_blocks_are_put_listed_committed_and_used_again(service: BlobService) -> None:
    blob = service.blob("blocks")
    for name, data in (("a", b"A" * 10), ("b", b"B" * 20), ("c", b"C")):
        blob.stage_block(name, data)
    assert [b.size for b in blob.get_block_list("uncommitted")[1]] == [10, 20, 1]
    blob.commit_block_list([BlobBlock("b"), BlobBlock("a")], tags={"k": "v"})
    assert blob.download_blob().readall() == b"B" * 20 + b"A" * 10
    blob.stage_block("d", b"D")
    blob.commit_block_list([BlobBlock("a"), BlobBlock("d"), BlobBlock("a")])
    assert blob.download_blob().readall() == b"A" * 10 + b"D" + b"A" * 10
    assert [b.size for b in blob.get_block_list("all")[0]] == [10, 1, 10]
    with pytest.raises(HttpResponseError) as caught:
        blob.commit_block_list([BlobBlock("zzz")])
    assert refusal(caught.value) == (400, "InvalidBlockList")
    service.blob("only-blocks").stage_block("a", b"x")
    names = [b.name for b in service.container().list_blobs("only-", include=["uncommittedblobs"])]
    assert (names, [b.name for b in service.container().list_blobs("only-")]) == (["only-blocks"], [])


def test_a_large_block_blob_goes_up_in_blocks(service: BlobService) -> None:
    data = os.urandom(9 * MIB)
    client = BlobServiceClient(service.url, service.key, max_single_put_size=MIB, max_block_size=2 * MIB)
    with client.get_blob_client("vhds", "large") as blob:
        blob.upload_blob(data, max_concurrency=3)
        assert blob.download_blob().readall() == data


def test_append_blobs_grow_at_their_end(service: BlobService) -> None:
    blob = service.blob("log")
    blob.create_append_blob()
    for number, line in enumerate((b"one\n", b"two\n")):
        done = blob.append_block(line)
        assert (done["blob_append_offset"], done["blob_committed_block_count"]) == (
            str(4 * number),
            number + 1,
        )
    snapshot = taken(blob)
    with pytest.raises(HttpResponseError) as caught:
        blob.append_block(b"x", appendpos_condition=3)
    assert refusal(caught.value) == (412, "AppendPositionConditionNotMet")
    with pytest.raises(HttpResponseError) as caught:
        blob.append_block(b"x", maxsize_condition=8)
    assert refusal(caught.value) == (412, "MaxBlobSizeConditionNotMet")
    blob.append_block_from_url(service.signed("log"), source_offset=0, source_length=4)
    assert blob.download_blob().readall() == b"one\ntwo\none\n"
    old = service.client().get_blob_client("vhds", "log", snapshot=snapshot)
    assert old.download_blob().readall() == b"one\ntwo\n"
    blob.seal_append_blob()
    with pytest.raises(HttpResponseError) as caught:
        blob.append_block(b"x")
    assert refusal(caught.value) == (409, "BlobIsSealed")


# -- tags, properties, soft delete


def test_blobs_are_found_by_their_tags(service: BlobService) -> None:
    client = service.client()
    for number in range(3):
        blob = service.blob(f"tagged-{number}")
        blob.upload_blob(b"x", tags={"os": "debian", "n": str(number)})
    assert service.blob("tagged-1").get_blob_tags() == {"os": "debian", "n": "1"}
    found = client.find_blobs_by_tags("\"os\" = 'debian' AND \"n\" > '0'", results_per_page=1)
    assert [(b.name, (b.tags or {})["n"]) for b in found] == [("tagged-1", "1"), ("tagged-2", "2")]
    names = [b.name for b in client.find_blobs_by_tags("@container='vhds' AND os='debian' AND n>='1'")]
    assert names == ["tagged-1", "tagged-2"]
    service.blob("tagged-1").set_blob_tags({"os": "suse"}, if_tags_match_condition="os='debian'")
    with pytest.raises(HttpResponseError) as caught:
        service.blob("tagged-1").set_blob_tags({"os": "x"}, if_tags_match_condition="os='debian'")
    assert refusal(caught.value) == (412, "ConditionNotMet")


def test_cors_rules_are_kept_and_answered(service: BlobService) -> None:
    client = service.client()
    rule = CorsRule(
        ["http://page.example"], ["GET", "PUT"], allowed_headers=["x-ms-*"], exposed_headers=["etag"]
    )
    client.set_service_properties(cors=[rule])
    kept = client.get_service_properties()["cors"]
    assert [(r.allowed_origins, r.allowed_methods) for r in kept] == [("http://page.example", "GET,PUT")]
    url = f"{service.url}/vhds/some"
    asked = {
        "Origin": "http://page.example",
        "Access-Control-Request-Method": "PUT",
        "Access-Control-Request-Headers": "x-ms-date",
    }
    reply = ask("OPTIONS", url, asked)
    assert (reply.status, reply.getheader("access-control-allow-origin")) == (200, "http://page.example")
    assert ask("OPTIONS", url, asked | {"Origin": "http://evil.example"}).status == 403
    refused = ask("GET", url, {"Origin": "http://page.example"})
    assert refused.getheader("access-control-expose-headers") == "etag"
    client.set_service_properties(cors=[])
    assert ask("OPTIONS", url, asked).status == 403


def test_deleted_blobs_come_back_while_they_are_kept(service: BlobService) -> None:
    client = service.client()
    client.set_service_properties(delete_retention_policy=RetentionPolicy(enabled=True, days=2))
    try:
        blob = page_blob(service, "soft")
        blob.upload_page(b"1" * 512, 0, 512)
        snapshot = taken(blob)
        blob.delete_blob(delete_snapshots="include")
        assert not blob.exists()
        listed = list(service.container().list_blobs("soft", include=["deleted", "snapshots"]))
        assert [(b.snapshot, b.deleted, b.remaining_retention_days) for b in listed] == [
            (snapshot, True, 1),
            (None, True, 1),
        ]
        blob.undelete_blob()
        assert blob.download_blob(0, 512).readall() == b"1" * 512
        blob.delete_blob(delete_snapshots="include")
        blob.upload_blob(b"new")
        blob.upload_blob(b"newer", overwrite=True)
        kept = [b.snapshot for b in service.container().list_blobs("soft", include=["deleted"]) if b.deleted]
        assert len(kept) == 3
        blob.undelete_blob()
        newest = service.client().get_blob_client("vhds", "soft", snapshot=kept[-1])
        assert (newest.download_blob().readall(), blob.download_blob().readall()) == (b"new", b"newer")
    finally:
        client.set_service_properties(delete_retention_policy=RetentionPolicy(enabled=False))


def test_what_the_service_lacks_cannot_be_switched_on(service: BlobService) -> None:
    with pytest.raises(HttpResponseError, match="static websites") as caught:
        service.client().set_service_properties(static_website=StaticWebsite(enabled=True))
    assert refusal(caught.value) == (501, "NotImplemented")


def test_a_container_is_leased(service: BlobService) -> None:
    container = service.client().create_container("leased")
    lease = container.acquire_lease(60)
    assert container.get_container_properties().lease.state == "leased"
    with pytest.raises(HttpResponseError) as caught:
        container.delete_container()
    assert refusal(caught.value) == (412, "LeaseIdMissing")
    with pytest.raises(HttpResponseError) as caught:
        container.set_container_metadata({"a": "b"}, lease="00000000-0000-0000-0000-000000000000")
    assert refusal(caught.value) == (412, "LeaseIdMismatchWithContainerOperation")
    container.set_container_metadata({"a": "b"}, lease=lease)
    container.delete_container(lease=lease)


# -- who may


def test_a_user_delegation_key_signs_for_its_time(service: BlobService) -> None:
    service.blob("delegated").upload_blob(b"for you", overwrite=True)
    key, expiry = delegation_key(service), datetime.now(UTC) + SOON
    sas = generate_blob_sas(
        ACCOUNT, "vhds", "delegated", user_delegation_key=key, permission="r", expiry=expiry
    )
    url = f"{service.url}/vhds/delegated"
    assert BlobClient.from_blob_url(f"{url}?{sas}").download_blob().readall() == b"for you"
    key.value = base64.b64encode(b"of another key, 32 bytes long...").decode()
    forged = generate_container_sas(ACCOUNT, "vhds", user_delegation_key=key, permission="r", expiry=expiry)
    with pytest.raises(HttpResponseError) as caught:
        BlobClient.from_blob_url(f"{url}?{forged}").download_blob()
    assert refusal(caught.value) == (403, "AuthenticationFailed")


def delegation_key(service: BlobService) -> UserDelegationKey:
    """A key for an hour, asked for by hand: the SDK sends tokens over TLS alone."""
    now, form = datetime.now(UTC), "%Y-%m-%dT%H:%M:%SZ"
    body = f"<KeyInfo><Start>{now:{form}}</Start><Expiry>{now + SOON:{form}}</Expiry></KeyInfo>"
    parts = urlsplit(service.url)
    connection = HTTPConnection(parts.netloc)
    connection.request(
        "POST",
        f"{parts.path}/?restype=service&comp=userdelegationkey",
        body.encode(),
        {"Authorization": "Bearer good", "x-ms-version": "2026-02-06"},
    )
    reply = connection.getresponse()
    root = fromstring(reply.read())
    connection.close()
    assert reply.status == 200
    key = UserDelegationKey()  # type: ignore[no-untyped-call]
    for name in ("oid", "tid", "start", "expiry", "service", "version"):
        setattr(key, f"signed_{name}", root.findtext(f"Signed{name.capitalize()}"))
    key.value = root.findtext("Value")
    return key


def test_account_information_is_that_of_the_account(service: BlobService) -> None:
    found = service.client().get_account_information()
    assert (found["sku_name"], found["account_kind"]) == ("Standard_LRS", "StorageV2")


def test_a_batch_deletes_many_and_says_which_it_could_not(service: BlobService) -> None:
    container = service.client().create_container("batch")
    for name in ("a", "b c", "d"):
        container.upload_blob(name, b"x")
    replies = list(container.delete_blobs("a", "missing", "b c", raise_on_any_failure=False))
    assert [reply.status_code for reply in replies] == [202, 404, 202]
    assert [blob.name for blob in container.list_blobs()] == ["d"]
    container.set_standard_blob_tier_blobs("Cool", "d")
    assert container.get_blob_client("d").get_blob_properties().blob_tier == "Cool"
