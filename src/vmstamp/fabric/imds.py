"""The door of the Instance Metadata Service (169.254.169.254:80)."""

from __future__ import annotations

from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from vmstamp.fabric.guests import Guests
from vmstamp.fabric.imds_document import UNLISTED_VERSIONS, VERSIONS, instance_document
from vmstamp.fabric.report import name_reporter
from vmstamp.timeline import Stage


def app(guests: Guests) -> Starlette:
    """The metadata service of one virtual network."""

    def serve(request: Request) -> Response:
        return _serve(guests, request)

    return Starlette(routes=[Route("/{path:path}", serve, methods=["GET", "POST", "PUT", "DELETE"])])


def _serve(guests: Guests, request: Request) -> Response:
    guest = guests.find(request.client.host if request.client else "")
    if guest is None:
        return _refused(404, "Not found")
    if request.headers.get("metadata", "").lower() != "true":
        return _refused(400, "Bad request. Required metadata header not specified")
    if "x-forwarded-for" in request.headers:
        return _refused(400, "Bad request. Request contains unexpected header X-Forwarded-For")
    parts = [part for part in request.path_params["path"].split("/") if part]
    if parts[:1] != ["metadata"]:
        return _refused(404, "Not found")
    if request.method != "GET":
        return _refused(405, "Method not allowed")
    guest.mark(Stage.IMDS, f"/{'/'.join(parts)} by {name_reporter(dict(request.headers))}")
    if parts[1:] == ["versions"]:
        return JSONResponse({"apiVersions": list(VERSIONS)})
    if parts[1:2] != ["instance"]:
        return _refused(404, f"Not found: this fabric does not serve /{'/'.join(parts)}")
    if request.query_params.get("api-version") not in (*VERSIONS, *UNLISTED_VERSIONS):
        return _wrong_version()
    extended = request.query_params.get("extended", "").lower() == "true"
    document = instance_document(guest.instance, extended=extended)
    return _answer(document, parts[2:], request.query_params.get("format", ""))


def _answer(document: Any, path: list[str], form: str) -> Response:
    found = document
    for part in path:
        found = _descend(found, part)
        if found is None:
            return _refused(404, "Not found")
    if form.lower() == "text":
        return PlainTextResponse(_as_text(found))
    if isinstance(found, str):
        return _refused(400, "Bad request. The requested leaf needs format=text")
    return JSONResponse(found)


def _descend(node: Any, part: str) -> Any:
    if isinstance(node, dict):
        return next((value for name, value in node.items() if name.lower() == part.lower()), None)
    if isinstance(node, list) and part.isdigit() and int(part) < len(node):
        return node[int(part)]
    return None


def _as_text(node: Any) -> str:
    """A leaf as it is; of a node the names of its children, a line each, as the service lists them."""
    if isinstance(node, dict):
        return "\n".join(f"{name}/" if isinstance(v, dict | list) else name for name, v in node.items())
    if isinstance(node, list):
        return "\n".join(f"{number}/" for number in range(len(node)))
    return str(node)


def _refused(status: int, message: str) -> Response:
    return JSONResponse({"error": message}, status)


def _wrong_version() -> Response:
    newest = list(reversed(VERSIONS))[:3]
    message = "Bad request. api-version was not specified or is not supported"
    return JSONResponse({"error": message, "newest-versions": newest}, 400)
