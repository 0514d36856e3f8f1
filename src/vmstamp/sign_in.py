"""The door where clients get tokens: OpenID configuration, the token endpoint, and ARM's metadata.

Speaks the client-credentials grant only (RFC 6749 4.4), in the style of AD FS (`/adfs`, which makes
clients skip instance discovery) and of Microsoft Entra ID (`/{tenant}/oauth2/v2.0/token`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import parse_qsl

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from vmstamp.errors import AzureError
from vmstamp.identity import Tokens

GRANT = "client_credentials"
SINGLE_CLOUD = "2022-09-01"  # from this api-version of the metadata on it is no list
GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

Tenants = Callable[[], Sequence[str]]


def routes(tokens: Tokens, base: str, tenants: Tenants = lambda: ()) -> list[Route]:
    """The routes, for a stamp whose ARM endpoint is `base`. `tenants` gives the tenants' ids.

    A token is of the tenant in the URL; one that is no GUID (`adfs`, `organizations`) is the stamp's own.
    """

    def configuration(request: Request) -> Response:
        authority = f"{base}/{request.path_params['tenant']}"
        return JSONResponse(
            {
                "issuer": base,
                "authorization_endpoint": f"{authority}/oauth2/authorize",
                "token_endpoint": f"{authority}/oauth2/token",
                "response_types_supported": ["token"],
                "grant_types_supported": [GRANT],
                "token_endpoint_auth_methods_supported": ["client_secret_post"],
            }
        )

    async def token(request: Request) -> Response:
        fields = dict(parse_qsl((await request.body()).decode(errors="replace"), max_num_fields=32))
        given = request.path_params["tenant"]
        if not GUID.fullmatch(given):
            return _grant(tokens, fields, "")
        known = await run_in_threadpool(tenants)
        tenant = next((one for one in known if one.lower() == given.lower()), None)
        if known and tenant is None:
            return _refused(400, "invalid_request", f"AADSTS90002: Tenant '{given}' not found.")
        return _grant(tokens, fields, tenant or "")

    def endpoints(request: Request) -> Response:
        asked = request.query_params.get("api-version", SINGLE_CLOUD)
        return JSONResponse(_metadata(base) if asked >= SINGLE_CLOUD else [_metadata(base)])

    return [
        Route("/{tenant}/.well-known/openid-configuration", configuration),
        Route("/{tenant}/v2.0/.well-known/openid-configuration", configuration),
        Route("/{tenant}/oauth2/token", token, methods=["POST"]),
        Route("/{tenant}/oauth2/v2.0/token", token, methods=["POST"]),
        Route("/metadata/endpoints", endpoints),
    ]


def _grant(tokens: Tokens, fields: dict[str, str], tenant: str) -> Response:
    if fields.get("grant_type") != GRANT:
        found = fields.get("grant_type", "none")
        return _refused(400, "unsupported_grant_type", f"this stamp grants {GRANT} only; found {found}")
    scope = fields.get("scope") or fields.get("resource", "")
    try:
        id, secret = fields.get("client_id", ""), fields.get("client_secret", "")
        token, lifetime = tokens.exchange(id, secret, scope, tenant)
    except AzureError as error:
        return _refused(error.status, error.code, error.message)
    return JSONResponse(
        {"token_type": "Bearer", "expires_in": lifetime, "ext_expires_in": lifetime, "access_token": token},
        headers={"Cache-Control": "no-store"},
    )


def _refused(status: int, code: str, description: str) -> Response:
    return JSONResponse({"error": code, "error_description": description}, status)


def _metadata(base: str) -> dict[str, Any]:
    """What `az cloud register` reads; a list of it is what ARM_CLOUD_METADATA_URL tells az.

    REST: GET /metadata/endpoints, 2022-09-01 (one cloud), 2019-05-01 (a list).
    """
    return {
        "name": "vmstamp",
        "resourceManager": base,
        "authentication": {"loginEndpoint": f"{base}/adfs", "audiences": [base], "tenant": "adfs"},
        "suffixes": {"storage": "core.localhost"},
        "vmImageAliasDoc": f"{base}/aliases.json",
    }
