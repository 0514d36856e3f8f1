"""Clouds as data: which endpoint, whose subscription, what stays and costs. Nothing is sent."""

import json
from typing import Any

import click
import pytest
from azure.mgmt.core.tools import get_arm_endpoints
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from tests.unit.cli.test_cli_flows import MemoryArm
from vmstamp.cli.arm_client import ArmClient
from vmstamp.cli.cloud import (
    CLOUDS,
    Chosen,
    authority_of,
    choose_subscription,
    cloud_endpoint,
    refuse_foreign_environment,
)
from vmstamp.cli.main import cli
from vmstamp.cli.managed_disks import disk_access
from vmstamp.cli.options import chosen, end_of, note_left
from vmstamp.cli.resources import ensure
from vmstamp.cli.wanted import Cost, Wanted, delete_command
from vmstamp.errors import AzureError, CloudError, StampError, VmstampError

GROUP = "/subscriptions/s/resourceGroups/g"
COMPUTE = f"{GROUP}/providers/Microsoft.Compute"
ONE = {"subscriptionId": "1", "displayName": "one", "state": "Enabled"}
TWO = {"subscriptionId": "2", "displayName": "two", "state": "Enabled"}
OFF = {"subscriptionId": "3", "displayName": "off", "state": "Disabled"}


@pytest.mark.parametrize("cloud", CLOUDS, ids=lambda cloud: str(cloud.name))
def test_endpoints_and_scopes_are_those_of_the_sdk(cloud: Any) -> None:
    from azure.core import AzureClouds

    known = {
        "azure": AzureClouds.AZURE_PUBLIC_CLOUD,
        "AzureUSGovernment": AzureClouds.AZURE_US_GOVERNMENT,
        "AzureChinaCloud": AzureClouds.AZURE_CHINA_CLOUD,
    }
    theirs = get_arm_endpoints(known[cloud.name])
    assert f"{cloud.arm}/" == theirs["resource_manager"]
    assert [cloud.scope] == theirs["credential_scopes"]


def test_another_endpoint_has_its_own_scope_and_no_authority() -> None:
    found = cloud_endpoint(Chosen("AZURE", "https://127.0.0.1:8443/", "s", "here"))
    assert (found.cloud, found.arm, found.scope) == (
        "azure",
        "https://127.0.0.1:8443",
        "https://127.0.0.1:8443/.default",
    )
    assert (found.authority, found.ca) == ("", None)
    with pytest.raises(VmstampError, match="expected an https URL"):
        cloud_endpoint(Chosen("azure", "http://127.0.0.1"))
    with pytest.raises(VmstampError, match="there is no cloud 'aws'"):
        cloud_endpoint(Chosen("aws"))


@pytest.mark.parametrize(
    ("url", "authority"),
    [
        ("https://a.blob.core.windows.net/c/b", "https://login.microsoftonline.com"),
        ("https://a.blob.core.chinacloudapi.cn/c/b", "https://login.chinacloudapi.cn"),
        ("https://a.blob.core.usgovcloudapi.net/c/b", "https://login.microsoftonline.us"),
        ("https://a.blob.example.com/c/b", ""),
    ],
)
def test_a_blobs_url_tells_who_signs_in_there(url: str, authority: str) -> None:
    assert authority_of(url) == authority


def test_the_only_subscription_is_meant_or_the_named_one() -> None:
    assert choose_subscription([ONE, OFF], "") == "1"
    assert choose_subscription([ONE, TWO], "two") == "2"
    with pytest.raises(CloudError, match=r"there are 2 subscriptions: 1 \(one\), 2 \(two\)"):
        choose_subscription([ONE, TWO], "")
    with pytest.raises(CloudError, match="sees no subscription"):
        choose_subscription([OFF], "")


def test_the_variables_of_a_stamp_are_no_sign_in_to_azure() -> None:
    with pytest.raises(CloudError) as caught:
        refuse_foreign_environment(Chosen("azure"), {"VMSTAMP_ENV": "/home/me/.vmstamp"})
    assert caught.value.hint == 'eval "$(vmstamp env --undo)"'
    refuse_foreign_environment(Chosen("azure", "https://127.0.0.1:1"), {"VMSTAMP_ENV": "/home"})


@pytest.mark.parametrize(
    ("words", "env", "expected"),
    [
        ((), {}, Chosen()),
        ((), {"VMSTAMP_CLOUD": "Azure", "VMSTAMP_LOCATION": "x"}, Chosen("azure", location="x")),
        (("--cloud", "azure", "look"), {"VMSTAMP_CLOUD": "stamp"}, Chosen("azure")),
        (("--cloud", "azure", "look", "--cloud", "stamp"), {}, Chosen()),
        (("--subscription", "a", "look", "--subscription", "b"), {}, Chosen(subscription="b")),
        (("look", "--cloud", "azurechinacloud"), {}, Chosen("AzureChinaCloud")),
    ],
)
def test_a_commands_own_option_wins_over_the_programs_over_the_environment(
    words: tuple[str, ...], env: dict[str, str], expected: Chosen
) -> None:
    from vmstamp.cli.options import place_options

    seen = []

    @click.group()
    @place_options
    def program() -> None:
        pass

    @program.command()
    @place_options
    def look() -> None:
        seen.append(chosen())

    result = CliRunner(env=env).invoke(program, words or ("look",))
    assert result.exit_code == 0, result.output
    assert seen == [expected]


@pytest.mark.parametrize(
    ("kind", "resource", "command"),
    [
        ("VM", f"{COMPUTE}/virtualMachines/web", "vmstamp --cloud azure --subscription s vm delete web -g g"),
        ("image", f"{COMPUTE}/images/web", "vmstamp --cloud azure --subscription s image delete web -g g"),
        ("disk", f"{COMPUTE}/disks/web", f"az resource delete --ids {COMPUTE}/disks/web"),
        ("group", GROUP, "az group delete --subscription s --name g"),
        ("blob", "https://h/c/b", "az storage blob delete --auth-mode login --blob-url https://h/c/b"),
    ],
)
def test_what_was_made_has_a_command_that_deletes_it(kind: str, resource: str, command: str) -> None:
    assert delete_command(Wanted(kind, resource), "azure") == command


def test_what_stays_and_costs_is_told_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    context = click.Context(click.Command("x"))
    context.meta["vmstamp.made"] = {
        "a": Wanted("managed disk", f"{COMPUTE}/disks/d", cost=Cost.STORAGE),
        "b": Wanted("resource group", GROUP),
    }
    context.meta["vmstamp.place.cloud"] = "azure"
    error = AzureError(409, "Conflict", "no")
    note_left(context, error)
    outer = click.exceptions.Abort()
    outer.__cause__ = error
    assert end_of(error, as_json=False) == 1
    disk = f"{COMPUTE}/disks/d"
    told = f"left: managed disk d (storage by GiB-month); to delete it: az resource delete --ids {disk}"
    assert capsys.readouterr().err.splitlines() == ["error: Conflict: no", told]
    assert end_of(outer, as_json=True) == 130
    assert json.loads(capsys.readouterr().err)["error"]["left"] == [told]


def test_what_is_there_is_neither_made_nor_told() -> None:
    arm = MemoryArm()
    wanted = Wanted("thing", arm.resource_id("g", "Microsoft.Compute/disks", "d"), {"location": "x"})
    assert ensure(arm, wanted) and not ensure(arm, wanted)
    assert arm.get(wanted.id)["tags"] == {"created-by": "vmstamp"}
    assert list(arm.made) == [wanted.id]


@pytest.mark.parametrize(
    ("raised", "actions"),
    [
        (AzureError(409, "OperationNotAllowed", "in use"), ["beginGetAccess"]),
        (KeyboardInterrupt(), ["beginGetAccess", "endGetAccess"]),
        (StampError("does not answer"), ["beginGetAccess", "endGetAccess"]),
    ],
)
def test_access_that_may_have_been_granted_is_revoked(raised: BaseException, actions: list[str]) -> None:
    class Granting(MemoryArm):
        def act(self, resource: str, action: str, body: Any = None) -> dict[str, Any]:
            super().act(resource, action, body)
            if action == "beginGetAccess":
                raise raised
            return {}

    arm = Granting()
    with pytest.raises(type(raised)), disk_access(arm, "/disk"):
        raise AssertionError("no access was given")
    assert arm.actions == actions


class NoToken:
    def get_token(self, *scopes: str, **options: Any) -> Any:
        raise AssertionError("nothing is sent")


def test_a_plan_cannot_change_anything() -> None:
    endpoint = cloud_endpoint(Chosen("azure", subscription="s", location="x"))
    with ArmClient(endpoint, NoToken(), read_only=True) as arm:
        for change in (
            lambda: arm.put(GROUP, {}),
            lambda: arm.delete(GROUP),
            lambda: arm.act(f"{COMPUTE}/disks/d", "beginGetAccess"),
            lambda: arm.post(f"{COMPUTE}/virtualMachines/v", "generalize"),
        ):
            with pytest.raises(AssertionError, match="a plan must not send"):
                change()


@pytest.mark.parametrize("path", [(), ("vm", "create"), ("upload",), ("copy",), ("status",)])
def test_the_shell_completes_the_clouds(path: tuple[str, ...]) -> None:
    complete = ShellComplete(cli, {}, "vmstamp", "_VMSTAMP_COMPLETE")
    assert [item.value for item in complete.get_completions([*path, "--cloud"], "")] == [
        "stamp",
        "azure",
        "azureusgovernment",  # in any case
        "azurechinacloud",
    ]
    assert "--cloud" in {item.value for item in complete.get_completions(list(path), "--c")}
