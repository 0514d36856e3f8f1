"""The check of WinRM: where it listens, on Windows that fail only this, and what mends it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.guest.windows_guests import WindowsGuests
from tests.unit.guest.windows_verdicts import POLICIES, RULES, assert_mended, bad, finding, fixes, start
from vmstamp.guest.edits import SetValue
from vmstamp.guest.finding import Status

LISTENER = r"Microsoft\Windows\CurrentVersion\WSMAN\Listener"
HTTP, HTTPS = rf"{LISTENER}\*+HTTP", rf"{LISTENER}\*+HTTPS"
POLICY = rf"{POLICIES}\Windows\WinRM\Service"
THUMBPRINT = "0123456789ABCDEF0123456789ABCDEF01234567"
CERTIFICATE = rf"Microsoft\SystemCertificates\MY\Certificates\{THUMBPRINT}"
WSMAN = {"uriprefix": "wsman"}
SECURE = {HTTPS: {"certThumbprint": THUMBPRINT.lower(), "Port": 5986}, CERTIFICATE: {"Blob": b"x"}}
HTTPS_RULE = "v2.31|Action=Allow|Active=TRUE|Dir=In|Protocol=6|LPort=5986|App=System|"

# (what is told, software hive)
DEFECTS: list[tuple[str, dict[str, Any]]] = [
    ("WinRM has no listener", {HTTP: None}),
    ("it is disabled", {HTTP: {"enabled": 0}}),
    ("for IP:10.1.2.3, which is another machine's", {HTTP: None, rf"{LISTENER}\IP:10.1.2.3+HTTP": WSMAN}),
    ("it has no certificate", {HTTP: None, HTTPS: {"certThumbprint": ""}}),
    ("its certificate is not in the machine's store", {HTTP: None, HTTPS: {"certThumbprint": THUMBPRINT}}),
    ("listens on port 5986 only, which no active rule lets in",
     {HTTP: None, HTTPS: {"certThumbprint": THUMBPRINT}, CERTIFICATE: {"Blob": b"x"}}),
    ("listens on port 8080 only, which no active rule lets in", {HTTP: {"Port": 8080}}),
    ("Group Policy lets WinRM listen nowhere", {POLICY: {"AllowAutoConfig": 0}}),
    ("its transport is not told", {HTTP: None, rf"{LISTENER}\x": WSMAN}),
]  # fmt: skip


@pytest.mark.parametrize(("said", "software"), DEFECTS)
def test_a_listener_that_nobody_reaches_is_a_warning(
    windows: WindowsGuests, said: str, software: dict[str, Any]
) -> None:
    facts = windows.facts(software=software)
    assert bad(facts) == {"win-winrm": "warning"}
    assert said in finding(facts, "win-winrm").found


def test_a_service_that_does_not_start_is_a_warning_and_mended(windows: WindowsGuests) -> None:
    assert bad(windows.facts(system=start(WinRM=3))) == {"win-winrm": "warning"}
    assert_mended(windows, "win-winrm", {"system": start(WinRM=3)})


@pytest.mark.parametrize(
    "software",
    [
        pytest.param({}, id="HTTP"),
        pytest.param(
            {
                HTTP: None,
                HTTPS: {"certThumbprint": THUMBPRINT.lower(), "Port": 5986},
                CERTIFICATE: {"Blob": b"x"},
            },
            id="HTTPS",
        ),
        pytest.param({HTTP: None, POLICY: {"AllowAutoConfig": 1, "IPv4Filter": "*"}}, id="policy"),
    ],
)
def test_a_listener_that_is_reached_passes(windows: WindowsGuests, software: dict[str, Any]) -> None:
    facts = windows.facts(software=software, system={RULES: {"https": HTTPS_RULE}})
    assert bad(facts) == {}
    assert finding(facts, "win-winrm").status is Status.PASS


@pytest.mark.parametrize("software", [{HTTP: None}, {HTTP: {"enabled": 0}}, {HTTP: None, HTTPS: WSMAN}])
def test_a_listener_for_http_is_made(windows: WindowsGuests, software: dict[str, Any]) -> None:
    assert_mended(windows, "win-winrm", {"software": software})
    edits = fixes(windows.facts(software=software), "win-winrm")
    values = {edit.name: edit.data for edit in edits if isinstance(edit, SetValue) and edit.key == HTTP}
    assert (values["Port"], values["uriprefix"]) == (5985, "wsman")


def test_no_listener_is_made_beside_a_policy(windows: WindowsGuests) -> None:
    facts = windows.facts(software={POLICY: {"AllowAutoConfig": 0}, HTTP: None})
    assert fixes(facts, "win-winrm") == []
