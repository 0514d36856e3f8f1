"""The credential that opens nothing, for asynchronous clients; see fake_credentials."""

from types import TracebackType
from typing import Any

from azure.core.credentials import AccessToken


class AsyncFakeCredential:
    def __init__(self) -> None:
        self.get_token_count = 0

    async def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        self.get_token_count += 1
        return AccessToken("YOU SHALL NOT PASS", 0)

    async def close(self) -> None:
        pass

    async def __aenter__(self) -> "AsyncFakeCredential":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass
