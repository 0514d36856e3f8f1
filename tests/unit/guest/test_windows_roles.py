"""Roles that Azure does not support, each on a Windows that fails only this."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.guest.windows_guests import WindowsGuests
from tests.unit.guest.windows_verdicts import SERVICES, bad, finding, start
from vmstamp.guest.checks.windows.roles import NOT_GENERALIZED, UNSUPPORTED

CACHE = r"Microsoft\ServerManager\ServicingStorage\ServerComponentCache"


@pytest.mark.parametrize(
    ("name", "feature"), [(role.name, feature) for role in UNSUPPORTED for feature in role.features]
)
def test_a_role_in_server_managers_cache_is_a_warning(
    windows: WindowsGuests, name: str, feature: str
) -> None:
    facts = windows.facts(software={rf"{CACHE}\{feature}": {"InstallState": 1}})
    assert bad(facts) == {"win-unsupported-roles": "warning"}
    found = finding(facts, "win-unsupported-roles")
    assert found.found == f"installed, and not supported on Azure: {name}"
    assert feature in found.where


@pytest.mark.parametrize(
    ("name", "system"),
    [
        ("DHCP Server", start(DHCPServer=2)),
        ("Windows Deployment Services", start(WDSServer=3)),
        ("SNMP Services", start(SNMP=2)),
        ("Windows Internet Name Service", start(WINS=2)),
        ("Routing and Remote Access", start(RemoteAccess=2)),
    ],
)
def test_a_role_is_told_by_its_service(windows: WindowsGuests, name: str, system: Any) -> None:
    facts = windows.facts(system=system)
    assert bad(facts) == {"win-unsupported-roles": "warning"}
    assert name in finding(facts, "win-unsupported-roles").found


def test_what_is_not_installed_is_no_role(windows: WindowsGuests) -> None:
    system = {**start(RemoteAccess=4, DHCPServer=4), rf"{SERVICES}\RemoteAccess": {"Start": 3}}
    software: Any = {rf"{CACHE}\DHCP": {"InstallState": 0}, rf"{CACHE}\DNS": {"InstallState": 1}}
    assert bad(windows.facts(system=system, software=software)) == {}


def test_of_many_roles_some_are_named(windows: WindowsGuests) -> None:
    software: Any = {rf"{CACHE}\{role.features[0]}": {"InstallState": 1} for role in UNSUPPORTED}
    found = finding(windows.facts(software=software), "win-unsupported-roles").found
    assert found.endswith(f"Internet Storage Name Server and {len(UNSUPPORTED) - 4} more")


@pytest.mark.parametrize("role", NOT_GENERALIZED, ids=lambda role: role.name)
def test_a_role_that_sysprep_breaks_is_told_of_an_image(windows: WindowsGuests, role: Any) -> None:
    told = [windows.facts(software={rf"{CACHE}\{name}": {"InstallState": 1}}) for name in role.features]
    told += [windows.facts(system=start(**{name: 2})) for name in role.services]
    for facts in told:
        assert bad(facts) == {"win-roles": "warning"}
        assert finding(facts, "win-roles").found == f"roles that do not outlast Sysprep: {role.name}"
