"""The checks of logging in: sshd, its configuration, sudo; and sshd_config as sshd reads it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.unit.guest import trees
from tests.unit.guest.apply import apply
from tests.unit.guest.conftest import memory_facts, memory_files
from vmstamp.guest.checks.access import CHECKS
from vmstamp.guest.edits import Write
from vmstamp.guest.facts import Facts
from vmstamp.guest.finding import Status, judge
from vmstamp.guest.sshd import read_sshd

Changes = Mapping[str, str | None]
CONFIG = "/etc/ssh/sshd_config"
DROP_IN = "/etc/ssh/sshd_config.d/50-azure.conf"
INCLUDE = "Include /etc/ssh/sshd_config.d/*.conf\n"
SUDOERS = "/etc/sudoers"
WRAPPED: Changes = {"/usr/sbin/sshd": "ELF libwrap.so.0 libc.so.6"}


def changed(family: str, changes: Changes) -> trees.Tree:
    tree = {**trees.FAMILIES[family], **{path: text for path, text in changes.items() if text is not None}}
    return {path: text for path, text in tree.items() if changes.get(path, "") is not None}


def bad(facts: Facts) -> dict[str, str]:
    found = [judge(check, facts) for check in CHECKS]
    return {f.id: f.status for f in found if f.status in (Status.FAIL, Status.WARNING)}


@pytest.mark.parametrize("family", trees.FAMILIES)
def test_a_healthy_guest_passes(family: str) -> None:
    assert bad(memory_facts(trees.FAMILIES[family])) == {}


@pytest.mark.parametrize(
    ("family", "changes", "found"),
    [
        ("debian", {f"{trees.WANTS}/ssh.service": None}, {"sshd-enabled": "fail"}),
        ("debian", {"/etc/systemd/system/ssh.service": "-> /dev/null"}, {"sshd-enabled": "fail"}),
        ("rhel", {f"{trees.WANTS}/sshd.service": None}, {"sshd-enabled": "fail"}),
        (
            "waagent",
            {"/etc/systemd/system/ssh.service.d/50-host-keys.conf": None},
            {"sshd-host-keygen": "fail"},
        ),
        ("debian", {DROP_IN: None}, {"sshd-clientalive": "warning"}),
        ("debian", {DROP_IN: "ClientAliveInterval 0\n"}, {"sshd-clientalive": "warning"}),
        ("debian", {DROP_IN: "clientaliveinterval=5m\n"}, {"sshd-clientalive": "warning"}),
        (
            "debian",
            {CONFIG: f"ClientAliveInterval 20\n{INCLUDE}"},
            {"sshd-clientalive": "warning"},
        ),
        (
            "debian",
            {CONFIG: f"{INCLUDE}PasswordAuthentication no\n", "/etc/ssh/sshd_config.d/60-x.conf":
             "PasswordAuthentication yes\n"},
            {"sshd-password-auth": "warning"},
        ),
        (
            "debian",
            {CONFIG: "PasswordAuthentication no\nPasswordAuthentication yes\n", DROP_IN: None},
            {"sshd-password-auth": "warning", "sshd-clientalive": "warning"},
        ),
        ("suse", {SUDOERS: "Defaults targetpw\nALL ALL=(ALL) ALL\n@includedir /etc/sudoers.d\n"},
         {"sudoers-targetpw": "fail"}),
        ("suse", {SUDOERS: "ALL ALL=(ALL) ALL\n#includedir /etc/sudoers.d"}, {"sudoers-targetpw": "warning"}),
        ("suse", {SUDOERS: None, "/usr/etc/sudoers": "Defaults targetpw # x\n@includedir /etc/sudoers.d\n"},
         {"sudoers-targetpw": "fail"}),
        ("debian", {SUDOERS: "root ALL=(ALL) ALL\nDefaults env_reset, rootpw\n"},
         {"sudo-present": "fail", "sudoers-targetpw": "fail"}),
    ],
)  # fmt: skip
def test_a_defect_is_found_and_mended(family: str, changes: Changes, found: dict[str, str]) -> None:
    tree = changed(family, changes)
    facts = memory_facts(tree)
    assert bad(facts) == found
    fixes = [check.fix for check in CHECKS if check.id in found and check.fix]
    assert bad(memory_facts(apply([edit for fix in fixes for edit in fix(facts)], tree))) == {}


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"/usr/sbin/sshd": None}, {"sshd-enabled": "fail"}),
        ({CONFIG: f"{INCLUDE}Port 2222\n"}, {"sshd-enabled": "warning"}),
        ({CONFIG: f"{INCLUDE}Port\n"}, {"sshd-enabled": "fail"}),
        ({CONFIG: f"{INCLUDE}AllowUsers admin\n"}, {"sshd-allow-lists": "warning"}),
        (
            {
                "/etc/pam.d/sshd": "account required pam_access.so",
                "/etc/security/access.conf": "-:ALL:ALL\n",
            },
            {"sshd-allow-lists": "warning"},
        ),
        ({**WRAPPED, "/etc/hosts.deny": "# x\nALL: ALL EXCEPT localhost\n"}, {"sshd-allow-lists": "fail"}),
        ({**WRAPPED, "/etc/hosts.deny": "ftpd, sshd : ALL : spawn x\n"}, {"sshd-allow-lists": "fail"}),
        ({"/usr/bin/sudo": None}, {"sudo-present": "fail"}),
        ({"/usr/bin/useradd": None}, {"sudo-present": "fail"}),
        ({"/usr/bin/chpasswd": None}, {"sudo-present": "warning"}),
    ],
)
def test_what_cannot_be_mended_offline_is_told(changes: Changes, found: dict[str, str]) -> None:
    facts = memory_facts(changed("debian", changes))
    assert bad(facts) == found
    for check in CHECKS:
        if check.id in found and check.fix:
            assert list(check.fix(facts)) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"/etc/hosts.deny": "ALL: ALL\n"},
        {**WRAPPED, "/etc/hosts.deny": "ALL: PARANOID\n"},
        {**WRAPPED, "/etc/hosts.deny": "ALL: ALL\n", "/etc/hosts.allow": "sshd: 10.0.0.0/8\n"},
    ],
)
def test_wrappers_that_let_somebody_in_pass(changes: Changes) -> None:
    assert bad(memory_facts(changed("debian", changes))) == {}


def test_what_keeps_all_but_root_out_is_removed() -> None:
    tree = changed("debian", {"/etc/nologin": ""})
    facts = memory_facts(tree)
    assert bad(facts) == {"sshd-allow-lists": "fail"}
    fix = next(check.fix for check in CHECKS if check.id == "sshd-allow-lists")
    assert fix
    assert bad(memory_facts(apply(fix(facts), tree))) == {}


def test_the_host_key_drop_in_keeps_the_commands_of_the_unit() -> None:
    facts = memory_facts(changed("waagent", {"/etc/systemd/system/ssh.service.d/50-host-keys.conf": None}))
    fix = next(check.fix for check in CHECKS if check.id == "sshd-host-keygen")
    assert fix
    (edit,) = fix(facts)
    assert isinstance(edit, Write)
    assert edit.path == "/etc/systemd/system/ssh.service.d/10-host-keys.conf"
    assert edit.data.decode().splitlines() == [
        "[Service]",
        "ExecStartPre=",
        "ExecStartPre=/usr/bin/ssh-keygen -A",
        "ExecStartPre=/usr/sbin/sshd -t",
    ]


def test_the_first_value_wins_and_match_blocks_are_for_some() -> None:
    sshd = read_sshd(
        memory_files(
            {
                CONFIG: 'Include sshd_config.d/*.conf\nX11Forwarding yes\nMatch User "a b"\n'
                "X11Forwarding no\nAllowUsers a\nMatch all\nPort 22\nPort=2222\n",
                "/etc/ssh/sshd_config.d/2.conf": "Match Group x\nMaxAuthTries 1\n",
                "/etc/ssh/sshd_config.d/1.conf": "x11forwarding\tno # why\n",
            }
        )
    )
    deciding = sshd.find("x11forwarding")
    assert deciding and (deciding.value, deciding.where) == ("no", "/etc/ssh/sshd_config.d/1.conf:1")
    assert sshd.all("allowusers") == [] and sshd.all("maxauthtries") == []
    assert [one.value for one in sshd.all("port")] == ["22", "2222"]


def test_includes_that_include_themselves_end() -> None:
    tree = {CONFIG: f"{INCLUDE}Port 22\n", **{f"/etc/ssh/sshd_config.d/{n}.conf": INCLUDE for n in range(50)}}
    sshd = read_sshd(memory_files(tree))
    assert "too many includes" in sshd.errors[0]
