"""The control plane's door: HTTP in, `ControlPlane.handle` on a thread, Azure's reply or error envelope out.

Every request needs a bearer token; who may is decided by the caller's `verify_token`.
"""

from __future__ import annotations

import json
import logging
import re
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route

from vmstamp.arm.control_plane import ControlPlane
from vmstamp.arm.faults import invalid_content
from vmstamp.arm.operations import error_document
from vmstamp.arm.template.reader import ReadError
from vmstamp.arm.template.reader import read as read_template
from vmstamp.arm.types import Reply, Request, azure_fault
from vmstamp.errors import AzureError, VmstampError

log = logging.getLogger("vmstamp.arm")

MAXIMUM_BODY = 4 * 2**20  # bytes, as ARM takes
METHODS = ["GET", "HEAD", "PUT", "PATCH", "POST", "DELETE"]

COMMON_HEADERS = {
    "Cache-Control": "no-cache",
    "Pragma": "no-cache",
    "Expires": "-1",
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
    "X-Content-Type-Options": "nosniff",
}
# What is left of the subscription's limits, by method. There are none here, so they stay full.
# Documentation: Understand how Azure Resource Manager throttles requests, Remaining requests.
LIMITS = {
    "GET": ("x-ms-ratelimit-remaining-subscription-reads", "11999"),
    "HEAD": ("x-ms-ratelimit-remaining-subscription-reads", "11999"),
    "DELETE": ("x-ms-ratelimit-remaining-subscription-deletes", "14999"),
}
WRITES = ("x-ms-ratelimit-remaining-subscription-writes", "1199")
# Errors that Azure's front door makes before a provider sees the request.
GATEWAY_CODES = {
    "AuthenticationFailed",
    "InvalidApiVersionParameter",
    "InvalidAuthenticationToken",
    "InvalidAuthenticationTokenTenant",
    "InvalidResourceGroupLocation",
    "InvalidResourceLocation",
    "InvalidResourceNamespace",
    "InvalidResourceType",
    "LinkedInvalidPropertyId",
    "LocationNotAvailableForResourceType",
    "LocationRequired",
    "MissingApiVersionParameter",
    "MissingSubscriptionRegistration",
    "NoRegisteredProviderFound",
    "ResourceGroupBeingDeleted",
    "ResourceGroupNotFound",
    "ResourceNotFound",
    "ScopeLocked",
    "SubscriptionNotFound",
}

DEPLOYMENT = re.compile(r"/deployments/[^/]+(/validate|/whatIf)?/?$", re.IGNORECASE)

Verify = Callable[[str], object]


def app(plane: ControlPlane, verify_token: Verify, *, authority: str = "", tenant: str = "") -> Starlette:
    """The application. `verify_token` raises VmstampError on a token that is no good.

    `authority` is the URL that a 401 names for getting a token, by default this door's own /`tenant`.
    """
    door = _Door(plane, verify_token, authority, tenant)
    return Starlette(routes=[Route("/{path:path}", door.serve, methods=METHODS)])


class _Door:
    def __init__(self, plane: ControlPlane, verify_token: Verify, authority: str, tenant: str) -> None:
        self._plane = plane
        self._verify = verify_token
        self._authority = authority
        self._tenant = tenant or "adfs"

    async def serve(self, http: HttpRequest) -> Response:
        base = f"{http.url.scheme}://{http.url.netloc}"
        try:
            tenant = self._check_token(http, base)
            request = Request(
                method=http.method,
                path=http.scope["path"],
                query={name.lower(): value for name, value in http.query_params.items()},
                headers={name.lower(): value for name, value in http.headers.items()},
                body=_parse(http.scope["path"], await _read(http)),
                base=base,
                tenant=tenant,
            )
            reply = await run_in_threadpool(self._handle, request)
            if reply.status == 401:
                reply = replace(reply, headers={**reply.headers, **self._challenge(base)})
        except AzureError as error:
            reply = error_reply(error)
        return _response(reply, http)

    def _handle(self, request: Request) -> Reply:
        try:
            return self._plane.handle(request)
        except AzureError as error:
            return error_reply(error)
        except Exception as error:
            log.exception("%s %s failed", request.method, request.path)
            return error_reply(azure_fault(error))

    def _check_token(self, http: HttpRequest, base: str) -> str:
        """The tenant of the request's token, '' when the verifier does not tell. Raises 401."""
        scheme, _, token = http.headers.get("authorization", "").partition(" ")
        try:
            if scheme.lower() != "bearer" or not token.strip():
                raise AzureError(
                    401,
                    "AuthenticationFailed",
                    "Authentication failed. The 'Authorization' header is missing.",
                )
            return str(getattr(self._verify(token.strip()), "tid", ""))
        except VmstampError as error:
            code = error.code if isinstance(error, AzureError) else "InvalidAuthenticationToken"
            raise AzureError(401, code, error.message, headers=self._challenge(base)) from error

    def _challenge(self, base: str) -> dict[str, str]:
        authority = self._authority or f"{base}/{self._tenant}"
        return {"WWW-Authenticate": f'Bearer authorization_uri="{authority}", error="invalid_token"'}


async def _read(http: HttpRequest) -> bytes:
    body = bytearray()
    async for piece in http.stream():
        body += piece
        if len(body) > MAXIMUM_BODY:
            raise AzureError(
                413,
                "RequestContentTooLarge",
                f"The request content size exceeds the maximum size of '{MAXIMUM_BODY}' bytes.",
            )
    return bytes(body)


def parse_body(data: bytes) -> Any:
    """A request's JSON, None when there is none. Raises AzureError (400); never repeats the content."""
    if not data.strip():
        return None
    try:
        return json.loads(data, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise invalid_content(f"{error.msg}: line {error.lineno}, position {error.colno}") from error
    except (ValueError, RecursionError) as error:
        raise invalid_content("The content is no JSON text in UTF-8") from error


def _parse(path: str, data: bytes) -> Any:
    """A request's body. That of a deployment may hold a template's own text: az puts it in as it is."""
    if not DEPLOYMENT.search(path) or not data.strip():
        return parse_body(data)
    try:
        return read_template(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise invalid_content("The content is no JSON text in UTF-8") from error
    except ReadError as error:
        raise invalid_content(error.message) from error


def _no_constant(name: str) -> None:
    raise ValueError(name)


def error_reply(error: AzureError) -> Reply:
    headers = dict(error.headers)
    if error.code in GATEWAY_CODES:
        headers["x-ms-failure-cause"] = "gateway"
    return Reply(error.status, {"error": error_document(error)}, headers)


def _response(reply: Reply, http: HttpRequest) -> Response:
    id = str(uuid.uuid4())
    headers = {
        **COMMON_HEADERS,
        **dict([LIMITS.get(http.method, WRITES)]),
        "x-ms-request-id": id,
        "x-ms-correlation-request-id": http.headers.get("x-ms-correlation-request-id", id),
        "x-ms-routing-request-id": f"LOCAL:{id}",
        **reply.headers,
    }
    if (client := http.headers.get("x-ms-client-request-id")) is not None:
        headers["x-ms-client-request-id"] = client
    if reply.body is None:
        return Response(status_code=reply.status, headers=headers)
    content = b"" if http.method == "HEAD" else json.dumps(reply.body).encode()
    return Response(content, reply.status, headers, media_type="application/json; charset=utf-8")
