"""The words of the control plane: requests, replies, and the record of a resource type.

A resource type supplies functions; the engine does everything that types have in common. `parse` is
pure: it reads other resources, decides, and raises; what it returns is stored in the transaction that
the engine holds. `apply`, `remove` and an asynchronous action's `run` have effects, run on an
operation thread, may take minutes, and are idempotent where they are to be resumed after a crash.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from vmstamp.arm.catalog import Catalog
from vmstamp.arm.resource import Json, Reference, Resource
from vmstamp.errors import AzureError
from vmstamp.resource_id import ResourceId


@dataclass(frozen=True)
class Request:
    """An HTTP request. `path` is as sent, `query` and `headers` have lower-case names.

    `base` is the scheme and authority that the client used: absolute URLs in replies begin with it.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    base: str = ""
    tenant: str = ""  # whose token it came with; '' when that is not told

    @property
    def subscription(self) -> str:
        """The subscription in the path, '' when there is none."""
        words = [word for word in self.path.split("/") if word]
        return words[1] if len(words) > 1 and words[0].lower() == "subscriptions" else ""

    @property
    def api_version(self) -> str:
        return self.query.get("api-version", "")

    @property
    def json(self) -> Json:
        return self.body if isinstance(self.body, dict) else {}


@dataclass(frozen=True)
class Reply:
    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Put:
    """What `parse` gets. `location` is normalized; `existing` is the resource when this is an update."""

    id: ResourceId
    body: Json
    location: str
    existing: Resource | None
    api_version: str
    catalog: Catalog
    partial: bool = False  # a PATCH: the body is what is there with the changes in it


@dataclass(frozen=True)
class Change:
    """What `parse` gives: the new document and state, and resources that come into being with it."""

    document: Json
    state: Json = field(default_factory=dict)
    companions: tuple[Resource, ...] = ()


@dataclass(frozen=True)
class Work:
    """What a function on an operation thread gets beside its resource."""

    cancelled: Callable[[], bool] = lambda: False
    resumed: bool = False
    input: Json = field(default_factory=dict)
    first: bool = True  # of apply: the resource is being created, not changed


@dataclass(frozen=True)
class Action:
    """A POST on a resource. `check` decides at once, in the transaction, and stores at most; `run` does.

    A synchronous one answers 200 with what `run` returns (in the transaction of `check`, unless it may run
    beside an operation); else an operation runs it, and its result is found at the Location. `input` is
    what is stored of the body for `run` (never a secret).
    """

    name: str
    run: Callable[[Resource, Work], Json | None]
    check: Callable[[Resource, Request], Json] = lambda resource, request: {}
    synchronous: bool = False
    resumable: bool = True
    # May run while an operation on the resource is open (reads only).
    beside: bool = False
    # A child type, by its last segment: while an operation on one of these children is open, it is refused.
    not_beside: str = ""
    # What is said in place of the usual text when the open operation is one of this action.
    in_progress: str = ""


@dataclass(frozen=True)
class AsyncStyle:
    """How a provider speaks of its asynchronous operations."""

    created_status: int = 201
    updated_status: int = 200
    async_header: bool = True  # Azure-AsyncOperation on PUT
    location_header: bool = False  # Location on PUT
    body: str = "resource"  # of the PUT's reply: resource, bare (no id, no type), empty
    segment: str = "operations"  # of the poll URL
    result_segment: str = ""  # of the Location URL; '' : the same with monitor=true
    creating: str = "Creating"  # provisioningState while a PUT that creates is under way
    synchronous_delete: bool = False
    notification: bool = False  # Azure-AsyncNotification: Enabled


@dataclass(frozen=True)
class Call:
    """A request at the subscription's scope below a provider: `words` follow its name, `{}` is any word.

    `run` gets the request and what stood in place of each `{}`.
    """

    method: str
    provider: str
    words: tuple[str, ...]
    run: Callable[[Request, tuple[str, ...]], Reply]

    def match(self, method: str, provider: str, words: tuple[str, ...]) -> tuple[str, ...] | None:
        if (method, provider.lower(), len(words)) != (self.method, self.provider.lower(), len(self.words)):
            return None
        pairs = list(zip(self.words, words, strict=True))
        if any(known != "{}" and known.lower() != given.lower() for known, given in pairs):
            return None
        return tuple(given for known, given in pairs if known == "{}")


def _keep(put: Put) -> Change:
    return Change(put.body)


@dataclass(frozen=True)
class ResourceType:
    """One resource type: `name` is spelled as Azure spells it, `Microsoft.Compute/images`."""

    name: str
    api_versions: tuple[str, ...]  # said in errors and by the providers list; any date is taken
    parse: Callable[[Put], Change] = _keep
    style: AsyncStyle = AsyncStyle()
    # None: nothing to do but to store. Returns the resource with what it learned.
    apply: Callable[[Resource, Work], Resource] | None = None
    remove: Callable[[Resource, Work], None] | None = None
    # Without `apply`: what follows from a PUT that is committed, before it is answered. Never raises.
    changed: Callable[[Resource], None] = lambda resource: None
    # What is true of a resource whose operation was ended by its server's death and is not taken up again.
    abandoned: Callable[[Resource], Resource] = lambda resource: resource
    # What a GET shows: the document with what is computed. `expand` is the query's $expand.
    view: Callable[[Resource, str], Json] = lambda resource, expand: resource.document
    references: Callable[[Resource], Iterable[Reference]] = lambda resource: ()
    # Raises when the resource cannot be deleted now.
    check_delete: Callable[[Resource], None] = lambda resource: None
    actions: tuple[Action, ...] = ()
    # GETs below a resource that are no resources: instanceView, vmSizes.
    reads: Mapping[str, Callable[[Resource], Json]] = field(default_factory=dict)
    # The same where what is asked for stands in the query: CheckIPAddressAvailability.
    queries: Mapping[str, Callable[[Resource, Request], Json]] = field(default_factory=dict)
    # Child types that live inside this one's document: last segment of the type -> property name.
    embedded: Mapping[str, str] = field(default_factory=dict)
    patch: str = "tags"  # what PATCH may change: tags, or all (a merge)
    etag_in_body: bool = False
    beside_parent: bool = True  # False: no PUT, DELETE while an operation on its parent is open
    preemptible: bool = False  # a DELETE ends a PUT that is under way
    delete_rank: int = 5  # in a group's deletion: lower ranks go first
    # False: no resource of its own in lists over all types, exports and deployments (locks, for one).
    listed: bool = True
    view_of_head: bool = False  # `view` computes members beside the properties (managedBy): lists show these

    @property
    def provider(self) -> str:
        return self.name.split("/", 1)[0]

    @property
    def key(self) -> str:
        return self.name.lower()


def azure_fault(error: Exception) -> AzureError:
    """Any exception as an answer in Azure's name; what we did not foresee says nothing of our insides."""
    if isinstance(error, AzureError):
        return error
    message = getattr(error, "message", None)
    if isinstance(message, str):
        hint = getattr(error, "hint", "")
        return AzureError(500, "InternalExecutionError", f"{message}. {hint}" if hint else message)
    return AzureError(500, "InternalServerError", "An internal execution error occurred.")
