"""Credentials that open nothing: their tokens have expired, so that each try asks for a new one."""

import base64
from typing import Any, Final

from azure.core.credentials import AccessToken

STORAGE_ACCOUNT_FAKE_KEY: Final = base64.b64encode(b"opens nothing").decode()


class FakeTokenCredential:
    def __init__(self) -> None:
        self.get_token_count = 0

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        self.get_token_count += 1
        return AccessToken("YOU SHALL NOT PASS", 0)
