"""Who may do what, leases, copies and listings, by the official SDK."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen

import pytest
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
)
from azure.storage.blob import (
    AccessPolicy,
    BlobClient,
    BlobLeaseClient,
    ContainerSasPermissions,
    generate_account_sas,
    generate_blob_sas,
    generate_container_sas,
)

from tests.client.blob_service import ACCOUNT, BlobService, refusal, serving
from vmstamp.blob.store import BlobRef

MIB = 2**20
SOON = timedelta(hours=1)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BlobService]:
    with serving(tmp_path_factory.mktemp("access")) as service:
        service.blob("a.vhd").create_page_blob(MIB)
        service.blob("a.vhd").upload_page(b"a" * 512, 512, 512)
        yield service


def blob_sas(service: BlobService, permission: str, name: str = "a.vhd", /, **more: object) -> str:
    more = {"expiry": datetime.now(UTC) + SOON, "permission": permission, **more}
    return generate_blob_sas(ACCOUNT, "vhds", name, account_key=service.key, **more)  # type: ignore[arg-type]


# -- keys


def test_a_wrong_key_is_refused(service: BlobService) -> None:
    with pytest.raises(ClientAuthenticationError) as caught:
        service.blob("a.vhd", credential="d3Jvbmc=").get_blob_properties()
    assert caught.value.status_code == 403
    with pytest.raises(ClientAuthenticationError) as caught:
        service.client("d3Jvbmc=").get_container_client("vhds").create_container()
    assert refusal(caught.value) == (403, "AuthenticationFailed")


def test_both_keys_work_and_a_regenerated_one_stops_at_once(service: BlobService) -> None:
    account = service.store.get_account(ACCOUNT)
    second = service.blob("a.vhd", credential=account.key2)
    assert second.get_blob_properties().size == MIB
    service.store.regenerate_key(ACCOUNT, "key2")
    with pytest.raises(ClientAuthenticationError):
        second.get_blob_properties()
    assert service.blob("a.vhd").exists()


def test_nobody_in_particular_is_refused(service: BlobService) -> None:
    with pytest.raises(ClientAuthenticationError) as caught:
        service.blob("a.vhd", credential=None).download_blob()
    assert refusal(caught.value) == (401, "NoAuthenticationInformation")


def test_a_refusal_reaches_a_client_that_sends_a_large_body(service: BlobService) -> None:
    stranger = service.blob("a.vhd", credential="d3Jvbmc=")
    for _ in range(10):
        with pytest.raises(ClientAuthenticationError) as caught:
            stranger.upload_page(bytes(4 * MIB), 0, 4 * MIB)
        assert refusal(caught.value) == (403, "AuthenticationFailed")


@pytest.mark.parametrize(("token", "status"), [("good", 200), ("bad", 401)])
def test_a_bearer_token_is_judged_by_whoever_made_it(service: BlobService, token: str, status: int) -> None:
    asked = Request(f"{service.url}/vhds/a.vhd", headers={"Authorization": f"Bearer {token}"}, method="HEAD")
    try:
        with urlopen(asked) as answer:
            found = answer.status
    except HTTPError as error:
        with error:
            found = error.code
    assert found == status


def test_the_account_may_stand_in_the_host(service: BlobService) -> None:
    port = urlsplit(service.url).port
    sas = blob_sas(service, "r")
    url = f"http://127.0.0.1:{port}/vhds/a.vhd?{sas}"
    with urlopen(Request(url, headers={"Host": f"{ACCOUNT}.blob.core.localhost:{port}"})) as answer:
        assert len(answer.read()) == MIB


def test_public_access_lets_anybody_read(service: BlobService) -> None:
    service.client().create_container("open", public_access="container")
    service.blob("x", "open").create_page_blob(512)
    anonymous = service.client(None).get_container_client("open")
    assert [blob.name for blob in anonymous.list_blobs()] == ["x"]
    assert len(anonymous.get_blob_client("x").download_blob().readall()) == 512
    with pytest.raises(HttpResponseError):
        anonymous.get_blob_client("x").delete_blob()


# -- shared access signatures


def test_a_blob_sas_opens_its_blob_for_what_it_says(service: BlobService) -> None:
    reader = service.blob("a.vhd", credential=blob_sas(service, "r"))
    assert reader.download_blob(512, 512).readall() == b"a" * 512
    with pytest.raises(HttpResponseError) as caught:
        reader.upload_page(bytes(512), 0, 512)
    assert refusal(caught.value) == (403, "AuthorizationPermissionMismatch")
    with pytest.raises(ClientAuthenticationError) as caught:
        service.blob("other", credential=blob_sas(service, "r")).download_blob()
    assert refusal(caught.value) == (403, "AuthenticationFailed")


@pytest.mark.parametrize("change", [{"expiry": datetime(2020, 1, 1)}, {"start": datetime(2099, 1, 1)}])
def test_a_sas_outside_of_its_time_is_refused(service: BlobService, change: dict[str, datetime]) -> None:
    client = service.blob("a.vhd", credential=blob_sas(service, "r", **change))
    with pytest.raises(ClientAuthenticationError, match="not valid in the specified time frame"):
        client.download_blob()


def test_a_sas_is_bound_to_its_address_and_protocol(service: BlobService) -> None:
    for change, expected in (
        ({"ip": "10.0.0.1"}, "AuthorizationSourceIPMismatch"),
        ({"protocol": "https"}, "AuthorizationProtocolMismatch"),
    ):
        with pytest.raises(HttpResponseError) as caught:
            service.blob("a.vhd", credential=blob_sas(service, "r", **change)).download_blob()
        assert refusal(caught.value) == (403, expected)


def test_who_may_only_create_does_not_overwrite(service: BlobService) -> None:
    creator = service.blob("made", credential=blob_sas(service, "c", "made"))
    creator.create_page_blob(512)
    with pytest.raises(HttpResponseError) as caught:
        creator.create_page_blob(512)
    assert refusal(caught.value) == (403, "AuthorizationPermissionMismatch")


def test_a_stored_policy_carries_a_sas_until_it_is_revoked(service: BlobService) -> None:
    container = service.container()
    policy = AccessPolicy(ContainerSasPermissions(read=True), expiry=datetime.now(UTC) + SOON)
    container.set_container_access_policy({"grant": policy})
    found = container.get_container_access_policy()["signed_identifiers"]
    assert [(entry.id, entry.access_policy.permission) for entry in found] == [("grant", "r")]
    sas = generate_container_sas(ACCOUNT, "vhds", account_key=service.key, policy_id="grant")
    reader = service.blob("a.vhd", credential=sas)
    assert reader.get_blob_properties().size == MIB
    container.set_container_access_policy({})
    with pytest.raises(ClientAuthenticationError):
        reader.get_blob_properties()


def test_an_account_sas_says_which_kinds_of_things(service: BlobService) -> None:
    def client(kinds: str, permission: str) -> BlobClient:
        sas = generate_account_sas(ACCOUNT, service.key, kinds, permission, datetime.now(UTC) + SOON)
        return service.blob("a.vhd", credential=sas)

    assert client("o", "r").get_blob_properties().size == MIB
    with pytest.raises(HttpResponseError) as caught:
        client("s", "r").download_blob()
    assert refusal(caught.value) == (403, "AuthorizationResourceTypeMismatch")
    with pytest.raises(HttpResponseError) as caught:
        client("o", "l").download_blob()
    assert refusal(caught.value) == (403, "AuthorizationPermissionMismatch")


def test_a_hidden_account_is_reached_by_its_sas_only(service: BlobService) -> None:
    ref = BlobRef("md-0123456789ab", "disk", "abcd")
    account = service.store.create_account(ref.account, hidden=True)
    service.store.create_container(*ref[:2])
    service.store.create_page_blob(ref, MIB)
    service.store.set_access_policy(*ref[:2], "p", "rw", None, datetime.now(UTC) + SOON)
    sas = service.store.sign_sas(ref, permissions="", start=None, expiry=None, policy="p")
    url = service.url.removesuffix(ACCOUNT) + "/".join(ref[:3])
    disk = BlobClient.from_blob_url(f"{url}?{sas}", retry_total=0)
    disk.upload_page(b"m" * 512, 0, 512)
    assert disk.download_blob(0, 512).readall() == b"m" * 512
    for call in (lambda: disk.create_page_blob(MIB), disk.delete_blob):
        with pytest.raises(HttpResponseError) as caught:
            call()
        assert caught.value.status_code in (403, 409)
    with pytest.raises(HttpResponseError):
        BlobClient.from_blob_url(url, credential=account.key1, retry_total=0).get_blob_properties()
    service.store.clear_access_policies(*ref[:2])
    with pytest.raises(ClientAuthenticationError):
        disk.download_blob()


def test_a_path_whose_slashes_are_encoded_is_the_same_blob(service: BlobService) -> None:
    service.blob("dir/b c").create_page_blob(512)
    sas = blob_sas(service, "r", "dir/b c")
    with urlopen(f"{service.url}/vhds/{quote('dir/b c', safe='')}?{sas}") as answer:
        assert len(answer.read()) == 512


# -- leases


def test_a_lease_keeps_others_from_writing(service: BlobService) -> None:
    blob = service.blob("leased")
    blob.create_page_blob(MIB)
    lease = blob.acquire_lease(-1)
    assert blob.get_blob_properties().lease.state == "leased"
    with pytest.raises(HttpResponseError) as caught:
        blob.upload_page(bytes(512), 0, 512)
    assert refusal(caught.value) == (412, "LeaseIdMissing")
    with pytest.raises(HttpResponseError) as caught:
        blob.delete_blob(lease="00000000-0000-0000-0000-000000000001")
    assert refusal(caught.value) == (412, "LeaseIdMismatchWithBlobOperation")
    with pytest.raises(ResourceExistsError) as exists:
        blob.acquire_lease(15)
    assert refusal(exists.value) == (409, "LeaseAlreadyPresent")
    blob.upload_page(b"l" * 512, 0, 512, lease=lease)
    lease.change("00000000-0000-0000-0000-000000000002")
    lease.renew()
    lease.release()
    blob.delete_blob()


def test_a_broken_lease_lets_others_in(service: BlobService) -> None:
    blob = service.blob("broken")
    blob.create_page_blob(MIB)
    blob.acquire_lease(60)
    assert BlobLeaseClient(blob).break_lease(0) == 0
    assert blob.get_blob_properties().lease.state == "broken"
    blob.upload_page(bytes(512), 0, 512)


# -- copies


def test_a_copy_has_the_sources_bytes_ranges_and_facts(service: BlobService) -> None:
    source, target = service.blob("a.vhd"), service.blob("copy.vhd")
    done = target.start_copy_from_url(source.url)
    assert done["copy_status"] == "success"
    found = target.get_blob_properties()
    assert (found.copy.id, found.copy.source, found.size) == (done["copy_id"], source.url, MIB)
    assert found.copy.progress == f"{MIB}/{MIB}"
    target.upload_page(b"t" * 512, 0, 512)
    assert source.download_blob(0, 1024).readall() == bytes(512) + b"a" * 512
    assert [(r.start, r.end) for r in target.list_page_ranges()] == [(0, 1023)]
    with pytest.raises(ResourceExistsError) as caught:
        target.abort_copy(str(done["copy_id"]))
    assert refusal(caught.value) == (409, "NoPendingCopyOperation")


def test_a_copy_between_accounts_needs_the_sources_sas(service: BlobService) -> None:
    other = service.store.create_account("other")
    service.store.create_container("other", "vhds")
    url = service.url.removesuffix(ACCOUNT) + "other/vhds/copied"
    target = BlobClient.from_blob_url(url, credential={"account_name": "other", "account_key": other.key1})
    source = service.blob("a.vhd")
    with pytest.raises(HttpResponseError) as caught:
        target.start_copy_from_url(source.url)
    assert refusal(caught.value)[1] == "CannotVerifyCopySource"
    target.start_copy_from_url(f"{source.url}?{blob_sas(service, 'r')}")
    copy = target.get_blob_properties().copy
    assert (copy.status, "sig=" in str(copy.source)) == ("success", False)


def test_a_copy_from_a_service_that_does_not_answer_is_refused(service: BlobService) -> None:
    with pytest.raises(HttpResponseError, match="no answer") as caught:
        service.blob("b").start_copy_from_url("https://nowhere.invalid/vhds/a.vhd?sig=secret")
    assert refusal(caught.value) == (404, "CannotVerifyCopySource")
    assert "secret" not in str(caught.value)


# -- containers and listings


def test_containers_are_made_listed_and_deleted(service: BlobService) -> None:
    client = service.client()
    for name in ("list-a", "list-b", "list-c"):
        client.create_container(name, metadata={"n": name})
    pages = list(client.list_containers("list-", results_per_page=2).by_page())
    assert [[container.name for container in page] for page in pages] == [["list-a", "list-b"], ["list-c"]]
    with pytest.raises(ResourceExistsError) as caught:
        client.create_container("list-a")
    assert refusal(caught.value) == (409, "ContainerAlreadyExists")
    assert client.get_container_client("list-a").get_container_properties().metadata == {"n": "list-a"}
    client.delete_container("list-a")
    with pytest.raises(ResourceNotFoundError) as missing:
        client.get_container_client("list-a").get_blob_client("x").create_page_blob(512)
    assert refusal(missing.value) == (404, "ContainerNotFound")


def test_blobs_are_listed_by_prefix_and_folded_at_a_delimiter(service: BlobService) -> None:
    container = service.client().create_container("folders")
    for name in ("a/1", "a/2", "b", "c/1", "d&<ü>"):
        container.get_blob_client(name).create_page_blob(512, metadata={"k": name[0]})
    assert [blob.name for blob in container.list_blobs()] == ["a/1", "a/2", "b", "c/1", "d&<ü>"]
    assert [blob.name for blob in container.list_blobs(name_starts_with="a/")] == ["a/1", "a/2"]
    assert [item.name for item in container.walk_blobs()] == ["a/", "c/", "b", "d&<ü>"]
    pages = list(container.list_blobs(results_per_page=2, include=["metadata", "copy"]).by_page())
    assert [[blob.metadata["k"] for blob in page] for page in pages] == [["a", "a"], ["b", "c"], ["d"]]
