"""Signing in to ARM: what the pipeline needs of a credential, and a stamp's own, by its client's secret.

A cloud's is azure-identity's (`cloud.sign_in`).
"""

from __future__ import annotations

import time
from typing import Any, Protocol

from azure.core.credentials import AccessToken
from azure.core.pipeline import PipelineRequest, PipelineResponse
from azure.core.pipeline.policies import HTTPPolicy, RetryPolicy
from azure.core.rest import HttpRequest, HttpResponse
from azure.mgmt.core import ARMPipelineClient

from vmstamp.cli.endpoint import Endpoint
from vmstamp.errors import StampError


class TokenCredential(Protocol):
    """What the pipeline needs of a credential; azure-identity's classes fit."""

    def get_token(self, *scopes: str, **options: Any) -> AccessToken: ...


class ClientCredential:
    """Client credentials at the stamp's own token endpoint (OAuth 2.0, RFC 6749 4.4)."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._client: ARMPipelineClient[HttpRequest, HttpResponse] = ARMPipelineClient(
            endpoint.arm, policies=[RetryPolicy(retry_total=2)], connection_verify=str(endpoint.ca)
        )

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        """A token for the scopes. Raises StampError when the endpoint refuses."""
        form = {
            "grant_type": "client_credentials",
            "client_id": self._endpoint.client_id,
            "client_secret": self._endpoint.client_secret,
            "scope": " ".join(scopes),
        }
        url = f"{self._endpoint.arm}/adfs/oauth2/token"
        response = self._client.send_request(HttpRequest("POST", url, data=form))
        if response.status_code != 200:
            raise StampError(f"{url}: {response.status_code} {response.reason}: {response.text()[:200]}")
        answer = response.json()
        return AccessToken(answer["access_token"], int(time.time()) + int(answer["expires_in"]))

    def close(self) -> None:
        self._client.close()


class NewTokenPolicy(HTTPPolicy[HttpRequest, HttpResponse]):
    """Sends a request that was refused for its token once more; the policy behind it takes a new token then.

    A token is renewed before its time is over, but a computer that slept or whose clock was set misses that.
    """

    def send(self, request: PipelineRequest[HttpRequest]) -> PipelineResponse[HttpRequest, HttpResponse]:
        response = self.next.send(request)
        return self.next.send(request) if response.http_response.status_code == 401 else response
