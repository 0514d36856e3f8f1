"""Which operation a request is, what it needs, and its run; free of any web framework.

An operation that the service does not offer is refused by its name in the REST reference.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import unquote, urlsplit

from vmstamp.blob import auth, blob_ops, container_ops, faults, lease_ops
from vmstamp.blob.request import Grant, Reply, Request, parse_address
from vmstamp.blob.store import BlobStore
from vmstamp.errors import AzureError

SMALL_BODY: Final = 2**20  # bytes; documents of XML
Run = Callable[[BlobStore, Request], Reply]


@dataclass(frozen=True)
class Operation:
    """`permissions`: any of these letters of a SAS lets it run, "" none does: it needs an account key.

    `resource` is the letter of an account SAS's `srt`; `body` the largest body in bytes. `remakes` what a
    managed disk's blob does not take: its size and its being are the disk's.
    """

    name: str
    run: Run
    permissions: str
    resource: str
    body: int = 0
    remakes: bool = False


_SERVICE: Final = {
    ("GET", "list"): Operation("List Containers", container_ops.list_containers, "l", "s"),
}
_CONTAINER: Final = {
    ("PUT", ""): Operation("Create Container", container_ops.create_container, "cw", "c", remakes=True),
    ("DELETE", ""): Operation("Delete Container", container_ops.delete_container, "d", "c", remakes=True),
    ("GET", ""): Operation("Get Container Properties", container_ops.get_container, "r", "c"),
    ("HEAD", ""): Operation("Get Container Properties", container_ops.get_container, "r", "c"),
    ("GET", "metadata"): Operation("Get Container Metadata", container_ops.get_container, "r", "c"),
    ("HEAD", "metadata"): Operation("Get Container Metadata", container_ops.get_container, "r", "c"),
    ("PUT", "metadata"): Operation(
        "Set Container Metadata", container_ops.set_container_metadata, "w", "c", remakes=True
    ),
    ("GET", "acl"): Operation("Get Container ACL", container_ops.get_container_acl, "", "c"),
    ("HEAD", "acl"): Operation("Get Container ACL", container_ops.get_container_acl, "", "c"),
    ("PUT", "acl"): Operation(
        "Set Container ACL", container_ops.set_container_acl, "", "c", SMALL_BODY, remakes=True
    ),
    ("GET", "list"): Operation("List Blobs", container_ops.list_blobs, "l", "c"),
}
_BLOB: Final = {
    ("GET", ""): Operation("Get Blob", blob_ops.get_blob, "r", "o"),
    ("HEAD", ""): Operation("Get Blob Properties", blob_ops.get_blob, "r", "o"),
    ("DELETE", ""): Operation("Delete Blob", blob_ops.delete_blob, "d", "o", remakes=True),
    ("GET", "pagelist"): Operation("Get Page Ranges", blob_ops.get_page_ranges, "r", "o"),
    ("GET", "metadata"): Operation("Get Blob Metadata", blob_ops.get_metadata, "r", "o"),
    ("HEAD", "metadata"): Operation("Get Blob Metadata", blob_ops.get_metadata, "r", "o"),
    ("PUT", "metadata"): Operation("Set Blob Metadata", blob_ops.set_metadata, "w", "o"),
    ("PUT", "properties"): Operation("Set Blob Properties", blob_ops.set_properties, "w", "o", remakes=True),
    ("PUT", "lease"): Operation("Lease Blob", lease_ops.lease_blob, "wd", "o", remakes=True),
    ("PUT", "copy"): Operation("Abort Copy Blob", blob_ops.abort_copy, "w", "o"),
}
_PAGES: Final = {
    "update": Operation("Put Page", blob_ops.update_pages, "w", "o", blob_ops.MAXIMUM_PAGES),
    "clear": Operation("Clear Pages", blob_ops.clear_pages, "w", "o"),
}
_MAKES: Final = {
    "PageBlob": Operation("Put Blob", blob_ops.put_page_blob, "cw", "o", remakes=True),
    "BlockBlob": Operation(
        "Put Blob", blob_ops.put_block_blob, "cw", "o", blob_ops.MAXIMUM_BLOCK_BLOB, remakes=True
    ),
}
# What the REST reference has and this service does not, by the query's `comp`.
_UNSUPPORTED: Final = {
    "account": "Get Account Information",
    "appendblock": "Append Block",
    "batch": "Blob Batch",
    "block": "Put Block",
    "blocklist": "Put Block List and Get Block List",
    "blobs": "Find Blobs by Tags",
    "expiry": "Set Blob Expiry",
    "immutabilityPolicies": "Set Immutability Policy",
    "incrementalcopy": "Incremental Copy Blob",
    "legalhold": "Set Legal Hold",
    "properties": "service properties",
    "query": "Query Blob Contents",
    "seal": "Append Blob Seal",
    "snapshot": "Snapshot Blob",
    "stats": "Get Blob Service Stats",
    "tags": "blob tags",
    "tier": "Set Blob Tier",
    "undelete": "undelete",
    "userdelegationkey": "Get User Delegation Key",
}
# Headers that change what an operation does, and parameters that name what is never there.
_UNSUPPORTED_HEADERS: Final = {
    "x-ms-access-tier": "access tiers",
    "x-ms-copy-source-authorization": "copy sources opened by a bearer token",
    "x-ms-encryption-key": "customer-provided encryption keys",
    "x-ms-encryption-scope": "encryption scopes",
    "x-ms-if-tags": "conditions on blob tags",
    "x-ms-immutability-policy-until-date": "immutability policies",
    "x-ms-legal-hold": "legal holds",
    "x-ms-source-if-tags": "conditions on blob tags",
    "x-ms-structured-body": "structured message bodies",
    "x-ms-tags": "blob tags",
}
_UNSUPPORTED_PARAMETERS: Final = {"snapshot": "snapshots of blobs", "versionid": "versions of blobs"}


class Operations:
    """Finds and runs operations. `authorities` are the hosts and ports by which this service is reached."""

    def __init__(
        self,
        store: BlobStore,
        authorities: Collection[str] = (),
        verify_token: auth.VerifyToken | None = None,
    ) -> None:
        self._store = store
        self._authorities = frozenset(authorities)
        self._verify_token = verify_token

    def find(self, request: Request) -> Operation:
        """The operation of a request. Raises AzureError that names what is not supported."""
        comp, scope = request.query.get("comp", ""), request.query.get("restype", "")
        if request.method == "OPTIONS":
            raise faults.unsupported("CORS")
        _refuse_extras(request)
        if request.address.blob:
            found = self._find_for_blob(request, comp)
        elif request.address.container and scope == "container":
            found = _CONTAINER.get((request.method, comp))
        elif not request.address.container:
            found = None if scope else _SERVICE.get((request.method, comp))
        else:
            raise faults.fault("InvalidQueryParameterValue", "restype=container is missing.")
        if found is not None:
            return found
        name = _UNSUPPORTED.get("account" if scope == "account" else comp)
        if name is None and not comp:
            raise faults.fault("UnsupportedHttpVerb")
        raise faults.unsupported(name or f"comp={comp}")

    def _find_for_blob(self, request: Request, comp: str) -> Operation | None:
        if (request.method, comp) == ("PUT", "page"):
            if request.header("x-ms-copy-source"):
                raise faults.unsupported("Put Page From URL")
            wanted = request.required_header("x-ms-page-write").lower()
            if wanted not in _PAGES:
                raise faults.invalid_header("x-ms-page-write", wanted)
            return _PAGES[wanted]
        if (request.method, comp) == ("PUT", ""):
            return self._find_maker(request)
        return _BLOB.get((request.method, comp))

    def _find_maker(self, request: Request) -> Operation:
        kind = request.header("x-ms-blob-type")
        if request.header("x-ms-copy-source"):
            if kind:
                raise faults.unsupported("Put Blob From URL")
            if request.header("x-ms-requires-sync").lower() == "true":
                raise faults.unsupported("Copy Blob From URL")
            return Operation("Copy Blob", self._copy, "cw", "o", remakes=True)
        if not kind:
            raise faults.missing_header("x-ms-blob-type")
        if kind == "AppendBlob":
            raise faults.unsupported("append blobs")
        if kind not in _MAKES:
            raise faults.invalid_header("x-ms-blob-type", kind)
        return _MAKES[kind]

    def authorize(self, request: Request, operation: Operation) -> Request:
        """The request with what it may do. Raises AzureError when that is not enough."""
        request = self._authenticate(request)
        grant = request.grant
        if grant.everything:
            return request
        if grant.by == "account SAS" and operation.resource not in grant.resources:
            raise faults.fault("AuthorizationResourceTypeMismatch")
        if not set(operation.permissions) & set(grant.permissions):
            raise _not_allowed(grant)
        if grant.by == "service SAS" and operation.resource != "o" and operation.permissions != "l":
            raise faults.fault("AuthorizationFailure")
        account = self._store.get_account(request.address.account)
        if account.hidden and operation.remakes:
            raise faults.fault("ApiNotSupportedForAccount", f"{operation.name} is not for managed disks.")
        return request

    def _authenticate(self, request: Request) -> Request:
        address = request.address
        account = self._store.find_account(address.account)
        if account is None:
            raise faults.fault("ResourceNotFound", f"There is no storage account {address.account!r}.")
        container = self._store.find_container(address.account, address.container)
        grant = auth.authenticate(request, account, container, self._store.now(), self._verify_token)
        return replace(request, grant=grant)

    def _copy(self, store: BlobStore, request: Request) -> Reply:
        return blob_ops.copy_blob(store, request, self._open_source(request))

    def _open_source(self, request: Request) -> Request:
        """The authorised read of a copy's source: by its SAS, by public access, or in the same account."""
        try:
            parts = urlsplit(request.header("x-ms-copy-source"))
        except ValueError:
            raise faults.invalid_header("x-ms-copy-source", "not a URL") from None
        if _service(parts.netloc) not in {_service(request.host), *self._authorities}:
            raise faults.unsupported(f"Copy Blob from another service ({parts.scheme}://{parts.netloc})")
        source = Request(
            method="GET",
            raw_path=parts.path,
            raw_query=parts.query,
            query=parse_query(parts.query),
            headers={},
            address=parse_address(parts.netloc, parts.path),
            scheme=parts.scheme,
            host=parts.netloc,
            client=request.client,
        )
        if not source.address.blob:
            raise faults.invalid_header("x-ms-copy-source", source.url)
        _refuse_extras(source)
        if request.grant.everything and source.address.account == request.address.account:
            return source
        try:
            source = self._authenticate(source)
        except AzureError as error:
            raise AzureError(error.status, "CannotVerifyCopySource", error.message) from error
        if not source.grant.everything and "r" not in source.grant.permissions:
            raise AzureError(403, "CannotVerifyCopySource", "The source's SAS does not allow to read it.")
        return source

    def run(self, request: Request, operation: Operation) -> Reply:
        """Do it. Blocks. Raises AzureError."""
        return operation.run(self._store, request)


def parse_query(raw: str) -> dict[str, str]:
    """Query parameters by lower-case name; "+" stays what it is, as in signatures."""
    parts = (part.partition("=") for part in raw.split("&") if part)
    return {unquote(name).lower(): unquote(value) for name, _, value in parts}


def _refuse_extras(request: Request) -> None:
    for names, table in ((request.headers, _UNSUPPORTED_HEADERS), (request.query, _UNSUPPORTED_PARAMETERS)):
        for name, what in table.items():
            if names.get(name):
                raise faults.unsupported(what)


def _service(host: str) -> str:
    """A host, with its port, without the account that host style puts first."""
    account, mark, suffix = host.partition(".blob.")
    return suffix if mark and "." not in account else host


def _not_allowed(grant: Grant) -> AzureError:
    if grant.by == "public":
        return faults.fault("NoAuthenticationInformation")
    return faults.fault("AuthorizationPermissionMismatch")
