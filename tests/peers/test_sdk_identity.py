"""azure-identity of today and of three years ago against the authority of a running stamp."""

import sys
from pathlib import Path

import pytest

from tests.peers.programs import PROGRAMS
from tests.peers.shell import Shell

PYTHONS = {"today": Path(sys.executable), "2023": PROGRAMS.parent / "azure-sdk-2023" / "bin" / "python"}
PROGRAM = """
import os
from azure.identity import AzureCliCredential, ClientSecretCredential, DefaultAzureCredential
from azure.identity import EnvironmentCredential
from azure.mgmt.resource.resources import ResourceManagementClient

url = os.environ["AZURE_AUTHORITY_HOST"]
words = [os.environ[f"AZURE_{name}"] for name in ("TENANT_ID", "CLIENT_ID", "CLIENT_SECRET")]
options = {"authority": url, "disable_instance_discovery": True}
credentials = [
    EnvironmentCredential(**options),
    ClientSecretCredential(*words, **options),
    ClientSecretCredential("adfs", *words[1:], **options),
    ClientSecretCredential("adfs", *words[1:], authority=url),
    AzureCliCredential(),
]
os.environ["AZURE_TENANT_ID"] = "adfs"
credentials.append(DefaultAzureCredential())
for credential in credentials:
    scopes = [f"{url}/.default"]
    subscription = os.environ["AZURE_SUBSCRIPTION_ID"]
    client = ResourceManagementClient(credential, subscription, base_url=url, credential_scopes=scopes)
    print(client.resource_groups.create_or_update("rg", {"location": "local"}).name)
"""


@pytest.mark.parametrize("age", PYTHONS)
def test_a_program_signs_in_with_what_the_shell_was_given(shell: Shell, age: str) -> None:
    if not PYTHONS[age].exists():
        pytest.skip(f"{PYTHONS[age]} is missing: make peers")
    (shell.directory / "program.py").write_text(PROGRAM)
    done = shell.run(f'eval "$(vmstamp env)"; {PYTHONS[age]} program.py')
    assert done.text.splitlines() == ["rg"] * 6
