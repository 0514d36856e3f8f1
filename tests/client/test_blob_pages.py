"""Page blobs by the official SDK: bytes, ranges, sizes, sequence numbers, digests, conditions."""

import asyncio
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from urllib.parse import quote, urlsplit

import pytest
from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceModifiedError
from azure.storage.blob import ContentSettings, ImmutabilityPolicy, SequenceNumberAction, generate_blob_sas
from azure.storage.blob.aio import BlobServiceClient as AsyncBlobServiceClient

from tests.client.blob_service import ACCOUNT, BlobService, refusal, serving

MIB = 2**20


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BlobService]:
    with serving(tmp_path_factory.mktemp("pages")) as service:
        yield service


def raw(service: BlobService, method: str, name: str, headers: dict[str, str]) -> tuple[int, dict[str, str]]:
    """A request of our own, for what the SDK does not let through: status and headers of the reply."""
    expiry = datetime.now(UTC) + timedelta(hours=1)
    sas = generate_blob_sas(ACCOUNT, "vhds", name, account_key=service.key, permission="rcwd", expiry=expiry)
    url = urlsplit(service.url)
    connection = HTTPConnection(url.netloc, timeout=30)
    try:
        connection.request(method, f"{url.path}/vhds/{quote(name)}?{sas}", headers=headers)
        reply = connection.getresponse()
        reply.read()
        return reply.status, {key.lower(): value for key, value in reply.getheaders()}
    finally:
        connection.close()


def test_pages_are_written_cleared_and_read(service: BlobService) -> None:
    blob = service.blob("a.vhd")
    blob.create_page_blob(16 * MIB)
    data = os.urandom(4 * MIB)
    blob.upload_page(data, 2 * MIB, 4 * MIB)
    blob.upload_page(b"x" * 512, 15 * MIB, 512)
    blob.clear_page(3 * MIB, MIB)
    expected = bytearray(16 * MIB)
    expected[2 * MIB : 6 * MIB] = data
    expected[3 * MIB : 4 * MIB] = bytes(MIB)
    expected[15 * MIB : 15 * MIB + 512] = b"x" * 512
    assert blob.download_blob().readall() == expected
    assert blob.download_blob(2 * MIB - 7, 100).readall() == expected[2 * MIB - 7 : 2 * MIB + 93]
    assert [(r.start, r.end) for r in blob.list_page_ranges()] == [
        (2 * MIB, 3 * MIB - 1),
        (4 * MIB, 6 * MIB - 1),
        (15 * MIB, 15 * MIB + 511),
    ]


def test_ranges_come_in_pages_of_results(service: BlobService) -> None:
    blob = service.blob("pieces")
    blob.create_page_blob(MIB)
    for page in range(0, 20, 2):
        blob.upload_page(b"p" * 512, page * 512, 512)
    pages = blob.list_page_ranges(results_per_page=3).by_page()
    found = [[(r.start or 0) // 512 for r in page] for page in pages]
    assert found == [[0, 2, 4], [6, 8, 10], [12, 14, 16], [18]]
    assert [r.start for r in blob.list_page_ranges(offset=1024, length=1024)] == [1024]


def test_the_clients_digests_are_checked(service: BlobService) -> None:
    blob = service.blob("digests")
    blob.create_page_blob(MIB)
    done = blob.upload_page(b"d" * 512, 0, 512, validate_content=True)
    assert done["content_crc64"] is not None or done["content_md5"] is not None
    with pytest.raises(HttpResponseError) as caught:
        blob.upload_page(b"d" * 512, 512, 512, headers={"Content-MD5": "1B2M2Y8AsgTpgAmY7PhCfg=="})
    assert refusal(caught.value) == (400, "Md5Mismatch")
    with pytest.raises(HttpResponseError) as caught:
        blob.upload_page(b"d" * 512, 512, 512, headers={"x-ms-content-crc64": "AAAAAAAAAAA="})
    assert refusal(caught.value) == (400, "Crc64Mismatch")
    assert len(list(blob.list_page_ranges())) == 1
    assert blob.download_blob(0, 512, validate_content=True).readall() == b"d" * 512


@pytest.mark.parametrize(
    ("offset", "length", "status", "code"),
    [(MIB, 512, 416, "InvalidPageRange"), (MIB - 512, 1024, 416, "InvalidPageRange")],
)
def test_pages_beyond_the_end_are_refused(
    service: BlobService, offset: int, length: int, status: int, code: str
) -> None:
    blob = service.blob("end")
    blob.create_page_blob(MIB)
    with pytest.raises(HttpResponseError) as caught:
        blob.upload_page(bytes(length), offset, length)
    assert refusal(caught.value) == (status, code)


@pytest.mark.parametrize("size", ["1000", str(8 * 2**40 + 512), "-512", "x"])
def test_a_size_that_no_page_blob_has_is_refused(service: BlobService, size: str) -> None:
    headers = {"x-ms-blob-type": "PageBlob", "x-ms-blob-content-length": size, "Content-Length": "0"}
    status, reply = raw(service, "PUT", "odd", headers)
    assert (status, reply["x-ms-error-code"]) == (400, "InvalidHeaderValue")


def test_a_range_of_an_empty_blob_is_not_satisfiable(service: BlobService) -> None:
    blob = service.blob("empty")
    blob.create_page_blob(0)
    assert blob.download_blob().readall() == b""
    with pytest.raises(HttpResponseError) as caught:
        blob.download_blob(5, 1).readall()
    assert refusal(caught.value) == (416, "InvalidRange")


def test_a_blob_grows_and_shrinks(service: BlobService) -> None:
    blob = service.blob("size")
    blob.create_page_blob(MIB)
    blob.upload_page(b"s" * 1024, MIB - 1024, 1024)
    blob.resize_blob(2 * MIB)
    blob.resize_blob(MIB - 512)
    blob.resize_blob(MIB)
    assert blob.get_blob_properties().size == MIB
    assert blob.download_blob(MIB - 1024, 1024).readall() == b"s" * 512 + bytes(512)


def test_the_sequence_number_is_kept_and_guards_writes(service: BlobService) -> None:
    blob = service.blob("sequence")
    blob.create_page_blob(MIB, sequence_number=5)
    blob.set_sequence_number(SequenceNumberAction.Increment.value)
    blob.set_sequence_number(SequenceNumberAction.Max.value, "3")
    assert blob.get_blob_properties().page_blob_sequence_number == 6
    blob.upload_page(b"q" * 512, 0, 512, if_sequence_number_lte=6)
    with pytest.raises(HttpResponseError) as caught:
        blob.upload_page(b"q" * 512, 512, 512, if_sequence_number_lt=6)
    assert refusal(caught.value) == (412, "SequenceNumberConditionNotMet")


def test_properties_and_metadata_are_kept(service: BlobService) -> None:
    blob = service.blob("facts")
    blob.create_page_blob(MIB, metadata={"role": "os"}, content_settings=ContentSettings(content_type="a/b"))
    blob.set_http_headers(ContentSettings(content_type="application/x-vhd", cache_control="no-store"))
    blob.set_blob_metadata({"colour": "rot"})
    found = blob.get_blob_properties()
    assert (found.content_settings.content_type, found.content_settings.cache_control) == (
        "application/x-vhd",
        "no-store",
    )
    assert (found.metadata, found.blob_type, found.size) == ({"colour": "rot"}, "PageBlob", MIB)
    assert found.last_modified <= datetime.now(UTC)


def test_conditions_guard_reads_and_writes(service: BlobService) -> None:
    blob = service.blob("conditions")
    first = blob.create_page_blob(MIB)
    second = blob.upload_page(
        b"c" * 512, 0, 512, etag=str(first["etag"]), match_condition=MatchConditions.IfNotModified
    )
    assert second["etag"] != first["etag"]
    with pytest.raises(ResourceModifiedError) as caught:
        blob.upload_page(
            b"c" * 512, 0, 512, etag=str(first["etag"]), match_condition=MatchConditions.IfNotModified
        )
    assert refusal(caught.value) == (412, "ConditionNotMet")
    with pytest.raises(HttpResponseError) as unchanged:
        blob.get_blob_properties(etag=str(second["etag"]), match_condition=MatchConditions.IfModified)
    assert unchanged.value.status_code == 304
    with pytest.raises(HttpResponseError) as missed:
        blob.get_blob_properties(if_unmodified_since=datetime.now(UTC) - timedelta(hours=1))
    assert missed.value.status_code == 412
    with pytest.raises(ResourceExistsError) as exists:
        blob.create_page_blob(MIB, match_condition=MatchConditions.IfMissing)
    assert refusal(exists.value) == (409, "BlobAlreadyExists")


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("GET", {"Range": "bytes=9-1"}),
        ("HEAD", {"If-Modified-Since": "yesterday"}),
        ("PUT", {"x-ms-blob-type": "PageBlob", "x-ms-blob-content-length": "512", "x-ms-lease-id": "mine"}),
        ("PUT", {"x-ms-blob-type": "Cat"}),
        ("PUT", {"x-ms-copy-source": "http://["}),
        ("PUT", {"x-ms-copy-source": "/vhds/malformed"}),
    ],
)
def test_malformed_headers_are_named(service: BlobService, method: str, headers: dict[str, str]) -> None:
    service.blob("malformed").create_page_blob(512)
    status, reply = raw(service, method, "malformed", {"Content-Length": "0", **headers})
    assert status == 400
    assert reply["x-ms-error-code"] in ("InvalidHeaderValue", "UnsupportedOperation")


@pytest.mark.parametrize("version", ["2018-03-28", "2026-02-06", "2031-01-01"])
def test_the_clients_version_is_answered_whatever_it_is(service: BlobService, version: str) -> None:
    service.blob("version").create_page_blob(512)
    status, reply = raw(service, "HEAD", "version", {"x-ms-version": version})
    assert (status, reply["x-ms-version"], reply["content-length"]) == (200, version, "512")


def test_small_block_blobs_are_written_whole(service: BlobService) -> None:
    blob = service.blob("log.txt")
    blob.upload_blob(b"hello", content_settings=ContentSettings(content_type="text/plain"))
    found = blob.download_blob()
    assert (found.readall(), found.properties.content_settings.content_type) == (b"hello", "text/plain")
    assert found.properties.blob_type == "BlockBlob"
    with pytest.raises(HttpResponseError) as caught:
        blob.upload_page(bytes(512), 0, 512)
    assert refusal(caught.value) == (409, "InvalidBlobType")


def test_what_is_not_offered_is_named_and_not_retried(service: BlobService) -> None:
    blob = service.blob("refused")
    blob.upload_blob(b"x")
    until = datetime.now(UTC) + timedelta(days=1)
    policy = ImmutabilityPolicy(expiry_time=until, policy_mode="Unlocked")
    for call, name in (
        (lambda: blob.set_immutability_policy(policy), "immutability policies"),
        (lambda: blob.set_legal_hold(True), "legal holds"),
        (lambda: blob.query_blob("SELECT * FROM BlobStorage").readall(), "Query Blob Contents"),
        (lambda: blob.set_standard_blob_tier("Archive"), "archive tier"),
        (lambda: blob.download_blob(version_id="2026-01-01T00:00:00.0000000Z"), "versions of blobs"),
    ):
        with pytest.raises(HttpResponseError, match=name) as caught:
            call()
        assert caught.value.status_code == 501


def test_the_asynchronous_client_works_too(service: BlobService) -> None:
    async def walk() -> bytes:
        async with AsyncBlobServiceClient(service.url, service.key) as client:
            blob = client.get_blob_client("vhds", "async name/with ä")
            await blob.create_page_blob(MIB)
            await blob.upload_page(b"a" * 512, 512, 512)
            return await (await blob.download_blob(0, 1536)).readall()

    assert asyncio.run(walk()) == bytes(512) + b"a" * 512 + bytes(512)
    assert service.blob("async name/with ä").get_blob_properties().size == MIB
