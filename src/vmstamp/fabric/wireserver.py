"""The WireServer's door (168.63.129.16:80) and the HostGAPlugin's (port 32526).

Requests: WALinuxAgent `common/protocol/wire.py` and `hostplugin.py`, cloud-init `sources/helpers/azure.py`.
Bad input answers 400 (413 when it is too long), what is not supported 404 by name; in XML on the
WireServer, in JSON on the plugin.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from vmstamp.errors import VmstampError
from vmstamp.fabric import goal_state as documents
from vmstamp.fabric.certificates import DEFAULT_CIPHER, envelop
from vmstamp.fabric.extensions import Handler as ExtensionHandler
from vmstamp.fabric.extensions import build_package, find_handler
from vmstamp.fabric.guests import Guest, Guests
from vmstamp.fabric.report import WALINUXAGENT, Reporter, name_reporter, parse_health
from vmstamp.timeline import Stage

KIB = 1 << 10
MIB = 1 << 20
HEALTH_LIMIT = 64 * KIB  # bytes of a body
# The agent fills 64 KiB with events and puts the document's own elements around them.
TELEMETRY_LIMIT = 96 * KIB
STATUS_LIMIT = 2 * MIB
LOG_LIMIT = 32 * MIB
LINE_LENGTH = 300  # characters of a request's line that are shown
HOST_PLUGIN_VERSION = "2015-09-01"

Handler = Callable[[Request, Guest], Awaitable[Response]]
Refusal = Callable[[int, str, str], Response]


class _Refused(Exception):
    """An answer that is not 200: status, a code in one word, a message."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


def wireserver_app(guests: Guests) -> Starlette:
    """The WireServer of one virtual network."""
    routes = {
        ("GET", "/"): _root,
        ("GET", "/machine"): _machine,
        ("POST", "/machine"): _machine,
        ("GET", "/machine/{container}/{role}"): _machine_of,
        ("POST", "/HealthService"): _health_service,
        ("GET", documents.MANIFEST_PATH): _manifest,
        ("GET", documents.EXTENSIONS_PATH + "/{name}/manifest.xml"): _extension_manifest,
        ("GET", documents.EXTENSIONS_PATH + "/{name}/{version}.zip"): _extension_package,
        ("PUT", documents.STATUS_PATH + "/{vm_id}"): _put_status,
    }
    return _app(guests, routes, _xml_refusal)


def host_plugin_app(guests: Guests) -> Starlette:
    """The HostGAPlugin of one virtual network."""
    routes = {
        ("GET", "/versions"): _plugin_versions,
        ("GET", "/health"): _plugin_health,
        ("PUT", "/status"): _plugin_status,
        ("PUT", "/vmAgentLog"): _agent_log,
    }
    return _app(guests, routes, _json_refusal)


def _app(guests: Guests, handlers: Mapping[tuple[str, str], Handler], refusal: Refusal) -> Starlette:
    """Every request goes to its handler with its guest; `/machine/` is `/machine`."""

    def door(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        async def handle(request: Request) -> Response:
            try:
                return await _serve(guests, handler, request)
            except _Refused as refused:
                return refusal(refused.status, refused.code, str(refused))
            except ValueError as error:
                return refusal(400, "InvalidInput", str(error))
            except ClientDisconnect:
                return Response(status_code=400)

        return handle

    routes = []
    for (method, path), handler in handlers.items():
        paths = [path] if path == "/" else [path, path + "/"]
        routes += [Route(each, door(handler), methods=[method]) for each in paths]
    methods = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]
    rest = Route("/{path:path}", door(_unsupported), methods=methods)
    return Starlette(routes=[*routes, rest])


async def _serve(guests: Guests, handler: Handler, request: Request) -> Response:
    guest = guests.find(request.client.host if request.client else "")
    if guest is None:
        raise _Refused(404, "NotFound", "no VM of this network has this address")
    reporter = _reporter(request)
    guest.mark(Stage.WIRESERVER, f"{_line(request)} by {reporter}")
    if reporter.name == WALINUXAGENT:
        guest.mark(Stage.AGENT, str(reporter))
    return await handler(request, guest)


def _reporter(request: Request) -> Reporter:
    return name_reporter(request.headers)


def _line(request: Request) -> str:
    """Method and target of a request, as sent."""
    path, query = request.scope["raw_path"].decode("latin-1"), request.url.query
    return f"{request.method} {path}{'?' if query else ''}{query}"[:LINE_LENGTH]


def _xml_refusal(status: int, code: str, message: str) -> Response:
    return _xml(documents.error(code, message), status)


def _json_refusal(status: int, code: str, message: str) -> Response:
    return JSONResponse({"errorCode": code, "message": message}, status)


def _xml(text: str, status: int = 200) -> Response:
    return Response(text, status, media_type="text/xml; charset=utf-8")


async def _read_body(request: Request, limit: int) -> bytes:
    """The whole body; refused when it is over `limit` bytes."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise _Refused(413, "RequestBodyTooLarge", f"the body is over {limit} bytes")
    return bytes(body)


async def _skip_body(request: Request, limit: int) -> None:
    """Read a body that nobody keeps, in constant memory; refused when it is over `limit` bytes."""
    length = 0
    async for chunk in request.stream():
        length += len(chunk)
        if length > limit:
            raise _Refused(413, "RequestBodyTooLarge", f"the body is over {limit} bytes")


def _parse_object(body: bytes, what: str) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{what} is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise ValueError(f"{what} is not a JSON object")
    return document


async def _unsupported(request: Request, guest: Guest) -> Response:
    raise _Refused(404, "NotSupported", f"not supported: {_line(request)}")


async def _root(request: Request, guest: Guest) -> Response:
    if request.query_params.get("comp") == "versions":
        return _xml(documents.versions())
    return await _unsupported(request, guest)


async def _machine(request: Request, guest: Guest) -> Response:
    version = request.headers.get("x-ms-version", documents.PROTOCOL_VERSION)
    if version not in documents.SUPPORTED_VERSIONS:
        supported = ", ".join(documents.SUPPORTED_VERSIONS)
        raise _Refused(400, "InvalidVersion", f"x-ms-version {version!r} is not one of {supported}")
    comp = request.query_params.get("comp", "").lower()
    handler = {
        ("GET", "goalstate"): _goal_state,
        ("POST", "health"): _health,
        ("POST", "roleproperties"): _role_properties,
        ("POST", "telemetrydata"): _telemetry,
    }.get((request.method, comp), _unsupported)
    return await handler(request, guest)


async def _machine_of(request: Request, guest: Guest) -> Response:
    """What a goal state points at: its container and role instance are in the path."""
    instance = guest.instance
    if (request.path_params["container"], request.path_params["role"]) != (
        instance.container_id,
        instance.role_instance_id,
    ):
        raise _Refused(410, "ResourceNotAvailable", "this goal state is not the VM's; fetch it anew")
    comp = request.query_params.get("comp", "").lower()
    if comp == "certificates":
        return await _certificates(request, guest)
    build = {
        "hostingenvironmentconfig": documents.hosting_environment_config,
        "sharedconfig": documents.shared_config,
        "extensionsconfig": documents.extensions_config,
    }.get(request.query_params.get("type", "").lower())
    if comp != "config" or build is None:
        return await _unsupported(request, guest)
    return _xml(build(instance, guest.goal_state))


async def _goal_state(request: Request, guest: Guest) -> Response:
    goal, reporter = guest.goal_state, _reporter(request)
    guest.mark(Stage.GOAL_STATE, f"incarnation {goal.incarnation}, by {reporter}")
    if reporter.name == WALINUXAGENT:
        guest.beat(reporter.version)
    return _xml(documents.goal_state(guest.instance, goal))


async def _certificates(request: Request, guest: Guest) -> Response:
    transport = request.headers.get("x-ms-guest-agent-public-x509-cert")
    if transport is None:
        raise ValueError("the header x-ms-guest-agent-public-x509-cert is missing")
    cipher = request.headers.get("x-ms-cipher-name", DEFAULT_CIPHER)
    try:
        blob = await asyncio.to_thread(lambda: envelop(guest.tenant.pfx, transport, cipher))
    except VmstampError as error:
        raise _Refused(500, "InternalError", error.message) from error
    return _xml(documents.certificates(blob, guest.goal_state))


async def _health(request: Request, guest: Guest) -> Response:
    document = parse_health(await _read_body(request, HEALTH_LIMIT))
    guest.report(document, _reporter(request))
    return Response()


async def _role_properties(request: Request, guest: Guest) -> Response:
    await _skip_body(request, HEALTH_LIMIT)
    return Response(status_code=202)


async def _telemetry(request: Request, guest: Guest) -> Response:
    await _skip_body(request, TELEMETRY_LIMIT)
    return Response()


async def _health_service(request: Request, guest: Guest) -> Response:
    _parse_object(await _read_body(request, TELEMETRY_LIMIT), "the observation")
    return Response()


async def _manifest(request: Request, guest: Guest) -> Response:
    return _xml(documents.agent_manifest())


def _extension(request: Request) -> ExtensionHandler:
    name = request.path_params["name"]
    handler = find_handler(name)
    if handler is None:
        raise _Refused(404, "NotFound", f"no extension handler {name[:LINE_LENGTH]!r}")
    return handler


async def _extension_manifest(request: Request, guest: Guest) -> Response:
    return _xml(documents.extension_manifest(_extension(request)))


async def _extension_package(request: Request, guest: Guest) -> Response:
    handler, version = _extension(request), request.path_params["version"]
    if version != handler.version:
        raise _Refused(404, "NotFound", f"{handler.name} has no version {version[:LINE_LENGTH]!r}")
    return Response(build_package(handler), media_type="application/zip")


async def _put_status(request: Request, guest: Guest) -> Response:
    """The status blob put straight to its URL, as the agent does when the plugin fails."""
    if request.path_params["vm_id"] != guest.instance.vm_id:
        raise _Refused(403, "AuthorizationFailure", "this is another VM's status blob")
    guest.take_status(_parse_object(await _read_body(request, STATUS_LIMIT), "the status blob"))
    return Response(status_code=201)


# HostGAPlugin. It has no /vmSettings: 404 tells the agent that there is no FastTrack, only goal states.


async def _plugin_versions(request: Request, guest: Guest) -> Response:
    return JSONResponse([HOST_PLUGIN_VERSION])


async def _plugin_health(request: Request, guest: Guest) -> Response:
    return Response()


async def _plugin_status(request: Request, guest: Guest) -> Response:
    """The status blob by way of the plugin: a block blob, so one request with all of it in base64."""
    document = _parse_object(await _read_body(request, STATUS_LIMIT), "the request")
    path = urlsplit(str(document.get("requestUri", ""))).path
    if path != f"{documents.STATUS_PATH}/{guest.instance.vm_id}":
        raise ValueError(f"requestUri is not the VM's status blob but {path[:160]!r}")
    try:
        content = base64.b64decode(str(document.get("content", "")), validate=True)
    except binascii.Error as error:
        raise ValueError(f"content is not base64: {error}") from error
    guest.take_status(_parse_object(content, "the status blob"))
    return Response()


async def _agent_log(request: Request, guest: Guest) -> Response:
    await _skip_body(request, LOG_LIMIT)
    return Response()
