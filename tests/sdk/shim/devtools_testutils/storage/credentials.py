"""A credential whose token our server signed; whoever started this process put it into the environment."""

from __future__ import annotations

import os
import time
from types import TracebackType
from typing import Any

from azure.core.credentials import AccessToken


def _token() -> AccessToken:
    return AccessToken(os.environ["VMSTAMP_SDK_TOKEN"], int(time.time()) + 3000)


class LiveCredential:
    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        return _token()


class AsyncLiveCredential:
    async def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        return _token()

    async def close(self) -> None:
        pass

    async def __aenter__(self) -> AsyncLiveCredential:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass
