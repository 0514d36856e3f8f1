"""Which credential opens which URL; nothing is sent."""

import sys
from typing import Any

import pytest

from vmstamp.cli.storage import is_azure, open_url
from vmstamp.errors import TransferError
from vmstamp.transfer.blobs import has_sas

AZURE = "https://acct.blob.core.windows.net/vhds/web.vhd"
LOCAL = "http://127.0.0.1:10000/acct/vhds/web.vhd"
SAS = "sv=2021-12-02&sr=b&sp=r&se=2030-01-01T00%3A00%3A00Z&sig=c2ln"


@pytest.mark.parametrize(
    ("url", "azure"),
    [
        (AZURE, True),
        ("https://acct.blob.core.chinacloudapi.cn/vhds/web.vhd", True),
        ("http://acct.blob.core.windows.net/vhds/web.vhd", False),
        (LOCAL, False),
        ("https://127.0.0.1:10001/acct/vhds/web.vhd", False),
        ("https://[::1]:10001/acct/vhds/web.vhd", False),
        ("https://acct.blob.localhost:10001/vhds/web.vhd", False),
        ("https://stamp:10001/acct/vhds/web.vhd", False),
    ],
)
def test_only_https_to_another_machine_may_be_azure(url: str, azure: bool) -> None:
    assert is_azure(url) is azure


def test_a_snapshot_is_no_sas() -> None:
    assert has_sas(f"{AZURE}?{SAS}") and has_sas(f"{AZURE}?snapshot=2026&{SAS}")
    assert not has_sas(f"{AZURE}?snapshot=2026-01-01T00:00:00.0000000Z")


def kind(url: str, key: str | None = None) -> str:
    """How a URL is opened."""
    client = open_url(url, key)
    if client is None:
        return "stamp"
    credential: Any = client.credential
    client.close()
    return "anonymous or SAS" if credential is None else type(credential).__name__


def test_a_sas_goes_before_a_key_before_the_default_credential() -> None:
    assert kind(f"{AZURE}?{SAS}", "a2V5") == "anonymous or SAS"
    assert kind(AZURE, "a2V5") == kind(LOCAL, "a2V5") == "SharedKeyCredentialPolicy"
    assert kind(AZURE) == "DefaultAzureCredential"
    assert kind(f"{AZURE}?snapshot=2026-01-01T00:00:00.0000000Z") == "DefaultAzureCredential"
    assert kind(LOCAL) == "stamp"


def test_a_missing_azure_identity_is_said_with_the_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "azure.identity", None)
    with pytest.raises(TransferError, match="azure-identity, which is not installed") as caught:
        open_url(AZURE)
    assert "vmstamp[azure]" in caught.value.hint
