"""Credentials that open nothing."""

import time
from typing import Any, Final

from azure.core.credentials import AccessToken

STORAGE_ACCOUNT_FAKE_KEY: Final = (
    "NzhL3hKZbJBuJ2484dPTR+xF30kYaWSSCbs2BzLgVVI1woqeST/1IgqaLm6QAOTxtGvxctSNbIR/1hW8yH+bJg=="
)


class FakeTokenCredential:
    def __init__(self) -> None:
        self.get_token_count = 0

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        self.get_token_count += 1
        return AccessToken("YOU SHALL NOT PASS", int(time.time()) + 3600)
