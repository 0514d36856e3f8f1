"""Storage accounts, containers and blobs on the way of the commands: found or made, never asked for."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from azure.core.credentials import TokenCredential
from azure.core.exceptions import AzureError as SdkError
from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError
from azure.storage.blob import BlobClient, BlobServiceClient

from vmstamp import settings
from vmstamp.cli import names
from vmstamp.cli.arm_client import ArmClient, Document
from vmstamp.cli.cloud import authority_of, find_cloud
from vmstamp.cli.endpoint import Endpoint
from vmstamp.cli.quantities import bytes_text, seconds_text
from vmstamp.cli.render import Reporter
from vmstamp.cli.resources import ensure_group, make
from vmstamp.cli.wanted import Wanted
from vmstamp.disk import Disk
from vmstamp.errors import AzureError, TransferError
from vmstamp.transfer.blobs import (
    default_token,
    explain,
    has_sas,
    open_account,
    open_blob,
    parse_blob_url,
    without_sas,
)
from vmstamp.transfer.upload import Uploaded, upload

ACCOUNTS = "Microsoft.Storage/storageAccounts"


@dataclass(frozen=True)
class Account:
    """A storage account: its Blob `endpoint` (no trailing slash) and one of its keys, or a `token`."""

    id: str
    name: str
    endpoint: str
    key: str
    token: TokenCredential | None = None

    def __repr__(self) -> str:
        return f"<storage account {self.name} at {self.endpoint}>"

    def open(self) -> BlobServiceClient:
        return open_account(self.endpoint, self.name, self.key, self.token)

    def blob(self, container: str, name: str) -> BlobClient:
        """A client of one blob; `name` may end in `?snapshot=TIME`."""
        return self.open_url(self.url(container, name))

    def open_url(self, url: str) -> BlobClient:
        """A client of one of the account's blobs, by its URL."""
        return open_blob(url, key=self.key or None, token=self.token)

    def url(self, container: str, name: str) -> str:
        return f"{self.endpoint}/{container}/{name}"


def account_wanted(arm: ArmClient, group: str, name: str = "") -> Wanted:
    """The account `name`; empty: that of the settings, else the subscription's derived one."""
    name = names.check_account(name or own_account_name(arm))
    body = {
        "location": arm.region(group),
        "kind": "StorageV2",
        "sku": {"name": "Standard_LRS"},
    }
    return Wanted("storage account", arm.resource_id(group, ACCOUNTS, name), body)


def own_account_name(arm: ArmClient) -> str:
    """The storage account of uploads: that of the settings, else the subscription's derived one."""
    return settings.ACCOUNT.text() or names.account_name(arm.endpoint.subscription)


def ensure_account(arm: ArmClient, group: str, name: str = "") -> Account:
    """The account `name` (empty: `own_account_name`) wherever it lies, made when absent."""
    found = find_account(arm, name or own_account_name(arm))
    if found is not None:
        return found
    ensure_group(arm, group)
    return _account(arm, make(arm, account_wanted(arm, group, name)))


def find_account(arm: ArmClient, name: str) -> Account | None:
    """The account of that name in any group of the subscription."""
    found = find_account_document(arm, name)
    return None if found is None else _account(arm, found)


def find_account_document(arm: ArmClient, name: str) -> Document | None:
    """What ARM says of the account of that name, in any group of the subscription."""
    collection = f"/subscriptions/{arm.endpoint.subscription}/providers/{ACCOUNTS}"
    return next((one for one in arm.list(collection) if one["name"] == name), None)


def _account(arm: ArmClient, document: Document) -> Account:
    """An account with its key; by who is signed in where keys are not allowed, or not shown to them."""
    properties = document["properties"]
    endpoint = str(properties["primaryEndpoints"]["blob"]).rstrip("/")
    key = ""
    if properties.get("allowSharedKeyAccess") is not False:
        try:
            key = str(arm.post(str(document["id"]), "listKeys")["keys"][0]["value"])
        except AzureError as error:
            if error.code != "AuthorizationFailed":
                raise
    by_token = not key and endpoint.startswith("https:")
    token = default_token(authority_of(endpoint)) if by_token else None
    return Account(str(document["id"]), str(document["name"]), endpoint, key, token)


def ensure_container(account: Account, container: str) -> None:
    """The container, made when it is not there."""
    client = account.open().get_container_client(container)
    try:
        client.create_container()
    except ResourceExistsError:
        return
    except SdkError as error:
        raise explain(error, "creating container", f"{account.endpoint}/{container}") from error


def open_url(url: str, key: str | None = None) -> BlobClient | None:
    """A client for a URL that needs no stamp: with a SAS, with a key, or Azure's; None for all others.

    A blob of Azure without both is opened by the default credential of azure-identity.
    """
    if has_sas(url):
        return open_blob(url)
    if key:
        return open_blob(url, key=key)
    if is_azure(url):
        return open_blob(url, token=default_token(authority_of(url)))
    return None


def is_azure(url: str) -> bool:
    """Whether a URL may be Azure's: https, a host with a domain, and not on this machine."""
    host = urlsplit(url).hostname or ""
    local = host.endswith("localhost") or "." not in host or host.replace(".", "").isdigit() or ":" in host
    return urlsplit(url).scheme == "https" and not local


def open_named(arm: ArmClient, url: str) -> BlobClient:
    """A blob client for a URL: by its SAS, or by the key of the stamp's account that it names.

    An older URL of ours is followed to the port that the stamp has now. A snapshot's stays one.
    """
    if has_sas(url):
        return open_blob(url)
    address = parse_blob_url(url)
    account = find_account(arm, address.account)
    if account is None or urlsplit(account.endpoint).hostname != urlsplit(url).hostname:
        if is_azure(url):
            return open_blob(url, token=default_token(authority_of(url)))
        raise TransferError(
            f"{without_sas(url)}: no key: there is no storage account {address.account} in this "
            f"subscription ({arm.endpoint.cloud})",
            hint="append a SAS to the URL, or pass --account-key",
        )
    query = urlsplit(url).query
    here = account.url(address.container, address.name) + (f"?{query}" if query else "")
    return account.open_url(here)


def destination(arm: ArmClient, group: str, wanted: str, account_name: str = "") -> BlobClient:
    """The blob that an upload goes to; account and container are made when they are the stamp's.

    `wanted`: `CONTAINER/BLOB`, the name of a blob in the container `vhds`, or a URL. `account_name` empty:
    the subscription's derived account.
    """
    if "://" in wanted:
        blob = open_named(arm, wanted)
        address = parse_blob_url(wanted)
        account = find_account(arm, address.account)
        if account is not None and not urlsplit(wanted).query:
            ensure_container(account, address.container)
        return blob
    container, name = names.parse_blob_name(wanted)
    account = ensure_account(arm, group, account_name)
    ensure_container(account, container)
    return account.blob(container, name)


def open_existing(arm: ArmClient, wanted: str) -> BlobClient:
    """A blob that is there: named by URL, or in the stamp's own account, by `CONTAINER/BLOB` or its name.

    `?snapshot=TIME` at the end names one of its snapshots.
    """
    if "://" in wanted:
        return open_named(arm, wanted)
    path, mark, snapshot = wanted.partition("?snapshot=")
    container, name = names.parse_blob_name(path)
    own = own_account_name(arm)
    account = find_account(arm, own)
    if account is None:
        raise TransferError(
            f"{wanted}: there is no storage account {own} yet", hint="vmstamp upload makes it; or name a URL"
        )
    return account.blob(container, name + mark + snapshot)


def open_future(arm: ArmClient, wanted: str, beside: str) -> BlobClient:
    """A client for a blob of the own account, which is not there yet: nothing can be asked of it.

    `wanted` is `CONTAINER/BLOB` or a name, `beside` the URL of another blob: an account that lies in this
    subscription tells where a new one would lie.
    """
    container, name = names.parse_blob_name(wanted)
    endpoint = _future_endpoint(arm, own_account_name(arm), beside)
    return open_blob(f"{endpoint}/{container}/{name}")


def _future_endpoint(arm: ArmClient, name: str, beside: str) -> str:
    """The Blob endpoint that a new account would have, as the cloud names them."""
    if isinstance(arm.endpoint, Endpoint):
        return f"{arm.endpoint.blob}/{name}"
    other = parse_blob_url(beside).account
    there = find_account_document(arm, other)
    if there is not None:
        known = str(there["properties"]["primaryEndpoints"]["blob"]).rstrip("/")
        if urlsplit(known).hostname == urlsplit(beside).hostname:
            return known.replace(other, name, 1)
    return f"https://{name}.blob.{find_cloud(arm.endpoint.cloud).storage_suffix}"


def upload_disk(
    source: Disk,
    blob: BlobClient,
    *,
    overwrite: bool,
    report: Reporter,
    resume: bool = True,
    raw: bool = False,
) -> Uploaded:
    """Upload a disk of any format as a fixed VHD, or `raw`. Raises DiskError and TransferError."""
    name = source.path.name if source.path else "a disk"
    with report.transfer(f"upload {name}") as progress:
        done = upload(source, blob, overwrite=overwrite, resume=resume, raw=raw, progress=progress)
    report.say(f"uploaded {name} as {'a raw disk' if raw else 'a fixed VHD'}: {upload_text(done)}")
    return done


def upload_text(done: Uploaded) -> str:
    """The counters of an upload in one line."""
    counts = [("logical", done.logical), ("data", done.data), ("sent", done.sent), ("skipped", done.skipped)]
    if done.resumed:
        counts.append(("there from before", done.resumed))
    return (
        ", ".join(f"{bytes_text(count)} {name}" for name, count in counts)
        + f" in {seconds_text(done.seconds)}"
    )


def delete_blob(arm: ArmClient, url: str) -> bool:
    """Delete a blob of the stamp; False when it was not there."""
    blob = open_named(arm, url)
    try:
        blob.delete_blob()
    except ResourceNotFoundError:
        return False
    except SdkError as error:
        raise explain(error, "deleting", url) from error
    return True


def drop(blob: BlobClient) -> bool:
    """Delete a blob that is not wanted any more; False when that failed, as when it is gone already."""
    try:
        blob.delete_blob()
    except SdkError:
        return False
    return True
