"""The WireServer's door (168.63.129.16:80) and the HostGAPlugin's (port 32526).

Requests: WALinuxAgent `common/protocol/wire.py` and `hostplugin.py`, cloud-init `sources/helpers/azure.py`.
What no agent asks for answers 404 by name.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from vmstamp.errors import VmstampError
from vmstamp.fabric import goal_state as documents
from vmstamp.fabric.certificates import DEFAULT_CIPHER, envelop
from vmstamp.fabric.guests import Guest, Guests
from vmstamp.fabric.report import name_reporter, parse_health
from vmstamp.timeline import Stage

MIB = 1 << 20
HEALTH_LIMIT = 64 << 10  # bytes of a body; agents cut their telemetry at 64 KiB themselves
TELEMETRY_LIMIT = MIB
STATUS_LIMIT = 4 * MIB
LOG_LIMIT = 32 * MIB
HOST_PLUGIN_VERSION = "2015-09-01"

Handler = Callable[[Request, Guest], Awaitable[Response]]


def app(guests: Guests) -> Starlette:
    """The WireServer of one virtual network."""

    def for_guest(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        return _for_guest(guests, handler)

    machine = ["/machine", "/machine/", "/machine/{container}/{role:path}"]
    return Starlette(
        routes=[
            Route("/", for_guest(_root)),
            *(Route(path, for_guest(_machine), methods=["GET", "POST"]) for path in machine),
            Route("/HealthService", for_guest(_health_service), methods=["POST"]),
            Route(documents.MANIFEST_PATH, for_guest(_manifest)),
            Route(documents.STATUS_PATH + "/{vm_id}", for_guest(_put_status), methods=["PUT"]),
        ]
    )


def host_plugin(guests: Guests) -> Starlette:
    """The HostGAPlugin of one virtual network."""

    def for_guest(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        return _for_guest(guests, handler)

    return Starlette(
        routes=[
            Route("/versions", for_guest(_plugin_versions)),
            Route("/health", for_guest(_plugin_health)),
            Route("/vmSettings", for_guest(_vm_settings)),
            Route("/status", for_guest(_plugin_status), methods=["PUT"]),
            Route("/vmAgentLog", for_guest(_agent_log), methods=["PUT"]),
            Route("/extensionArtifact", for_guest(_artifact)),
        ]
    )


def _for_guest(guests: Guests, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    async def handle(request: Request) -> Response:
        guest = guests.find(request.client.host if request.client else "")
        if guest is None:
            return PlainTextResponse("No VM of this network has this address.", 404)
        reporter = name_reporter(dict(request.headers))
        guest.mark(Stage.WIRESERVER, f"{request.method} by {reporter}")
        if reporter.startswith("WALinuxAgent"):
            guest.mark(Stage.AGENT, reporter)
            guest.beat(reporter)
        try:
            return await handler(request, guest)
        except ValueError as error:
            return PlainTextResponse(f"Bad request: {error}", 400)
        except ClientDisconnect:
            return Response(status_code=400)

    return handle


async def read_body(request: Request, limit: int) -> bytes:
    """The whole body; ValueError when it is over `limit` bytes."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise ValueError(f"the body is over {limit} bytes")
    return bytes(body)


def _xml(text: str) -> Response:
    return Response(text, media_type="text/xml; charset=utf-8")


async def _root(request: Request, guest: Guest) -> Response:
    if request.query_params.get("comp") == "versions":
        return _xml(documents.versions())
    return _unknown(request)


async def _machine(request: Request, guest: Guest) -> Response:
    comp = request.query_params.get("comp", "").lower()
    handler = {
        ("GET", "goalstate"): _goal_state,
        ("GET", "config"): _config,
        ("GET", "certificates"): _certificates,
        ("POST", "health"): _health,
        ("POST", "roleproperties"): _role_properties,
        ("POST", "telemetrydata"): _telemetry,
    }.get((request.method, comp))
    return await handler(request, guest) if handler else _unknown(request)


def _unknown(request: Request) -> Response:
    return PlainTextResponse(f"Not supported: {request.method} {request.url.path}?{request.url.query}", 404)


async def _goal_state(request: Request, guest: Guest) -> Response:
    guest.mark(Stage.GOAL_STATE, f"incarnation {guest.incarnation}, {name_reporter(dict(request.headers))}")
    return _xml(documents.goal_state(guest.instance, guest.incarnation))


async def _config(request: Request, guest: Guest) -> Response:
    kind = request.query_params.get("type", "")
    build = {
        "hostingenvironmentconfig": documents.hosting_environment_config,
        "sharedconfig": documents.shared_config,
        "extensionsconfig": documents.extensions_config,
    }.get(kind.lower())
    return _xml(build(guest.instance, guest.incarnation)) if build else _unknown(request)


async def _certificates(request: Request, guest: Guest) -> Response:
    transport = request.headers.get("x-ms-guest-agent-public-x509-cert", "")
    cipher = request.headers.get("x-ms-cipher-name", DEFAULT_CIPHER)
    try:
        blob = await run_in_threadpool(lambda: envelop(guest.tenant, transport, cipher))
    except VmstampError as error:
        return PlainTextResponse(error.message, 500)
    return _xml(documents.certificates(blob, guest.incarnation))


async def _health(request: Request, guest: Guest) -> Response:
    document = parse_health(await read_body(request, HEALTH_LIMIT))
    guest.report(document, name_reporter(dict(request.headers)))
    return Response(status_code=200)


async def _role_properties(request: Request, guest: Guest) -> Response:
    await read_body(request, HEALTH_LIMIT)
    return Response(status_code=202)


async def _telemetry(request: Request, guest: Guest) -> Response:
    await read_body(request, TELEMETRY_LIMIT)
    return Response(status_code=200)


async def _health_service(request: Request, guest: Guest) -> Response:
    json.loads(await read_body(request, TELEMETRY_LIMIT))
    return Response(status_code=200)


async def _manifest(request: Request, guest: Guest) -> Response:
    return _xml(documents.agent_manifest())


async def _put_status(request: Request, guest: Guest) -> Response:
    """The status blob put straight to its URL, as the agent does when the plugin refuses."""
    if request.path_params["vm_id"] != guest.instance.vm_id:
        return PlainTextResponse("This is another VM's status.", 403)
    guest.take_status(_parse_status(await read_body(request, STATUS_LIMIT)))
    return Response(status_code=201)


def _parse_status(body: bytes) -> dict[str, Any]:
    status = json.loads(body)
    if not isinstance(status, dict):
        raise ValueError("the status is not a JSON object")
    return status


# HostGAPlugin


async def _plugin_versions(request: Request, guest: Guest) -> Response:
    return JSONResponse([HOST_PLUGIN_VERSION])


async def _plugin_health(request: Request, guest: Guest) -> Response:
    return Response(status_code=200)


async def _vm_settings(request: Request, guest: Guest) -> Response:
    """404 tells the agent that there is no FastTrack channel; it then goes by the goal state alone."""
    return Response(status_code=404)


async def _plugin_status(request: Request, guest: Guest) -> Response:
    """The status blob by way of the plugin: `content` is base64; a page blob comes in several calls."""
    document = _parse_status(await read_body(request, STATUS_LIMIT))
    try:
        content = base64.b64decode(str(document.get("content", "")), validate=True)
    except binascii.Error as error:
        raise ValueError(f"content is not base64: {error}") from error
    if content.strip(b"\0 "):
        guest.take_status(_parse_status(content.rstrip(b"\0 ")))
    return Response(status_code=200)


async def _agent_log(request: Request, guest: Guest) -> Response:
    await read_body(request, LOG_LIMIT)
    return Response(status_code=200)


async def _artifact(request: Request, guest: Guest) -> Response:
    location = request.headers.get("x-ms-artifact-location", "")
    return PlainTextResponse(f"Not supported: extension artifacts (asked for {location!r})", 404)
