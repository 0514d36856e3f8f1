"""A light client of ARM REST: azure-core's pipeline, ARM's own polling, JSON documents in and out.

The generated azure-mgmt-compute and azure-mgmt-network clients need about 0.46 s before the first request,
this one 0.09 s (import and construction), which an interactive command notices. The protocol is the
same code: ARMPipelineClient, ARM's challenge policy, ARMPolling. Errors become AzureError with Azure's
code and text.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from azure.core.exceptions import AzureError as SdkError
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ServiceRequestError,
    ServiceResponseError,
)
from azure.core.pipeline.policies import (
    ContentDecodePolicy,
    HeadersPolicy,
    RequestIdPolicy,
    RetryPolicy,
    UserAgentPolicy,
)
from azure.core.polling import LROPoller
from azure.core.rest import HttpRequest, HttpResponse
from azure.mgmt.core import ARMPipelineClient
from azure.mgmt.core.exceptions import ARMErrorFormat
from azure.mgmt.core.policies import ARMChallengeAuthenticationPolicy
from azure.mgmt.core.polling.arm_polling import ARMPolling

from vmstamp import __version__
from vmstamp.cli.arm_credential import ClientCredential, NewTokenPolicy, TokenCredential
from vmstamp.cli.endpoint import Endpoint
from vmstamp.cli.wanted import Wanted
from vmstamp.errors import AzureError, CloudError, StampError, VmstampError

Document = dict[str, Any]

# Sent for each type; the newest that the fields used here need.
API_VERSIONS = {
    "microsoft.compute/virtualmachines": "2024-07-01",
    "microsoft.compute/locations": "2024-07-01",
    "microsoft.compute/images": "2024-07-01",
    "microsoft.compute/disks": "2024-03-02",
    "microsoft.compute/snapshots": "2024-03-02",
    "microsoft.compute/galleries": "2024-03-03",
    "microsoft.compute.admin": "2015-12-01-preview",
    "microsoft.network": "2024-05-01",
    "microsoft.storage": "2023-05-01",
    "microsoft.resources": "2024-03-01",
    "microsoft.subscription": "2021-10-01",
}
SUBSCRIPTIONS = "/subscriptions"
SUBSCRIPTIONS_VERSION = "2022-12-01"  # REST: Subscriptions - List
PATIENCE = 10.0  # seconds of waiting after which it is said, and again


class ArmEndpoint(Protocol):
    """ARM of one subscription: a stamp's (`endpoint.Endpoint`), or a cloud's (`cloud.CloudEndpoint`).

    `ca` None: what this computer trusts. `interval`: seconds between two looks at an operation, where the
    service sends no Retry-After. `location` empty: the region is that of the resource group.
    """

    @property
    def cloud(self) -> str: ...
    @property
    def arm(self) -> str: ...
    @property
    def subscription(self) -> str: ...
    @property
    def location(self) -> str: ...
    @property
    def ca(self) -> Path | None: ...
    @property
    def interval(self) -> float: ...


class ArmClient:
    """ARM of one subscription. Use as a context manager; threads may share it (azure-core's pipeline and
    requests' connection pool are safe for that).

    A resource is named by its id (`/subscriptions/...`). Every method raises AzureError with Azure's code,
    and StampError when nothing answers.
    """

    say: Callable[[str], None] = staticmethod(lambda text: None)

    def __init__(
        self,
        endpoint: ArmEndpoint,
        credential: TokenCredential | None = None,
        *,
        scope: str = "",
        say: Callable[[str], None] | None = None,
        made: dict[str, Wanted] | None = None,
        read_only: bool = False,
    ) -> None:
        self.endpoint = endpoint
        self.made = {} if made is None else made
        if say is not None:
            self.say = say
        self._read_only = read_only
        if credential is None:
            assert isinstance(endpoint, Endpoint)  # a cloud's credential is its user's
            credential = ClientCredential(endpoint)
        self._credential = credential
        policies = [
            RequestIdPolicy(),
            HeadersPolicy({"Accept": "application/json"}),
            UserAgentPolicy(base_user_agent=f"vmstamp/{__version__}"),
            RetryPolicy(retry_total=5, retry_backoff_factor=0.3),
            NewTokenPolicy(),
            ARMChallengeAuthenticationPolicy(self._credential, scope or f"{endpoint.arm}/.default"),
            ContentDecodePolicy(),
        ]
        self._client: ARMPipelineClient[HttpRequest, HttpResponse] = ARMPipelineClient(
            endpoint.arm,
            policies=policies,
            connection_verify=True if endpoint.ca is None else str(endpoint.ca),
        )

    def __enter__(self) -> ArmClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._client.close()
        if close := getattr(self._credential, "close", None):
            close()

    # --- ids

    def group_id(self, group: str) -> str:
        return f"/subscriptions/{self.endpoint.subscription}/resourceGroups/{group}"

    def resource_id(self, group: str, kind: str, name: str) -> str:
        """The id of a resource; `kind` is `Microsoft.X/types` or `Microsoft.X/types/NAME/children`."""
        return f"{self.group_id(group)}/providers/{kind}/{name}"

    def region(self, group: str, wanted: str = "") -> str:
        """The region for what is made in a group: the wanted one, the endpoint's own, else the group's.

        Raises VmstampError when there is none of them.
        """
        if found := wanted or self.endpoint.location:
            return found
        if document := self.find(self.group_id(group)):
            return str(document["location"])
        raise VmstampError(
            f"resource group {group} is not there yet, and no region is named for it",
            hint="pass --location, such as --location westeurope, or set VMSTAMP_LOCATION",
        )

    # --- plain requests

    def subscriptions(self) -> Iterator[Document]:
        """The subscriptions that who is signed in sees. REST: Subscriptions - List."""
        return self.list(SUBSCRIPTIONS, **{"api-version": SUBSCRIPTIONS_VERSION})

    def get(self, resource: str, **query: str) -> Document:
        return _json(self._send("GET", resource, query=query))

    def find(self, resource: str, **query: str) -> Document | None:
        """The resource, or None when it or its group is not there."""
        try:
            return self.get(resource, **query)
        except AzureError as error:
            if error.status == 404:
                return None
            raise

    def list(self, collection: str, **query: str) -> Iterator[Document]:
        """Every member of a collection, page by page."""
        page = self.get(collection, **query)
        while True:
            yield from page.get("value", ())
            if not (link := page.get("nextLink")):
                return
            page = _json(self._send("GET", link))

    def post(self, resource: str, action: str, body: Document | None = None) -> Document:
        """A synchronous action; {} when the answer has no body."""
        return _json(self._send("POST", f"{resource}/{action}", body=body))

    def list_in_group(self, group: str, type: str) -> Iterator[Document]:
        """Every resource of a type in a group; none when the group is not there."""
        try:
            yield from self.list(f"{self.group_id(group)}/providers/{type}")
        except AzureError as error:
            if error.code != "ResourceGroupNotFound":
                raise

    # --- long-running operations

    def begin_put(self, resource: str, body: Document) -> LROPoller[Document]:
        return self._begin("PUT", resource, body=body)

    def put(self, resource: str, body: Document) -> Document:
        return self.wait(self.begin_put(resource, body), f"making {_name(resource)}")

    def begin_delete(self, resource: str) -> LROPoller[Document]:
        return self._begin("DELETE", resource)

    def delete(self, resource: str) -> bool:
        """Delete a resource and wait; False when it was not there."""
        try:
            self.wait(self.begin_delete(resource), f"deleting {_name(resource)}")
        except AzureError as error:
            if error.status != 404:
                raise
            self.made.pop(resource, None)
            return False
        self.made.pop(resource, None)
        return True

    def begin_action(self, resource: str, action: str, body: Document | None = None) -> LROPoller[Document]:
        return self._begin("POST", f"{resource}/{action}", body=body, final="location")

    def act(self, resource: str, action: str, body: Document | None = None) -> Document:
        """A long-running action; its result, {} when it has none."""
        return self.wait(self.begin_action(resource, action, body), f"{action} {_name(resource)}")

    def wait(
        self, poller: LROPoller[Document], what: str = "", each: Callable[[], None] | None = None
    ) -> Document:
        """Wait for an operation's end and return its result.

        `each` runs once an interval meanwhile; without it, a long wait says that it still goes on. A
        KeyboardInterrupt gets through at once. Raises AzureError with the operation's own code.
        """
        started = told = time.monotonic()
        try:
            while not poller.done():
                poller.wait(self.endpoint.interval if each else 0.2)
                now = time.monotonic()
                if each:
                    each()
                elif what and now - told >= PATIENCE:
                    told = now
                    self.say(f"still {what} ({now - started:.0f} s)")
            return poller.result() or {}
        except SdkError as error:
            raise translate(error, self.endpoint) from error

    # --- the wire

    def _send(
        self, method: str, path: str, *, body: Document | None = None, query: Mapping[str, str] | None = None
    ) -> HttpResponse:
        response: HttpResponse = self._pipeline_response(method, path, body, query).http_response
        return response

    def _pipeline_response(
        self, method: str, path: str, body: Document | None, query: Mapping[str, str] | None = None
    ) -> Any:
        absolute = path.startswith("http")
        if self._read_only and method != "GET" and not path.endswith("/listKeys"):
            raise AssertionError(f"a plan must not send {method} {path}")
        params = {} if absolute else {"api-version": api_version(path), **(query or {})}
        request = HttpRequest(
            method, path if absolute else self.endpoint.arm + path, params=params, json=body
        )
        try:
            answer: Any = self._client.send_request(request, _return_pipeline_response=True)
        except SdkError as error:
            raise translate(error, self.endpoint) from error
        if answer.http_response.status_code >= 400:
            raise translate(_http_error(answer.http_response), self.endpoint)
        return answer

    def _begin(
        self, method: str, path: str, *, body: Document | None = None, final: str = "azure-async-operation"
    ) -> LROPoller[Document]:
        first = self._pipeline_response(method, path, body)
        polling: Any = ARMPolling(self.endpoint.interval, lro_options={"final-state-via": final})
        return LROPoller(self._client, first, lambda answer: _json(answer.http_response), polling)


def api_version(path: str) -> str:
    """The api-version for a resource's id or a collection's path, by its last provider and type."""
    _, found, rest = path.lower().rpartition("/providers/")
    if not found:
        return API_VERSIONS["microsoft.resources"]
    namespace, kind, *_ = [*rest.split("/"), ""]
    return API_VERSIONS.get(f"{namespace}/{kind}") or API_VERSIONS[namespace]


def _name(resource: str) -> str:
    """The type and name at an id's end: `networkInterfaces/web-nic`."""
    return "/".join(resource.split("/")[-2:])


def _json(response: HttpResponse) -> Document:
    text = response.text()
    return dict(json.loads(text)) if text.strip() else {}


def _http_error(response: HttpResponse) -> HttpResponseError:
    return HttpResponseError(response=response, error_format=ARMErrorFormat)


def translate(error: SdkError, endpoint: ArmEndpoint) -> AzureError | StampError:
    """An SDK error as ours: AzureError with Azure's code and text; StampError when a stamp does not answer,
    CloudError when a cloud does not, or nobody is signed in to it."""
    at_stamp = isinstance(endpoint, Endpoint)
    kind = StampError if at_stamp else CloudError
    if isinstance(error, ServiceRequestError | ServiceResponseError):
        return kind(
            f"{endpoint.arm} does not answer: {error.message}",
            hint="vmstamp status; its log is server.log in the home"
            if at_stamp
            else "is there a way to it from here: proxy, firewall, VPN?",
        )
    if isinstance(error, ClientAuthenticationError) and error.response is None:
        return kind(
            f"nobody is signed in to {endpoint.arm} here: {_first_reason(str(error.message))}",
            hint="az login, or set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET",
        )
    if not isinstance(error, HttpResponseError):
        return kind(f"{endpoint.arm}: {error.message}")
    inner = error.error
    code = str(getattr(inner, "code", "") or "") or type(error).__name__
    message = str(getattr(inner, "message", "") or error.message)
    target = getattr(inner, "target", None)
    found = AzureError(error.status_code or 0, code, message, target=str(target) if target else None)
    found.hint = _hint(found.status, code, message)
    return found


def _first_reason(said: str) -> str:
    """Of what the chain of credentials says, the first that tried and was refused, else the first line."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    refused = [line for line in lines if "AADSTS" in line or "Authentication failed" in line]
    return (refused or lines or ["no reason given"])[0]


def _hint(status: int, code: str, message: str) -> str:
    """What to do about an answer of ARM, '' where its text says it."""
    if status == 401:
        return HINTS.get(code) or "az login, then the same command again"
    if status in BUSY:
        return "wait some minutes, then the same command again: what it made is used"
    if "same region" in message:
        return "vmstamp copy takes the blob to an account of that region; use that copy"
    return HINTS.get(code, "")


BUSY = (429, 500, 502, 503, 504)  # after all tries
HINTS = {
    "AuthorizationFailed": "ask for a role there, such as Contributor; roles take minutes to count",
    "LinkedAuthorizationFailed": "ask for a role on the resource that the message names",
    "InvalidAuthenticationTokenTenant": "az login --tenant TENANT, the one that owns the subscription",
    "ResourceNotFound": "vmstamp vm list and vmstamp image list show what a group has; -g names another",
    "SubscriptionNotFound": "pass --subscription: az account list shows them",
    "StorageAccountAlreadyTaken": "set VMSTAMP_STORAGE_ACCOUNT to another name",
    "SkuNotAvailable": "pass another --size or --location: az vm list-skus shows what there is",
    "QuotaExceeded": "pass another --size or --location, or ask for quota in the portal",
    "MissingSubscriptionRegistration": "az provider register --namespace NAMESPACE, the one that it names",
}
