"""Every refusal that the live service gives is one sentence and a mend, before or at the first byte."""

import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.core.exceptions import ClientAuthenticationError, ServiceRequestError
from azure.storage.blob import BlobClient, BlobLeaseClient, BlobSasPermissions, generate_blob_sas

from tests.client.blob_service import ACCOUNT, BlobService, serving
from tests.client.test_transfer_upload import MIB, Pattern
from vmstamp.cli.managed_disks import check_disk_size
from vmstamp.errors import TransferError, VmstampError
from vmstamp.transfer.blobs import explain, open_blob
from vmstamp.transfer.copy import copy
from vmstamp.transfer.copy_source import CopySource
from vmstamp.transfer.destination import MAX_PAGE_BLOB, check_size
from vmstamp.transfer.page_blob_disk import PageBlobDisk
from vmstamp.transfer.refusals import no_answer, parse_time, refusal
from vmstamp.transfer.upload import upload

HOUR = timedelta(hours=1)
UNREAD = Pattern(MIB, (0, MIB), broken_at=0)  # fails when a byte of it is read


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BlobService]:
    with serving(tmp_path_factory.mktemp("refusals")) as service:
        with open_blob(f"{service.url}/vhds/there.vhd", key=service.key) as blob:
            upload(Pattern(MIB, (0, 512)), blob)
        yield service


def with_sas(service: BlobService, name: str, permission: str, **more: Any) -> BlobClient:
    now = datetime.now(UTC)
    times = {"expiry": now + HOUR} | more
    allowed = BlobSasPermissions.from_string(permission)
    sas = generate_blob_sas(ACCOUNT, "vhds", name, account_key=service.key, permission=allowed, **times)
    return open_blob(f"{service.url}/vhds/{name}?{sas}")


def refused(blob: BlobClient, **more: Any) -> TransferError:
    """The error of an upload, which reads no byte of its disk."""
    with blob, pytest.raises(TransferError) as caught:
        upload(UNREAD, blob, **more)
    assert "sig=" not in caught.value.message + caught.value.hint
    assert "\n" not in caught.value.message and caught.value.hint
    return caught.value


def test_a_wrong_key(service: BlobService) -> None:
    error = refused(open_blob(f"{service.url}/vhds/new.vhd", key="d3Jvbmc="))
    assert "403 AuthenticationFailed: the account key is not one of this account's" in error.message
    assert "two keys" in error.hint


def test_an_expired_sas(service: BlobService) -> None:
    error = refused(with_sas(service, "new.vhd", "rcw", expiry=datetime.now(UTC) - HOUR))
    assert "AuthenticationFailed: the SAS expired at" in error.message
    assert "later expiry" in error.hint


def test_a_sas_of_tomorrow(service: BlobService) -> None:
    later = datetime.now(UTC) + HOUR
    error = refused(with_sas(service, "new.vhd", "rcw", start=later, expiry=later + HOUR))
    assert "the SAS is valid from" in error.message


def test_a_sas_that_was_cut_off(service: BlobService) -> None:
    url = service.signed("new.vhd")
    error = refused(open_blob(url[: url.index("sig=") + 10]))
    assert "the SAS is not valid for this account, blob and time" in error.message
    assert "in quotes" in error.hint


@pytest.mark.parametrize("permission", ["r", "d"])
def test_a_sas_without_the_permission_to_write(service: BlobService, permission: str) -> None:
    error = refused(with_sas(service, "new.vhd", permission))
    assert f"lacks a permission for this (it has sp={permission})" in error.message
    assert "writing r, c and w" in error.hint


def test_a_sas_without_the_permission_to_read(service: BlobService) -> None:
    with pytest.raises(TransferError, match=r"lacks a permission for this \(it has sp=w\)"):
        PageBlobDisk(with_sas(service, "there.vhd", "w"))


def test_a_sas_for_other_addresses(service: BlobService) -> None:
    error = refused(with_sas(service, "new.vhd", "rcw", ip="203.0.113.7"))
    assert "AuthorizationSourceIPMismatch: the SAS is for other addresses" in error.message
    assert "203.0.113.7" in error.message


def test_a_sas_for_https_alone(service: BlobService) -> None:
    error = refused(with_sas(service, "new.vhd", "rcw", protocol="https"))
    assert "the SAS is for https alone" in error.message


def test_nobody_at_all(service: BlobService) -> None:
    error = refused(open_blob(f"{service.url}/vhds/new.vhd"))
    assert "says not who asks" in error.message
    assert "--account-key" in error.hint


def test_a_container_and_a_blob_that_are_not_there(service: BlobService) -> None:
    error = refused(open_blob(f"{service.url}/nowhere/new.vhd", key=service.key))
    assert "404 ContainerNotFound: there is no such container" in error.message
    with pytest.raises(TransferError, match="404 BlobNotFound: there is no such blob"):
        CopySource(open_blob(f"{service.url}/vhds/none.vhd", key=service.key))


def test_a_blob_of_another_kind(service: BlobService) -> None:
    blob = open_blob(f"{service.url}/vhds/text", key=service.key)
    blob.upload_blob(b"x" * 512, overwrite=True)
    with pytest.raises(TransferError, match="is a BlockBlob, no page blob"):
        PageBlobDisk(blob)
    with pytest.raises(TransferError, match="InvalidBlobType: the blob is no page blob"):
        try:
            blob.upload_page(bytes(512), 0, 512)
        except Exception as error:
            raise explain(error, "writing", blob.url) from error  # type: ignore[arg-type]


def test_a_blob_that_a_lease_holds(service: BlobService) -> None:
    url = f"{service.url}/vhds/leased.vhd"
    blob = open_blob(url, key=service.key)
    upload(Pattern(MIB), blob)
    lease = BlobLeaseClient(blob)
    lease.acquire()
    error = refused(open_blob(url, key=service.key), overwrite=True)
    assert "a lease holds the blob" in error.message
    there = CopySource(open_blob(f"{service.url}/vhds/there.vhd", key=service.key))
    with pytest.raises(TransferError, match="a lease holds the blob"):
        copy(there, blob, overwrite=True)
    lease.release()
    copy(there, blob, overwrite=True)


def test_a_port_where_nothing_listens() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        error = refused(open_blob(f"http://127.0.0.1:{probe.getsockname()[1]}/acct/vhds/a.vhd", key="a2V5"))
    assert "no answer: nothing listens at 127.0.0.1:" in error.message
    assert "vmstamp status" in error.hint


def test_a_host_that_is_not_known() -> None:
    error = refused(open_blob("http://acct.blob.host.invalid/vhds/a.vhd", key="a2V5"))
    assert "no answer: there is no host acct.blob.host.invalid" in error.message
    assert "account's name" in error.hint


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed", "is not trusted"),
        ("Read timed out. (read timeout=60)", "time out"),
        ("Connection reset by peer", "Connection reset by peer"),
    ],
)
def test_other_reasons_of_no_answer(reason: str, said: str) -> None:
    url = "https://acct.blob.core.windows.net/vhds/a.vhd"
    error = explain(ServiceRequestError(reason), "reading", url)
    assert said in error.message and error.hint
    assert "is the stamp running" not in no_answer(reason, url).hint


def test_nobody_who_is_signed_in() -> None:
    error = explain(
        ClientAuthenticationError("DefaultAzureCredential failed\nlong"), "reading", "https://a.b/c"
    )
    assert error.message.endswith("nobody is signed in to Azure here")
    assert "az login" in error.hint


NOW = datetime(2026, 1, 2, tzinfo=UTC)


def test_a_firewall_and_a_missing_role_have_their_mends() -> None:
    url = "https://acct.blob.core.windows.net/vhds/a.vhd"
    assert "firewall" in refusal("AuthorizationFailure", url, NOW).said
    assert "Storage Blob Data Contributor" in refusal("AuthorizationPermissionMismatch", url, NOW).hint
    assert refusal("NeverHeardOf", url, NOW).said == ""


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("2026-01-02", NOW),
        ("2026-01-02T00:00Z", NOW),
        ("2026-01-02T00:00:00Z", NOW),
        ("", None),
        ("soon", None),
    ],
)
def test_a_time_of_a_sas(text: str, found: datetime | None) -> None:
    assert parse_time(text) == found


def test_sizes_that_do_not_fit_are_said_before_anything_is_made() -> None:
    check_size(MAX_PAGE_BLOB, "u")
    with pytest.raises(TransferError, match="holds at most 8796093022208"):
        check_size(MAX_PAGE_BLOB + 512, "u")
    with pytest.raises(VmstampError, match="too few"):
        check_disk_size("d", MIB + 512)
    check_disk_size("d", 20 * MIB + 512)
    with pytest.raises(VmstampError, match="too many"):
        check_disk_size("d", 32 * 1024**4 + 512)
