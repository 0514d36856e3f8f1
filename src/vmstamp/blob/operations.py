"""Which operation a request is, what it needs, and its run; free of any web framework.

An operation that the service does not offer is refused by its name in the REST reference.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from vmstamp.blob import (
    auth,
    batch_ops,
    blob_ops,
    block_ops,
    container_ops,
    copy_ops,
    faults,
    lease_ops,
    page_ops,
    service_ops,
    tag_ops,
)
from vmstamp.blob.copies import Copies
from vmstamp.blob.copy_ops import Opener
from vmstamp.blob.locks import WouldWait
from vmstamp.blob.request import Grant, Reply, Request
from vmstamp.blob.store import BlobStore
from vmstamp.errors import AzureError

T = TypeVar("T")

SMALL_BODY: Final = 2**20  # bytes; documents of XML
LARGE_BODY: Final = 16 * 2**20  # bytes; a list of all blocks
Run = Callable[[BlobStore, Request], Reply]


@dataclass(frozen=True)
class Operation:
    """`permissions`: any of these letters of a SAS lets it run, "" none does: it needs an account key.

    `resource` is the letter of an account SAS's `srt`; `body` the largest body in bytes. `snapshots`: whether
    it takes a snapshot. `remakes` what a managed disk's blob does not take: its size and its being are the
    disk's. `quick`: with a small body it takes well below a millisecond, if it need not wait for another.
    """

    name: str
    run: Run
    permissions: str
    resource: str
    body: int = 0
    snapshots: bool = False
    remakes: bool = False
    quick: bool = False


Table = Mapping[tuple[str, str], Operation]

_INFORMATION: Final = Operation(
    "Get Account Information", service_ops.get_account_information, "rwdlacup", "sco"
)
_SERVICE: Final[Table] = {
    ("GET", "list"): Operation("List Containers", container_ops.list_containers, "l", "s"),
    ("GET", "properties"): Operation("Get Blob Service Properties", service_ops.get_properties, "r", "s"),
    ("PUT", "properties"): Operation(
        "Set Blob Service Properties", service_ops.set_properties, "w", "s", SMALL_BODY, remakes=True
    ),
    ("POST", "userdelegationkey"): Operation(
        "Get User Delegation Key", service_ops.get_user_delegation_key, "", "s", SMALL_BODY
    ),
    ("GET", "blobs"): Operation("Find Blobs by Tags", tag_ops.find_blobs, "f", "s"),
}
_CONTAINER: Final[Table] = {
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
    ("PUT", "lease"): Operation("Lease Container", lease_ops.lease_container, "wd", "c", remakes=True),
    ("GET", "list"): Operation("List Blobs", container_ops.list_blobs, "l", "c"),
    ("GET", "blobs"): Operation("Find Blobs by Tags in Container", tag_ops.find_blobs, "f", "c"),
}
_BLOB: Final[Table] = {
    ("GET", ""): Operation("Get Blob", blob_ops.get_blob, "r", "o", snapshots=True, quick=True),
    ("HEAD", ""): Operation("Get Blob Properties", blob_ops.get_blob, "r", "o", snapshots=True, quick=True),
    ("DELETE", ""): Operation("Delete Blob", blob_ops.delete_blob, "d", "o", snapshots=True, remakes=True),
    ("PUT", "undelete"): Operation("Undelete Blob", blob_ops.undelete_blob, "w", "o", remakes=True),
    ("GET", "pagelist"): Operation("Get Page Ranges", page_ops.get_page_ranges, "r", "o", snapshots=True),
    ("GET", "metadata"): Operation("Get Blob Metadata", blob_ops.get_metadata, "r", "o", snapshots=True),
    ("HEAD", "metadata"): Operation("Get Blob Metadata", blob_ops.get_metadata, "r", "o", snapshots=True),
    ("PUT", "metadata"): Operation("Set Blob Metadata", blob_ops.set_metadata, "w", "o"),
    ("PUT", "properties"): Operation("Set Blob Properties", blob_ops.set_properties, "w", "o", remakes=True),
    ("PUT", "snapshot"): Operation("Snapshot Blob", blob_ops.snapshot_blob, "wc", "o", remakes=True),
    ("PUT", "tier"): Operation("Set Blob Tier", blob_ops.set_tier, "w", "o", snapshots=True, remakes=True),
    ("GET", "tags"): Operation("Get Blob Tags", tag_ops.get_tags, "t", "o", snapshots=True),
    ("PUT", "tags"): Operation("Set Blob Tags", tag_ops.set_tags, "t", "o", SMALL_BODY, snapshots=True),
    ("PUT", "lease"): Operation("Lease Blob", lease_ops.lease_blob, "wd", "o", remakes=True),
    ("GET", "blocklist"): Operation("Get Block List", block_ops.get_block_list, "r", "o", snapshots=True),
    ("PUT", "blocklist"): Operation(
        "Put Block List", block_ops.put_block_list, "cw", "o", LARGE_BODY, remakes=True
    ),
    ("PUT", "seal"): Operation("Append Blob Seal", block_ops.seal_append_blob, "wa", "o", remakes=True),
}
_PAGES: Final = {
    "update": Operation("Put Page", page_ops.update_pages, "w", "o", page_ops.MAXIMUM_PAGES, quick=True),
    "clear": Operation("Clear Pages", page_ops.clear_pages, "w", "o"),
}
_BODIES: Final[Table] = {
    ("PUT", "block"): Operation(
        "Put Block", block_ops.put_block, "cw", "o", block_ops.MAXIMUM_BLOCK, remakes=True
    ),
    ("PUT", "appendblock"): Operation(
        "Append Block", block_ops.append_block, "wa", "o", block_ops.MAXIMUM_BLOCK, remakes=True
    ),
}
_MAKES: Final = {
    "PageBlob": Operation("Put Blob", page_ops.put_page_blob, "cw", "o", remakes=True),
    "BlockBlob": Operation(
        "Put Blob", block_ops.put_block_blob, "cw", "o", block_ops.MAXIMUM_BLOCK, remakes=True
    ),
    "AppendBlob": Operation("Put Blob", block_ops.put_append_blob, "cw", "o", remakes=True),
}
# What the REST reference has and this service does not, by the query's `comp`.
_UNSUPPORTED: Final = {
    "expiry": "Set Blob Expiry",
    "immutabilityPolicies": "Set Immutability Policy",
    "legalhold": "Set Legal Hold",
    "query": "Query Blob Contents",
    "rename": "Rename Container",
    "stats": "Get Blob Service Stats",
    "undelete": "Restore Container",
}
# Headers that change what an operation does, and parameters that name what is never there.
_UNSUPPORTED_HEADERS: Final = {
    "x-ms-access-tier-if-modified-since": "conditions on the time of a tier",
    "x-ms-access-tier-if-unmodified-since": "conditions on the time of a tier",
    "x-ms-encryption-key": "customer-provided encryption keys",
    "x-ms-encryption-scope": "encryption scopes",
    "x-ms-immutability-policy-until-date": "immutability policies",
    "x-ms-legal-hold": "legal holds",
    "x-ms-rehydrate-priority": "the archive tier",
    "x-ms-source-if-tags": "conditions on the tags of a source",
    "x-ms-structured-body": "structured message bodies",
}
_UNSUPPORTED_PARAMETERS: Final = {"versionid": "versions of blobs"}


class Operations:
    """Finds and runs operations. `authorities` are the hosts and ports by which this service is reached."""

    def __init__(
        self,
        store: BlobStore,
        authorities: Collection[str] = (),
        verify_token: auth.VerifyToken | None = None,
    ) -> None:
        self._store = store
        self._verify_token = verify_token
        self.copies = Copies(store)
        open_source = Opener(store, frozenset(authorities), self._authenticate)
        copying = copy_ops.Copying(self.copies, open_source)
        self._from_url: Mapping[tuple[str, str], Operation] = {
            ("PUT", "page"): Operation("Put Page From URL", copying.put_page, "w", "o"),
            ("PUT", "block"): Operation("Put Block From URL", copying.put_block, "cw", "o", remakes=True),
            ("PUT", "appendblock"): Operation(
                "Append Block From URL", copying.append_block, "wa", "o", remakes=True
            ),
            ("PUT", "incrementalcopy"): Operation(
                "Incremental Copy Blob", copying.incremental_copy, "cw", "o", remakes=True
            ),
            ("PUT", ""): Operation("Copy Blob", copying.copy_blob, "cw", "o", remakes=True),
        }
        self._put_blob_from_url = Operation("Put Blob From URL", copying.put_blob, "cw", "o", remakes=True)
        self._batch = Operation("Blob Batch", self._run_batch, "rwdlacupt", "sco", LARGE_BODY)
        self._abort = Operation("Abort Copy Blob", copying.abort_copy, "w", "o", remakes=True)

    def find(self, request: Request) -> Operation:
        """The operation of a request. Raises AzureError that names what is not supported."""
        comp, scope = request.query.get("comp", ""), request.query.get("restype", "")
        for names, table in (
            (request.headers, _UNSUPPORTED_HEADERS),
            (request.query, _UNSUPPORTED_PARAMETERS),
        ):
            for name in table.keys() & names.keys():
                if names[name]:
                    raise faults.unsupported(table[name])
        found = self._find(request, comp, scope)
        if found is not None:
            if request.query.get("snapshot") and not found.snapshots:
                raise faults.invalid_parameter("snapshot", request.query["snapshot"])
            return found
        name = _UNSUPPORTED.get(comp, "")
        if not name and not comp:
            raise faults.fault("UnsupportedHttpVerb")
        raise faults.unsupported(name or f"comp={comp} with {request.method}")

    def _find(self, request: Request, comp: str, scope: str) -> Operation | None:
        asked = (request.method, comp)
        if scope == "account" and comp == "properties" and request.method in ("GET", "HEAD"):
            return _INFORMATION
        if asked == ("POST", "batch") and not request.address.blob:
            return self._batch
        if request.address.blob:
            return self._find_for_blob(request, comp)
        if request.address.container:
            if scope != "container":
                raise faults.fault("InvalidQueryParameterValue", "restype=container is missing.")
            return _CONTAINER.get(asked)
        wanted = "" if comp in ("list", "blobs") else "service"
        return _SERVICE.get(asked) if scope == wanted else None

    def _find_for_blob(self, request: Request, comp: str) -> Operation | None:
        asked = (request.method, comp)
        if request.header("x-ms-copy-source") and asked in self._from_url:
            made = request.header("x-ms-blob-type")
            if asked == ("PUT", "") and made:
                if made != "BlockBlob":
                    raise faults.invalid_header("x-ms-blob-type", made)
                return self._put_blob_from_url
            return self._from_url[asked]
        if asked == ("PUT", "page"):
            return _chosen(_PAGES, "x-ms-page-write", request.required_header("x-ms-page-write").lower())
        if asked == ("PUT", ""):
            return _chosen(_MAKES, "x-ms-blob-type", request.required_header("x-ms-blob-type"))
        if asked == ("PUT", "copy"):
            return self._abort
        return _BODIES.get(asked) or _BLOB.get(asked)

    def _run_batch(self, store: BlobStore, request: Request) -> Reply:
        return batch_ops.run_batch(request, self._answer_in_batch)

    def _answer_in_batch(self, request: Request) -> Reply:
        operation = self.find(request)
        if operation.name not in ("Delete Blob", "Set Blob Tier"):
            raise faults.fault("InvalidInput", f"{operation.name} is no part of a batch.")
        return self.answer(request, operation)

    def authorize(self, request: Request, operation: Operation) -> Request:
        """The request with what it may do. Raises AzureError when that is not enough."""
        request = self._authenticate(request)
        grant = request.grant
        if grant.everything:
            return request
        if grant.by == "account SAS" and not set(operation.resource) & set(grant.resources):
            raise faults.fault("AuthorizationResourceTypeMismatch")
        if not set(operation.permissions) & set(grant.permissions):
            raise _not_allowed(grant)
        if grant.by == "service SAS" and not _fits_service_sas(operation):
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
        return request._replace(grant=grant)

    def run(self, request: Request, operation: Operation) -> Reply:
        """Do it. Blocks. Raises AzureError."""
        return operation.run(self._store, request)

    def answer(self, request: Request, operation: Operation) -> Reply:
        """Authorise it and do it. Blocks. Raises AzureError."""
        return self.run(self.authorize(request, operation), operation)

    def find_answer(self, request: Request, operation: Operation) -> Reply | None:
        """The answer of a quick operation, at once; None when it would have to wait for another."""
        return self._at_once(self.answer, request, operation)

    def find_authorized(self, request: Request, operation: Operation) -> Request | None:
        """What `authorize` returns, at once; None when it would have to wait for another."""
        return self._at_once(self.authorize, request, operation)

    def _at_once(
        self, function: Callable[[Request, Operation], T], request: Request, operation: Operation
    ) -> T | None:
        try:
            with self._store.without_waiting():
                return function(request, operation)
        except WouldWait:
            return None


def _chosen(table: Mapping[str, Operation], header: str, value: str) -> Operation:
    if value not in table:
        raise faults.invalid_header(header, value)
    return table[value]


def _fits_service_sas(operation: Operation) -> bool:
    """A service SAS opens blobs, and of a container its lists; nothing of the container itself."""
    return "o" in operation.resource or operation.permissions in ("l", "f")


def _not_allowed(grant: Grant) -> AzureError:
    if grant.by == "public":
        return faults.fault("NoAuthenticationInformation")
    return faults.fault("AuthorizationPermissionMismatch")
