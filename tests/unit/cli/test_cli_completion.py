"""Shell completion: what a stamp has, by name; nothing where there is no stamp, or in a cloud."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from click.shell_completion import ShellComplete

from tests.unit.cli.test_cli_flows import MemoryArm
from vmstamp.cli import completion
from vmstamp.cli.main import cli
from vmstamp.cli.vms import VMS


def completed(*path: str, word: str = "") -> list[str]:
    complete = ShellComplete(cli, {}, "vmstamp", "_VMSTAMP_COMPLETE")
    return [item.value for item in complete.get_completions(list(path), word)]


@pytest.fixture
def machines(monkeypatch: pytest.MonkeyPatch) -> None:
    """ARM is asked at its one door, and has VMs in two groups."""
    arm = MemoryArm()
    members = {"vmstamp": ["web-2", "web-1", "db"], "prod": ["front"]}

    def list_in_group(group: str, type: str) -> Iterator[dict[str, Any]]:
        yield from ({"name": name} for name in members[group] if type == VMS)

    monkeypatch.setattr(arm, "list_in_group", list_in_group)

    @contextmanager
    def arm_client(**options: Any) -> Iterator[MemoryArm]:
        assert options == {"read_only": True}
        yield arm

    monkeypatch.setattr(completion, "arm_client", arm_client)


@pytest.mark.usefixtures("machines")
def test_names_of_vms_are_completed_in_the_commands_group() -> None:
    assert completed("vm", "show", word="w") == ["web-1", "web-2"]
    assert completed("vm", "delete", "-g", "prod") == ["front"]
    assert completed("image", "show") == []


@pytest.mark.usefixtures("machines")
def test_a_cloud_is_not_asked_for_names() -> None:
    assert completed("--cloud", "azure", "vm", "show", word="w") == []


def test_no_stamp_completes_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("VMSTAMP_HOME", str(tmp_path))
    assert completed("vm", "show") == []
    assert completed("vm", "create", "x", "--image") == []


def test_where_a_file_may_stand_files_are_completed() -> None:
    complete = ShellComplete(cli, {}, "vmstamp", "_VMSTAMP_COMPLETE")
    for path in (["doctor"], ["image", "create", "x", "--source"], ["upload"]):
        assert [item.type for item in complete.get_completions(path, "d")] == ["file"]
