"""The door of the Instance Metadata Service (169.254.169.254:80).

Errors have the service's shape, `{"error": ...}`, and where they are known its texts. What this fabric
does not serve (attested data, scheduled events, ...) answers 404 and is named.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from vmstamp.fabric.guests import Guests
from vmstamp.fabric.imds_document import UNLISTED_VERSIONS, VERSIONS, instance_document
from vmstamp.fabric.report import name_reporter
from vmstamp.timeline import Stage

METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]
PATH_LENGTH = 200  # characters of a path that are shown
WRONG_VERSION = (
    "Bad request. api-version is invalid or was not specified in the request. "
    "For more information refer to aka.ms/azureimds"
)


class _Refused(Exception):
    """An answer that is not 200; `more` are further properties of the error document."""

    def __init__(self, status: int, message: str, **more: Any) -> None:
        super().__init__(message)
        self.status = status
        self.document = {"error": message, **more}


def imds_app(guests: Guests) -> Starlette:
    """The metadata service of one virtual network."""
    return Starlette(routes=[Route("/{path:path}", _door(guests), methods=METHODS)])


def _door(guests: Guests) -> Callable[[Request], Awaitable[Response]]:
    async def handle(request: Request) -> Response:
        try:
            return _serve(guests, request)
        except _Refused as refused:
            return JSONResponse(refused.document, refused.status)

    return handle


def _serve(guests: Guests, request: Request) -> Response:
    guest = guests.find(request.client.host if request.client else "")
    if guest is None:
        raise _Refused(404, "Not found")
    if request.headers.get("metadata", "").lower() != "true":
        raise _Refused(400, "Bad request. Required metadata header not specified")
    if "x-forwarded-for" in request.headers:
        raise _Refused(400, "Bad request. Requests with an X-Forwarded-For header are not served")
    if request.method != "GET":
        raise _Refused(405, "Method not allowed")
    parts = [part for part in request.path_params["path"].split("/") if part]
    guest.mark(Stage.IMDS, f"GET {_path(request)} by {name_reporter(request.headers)}")
    if parts[:2] == ["metadata", "versions"]:
        return JSONResponse({"apiVersions": list(VERSIONS)})
    if parts[:2] == ["metadata", "identity"]:
        # What the service says of a VM without an identity, and no VM here has one.
        raise _Refused(400, "invalid_request", error_description="Identity not found")
    if parts[:2] in (["metadata"], ["metadata", "instance"]):
        _check_version(request)
    if parts[:2] != ["metadata", "instance"]:
        raise _Refused(404, f"Not found. This fabric does not serve {_path(request)}")
    extended = request.query_params.get("extended", "").lower() == "true"
    document = instance_document(guest.instance, extended=extended)
    return _answer(document, parts[2:], request.query_params.get("format", "json").lower())


def _path(request: Request) -> str:
    """The path of a request as sent, cut to a length for people."""
    path: str = request.scope["raw_path"].decode("latin-1")
    return path[:PATH_LENGTH]


def _check_version(request: Request) -> None:
    if request.query_params.get("api-version") not in (*VERSIONS, *UNLISTED_VERSIONS):
        newest = sorted(VERSIONS, reverse=True)[:3]
        raise _Refused(400, WRONG_VERSION, **{"newest-versions": newest})


def _answer(document: dict[str, Any], path: list[str], form: str) -> Response:
    found: Any = document
    for part in path:
        found = _descend(found, part)
    if form == "text":
        return PlainTextResponse(_as_text(found))
    if form != "json":
        raise _Refused(400, f"Bad request. format {form!r} is neither json nor text")
    if isinstance(found, str):
        raise _Refused(400, "Bad request. A leaf is served with format=text only")
    return JSONResponse(found)


def _descend(node: Any, part: str) -> Any:
    """The child of that name, without regard to case, or number; refused when there is none."""
    if isinstance(node, dict):
        children = {name.lower(): value for name, value in node.items()}
        if part.lower() in children:
            return children[part.lower()]
    if isinstance(node, list) and part in {str(number) for number in range(len(node))}:
        return node[int(part)]
    raise _Refused(404, "Not found")


def _as_text(node: Any) -> str:
    """A leaf as it is; of a node the names of its children, a line each, as the service lists them."""
    if isinstance(node, dict):
        return "\n".join(f"{name}/" if isinstance(v, dict | list) else name for name, v in node.items())
    if isinstance(node, list):
        return "\n".join(f"{number}/" for number in range(len(node)))
    return str(node)
