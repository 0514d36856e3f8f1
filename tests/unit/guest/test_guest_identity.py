"""What counts as identity, what as a trace, and what is never printed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from vmstamp.guest.identity import Severity, identity_of

PASSWD = "root:x:0:0:root:/root:/bin/bash\n"
ADMIN = f"{PASSWD}azureuser:x:1000:1000::/home/azureuser:/bin/bash\n"
SECRET = "AAAAB3NzaC1yc2EAAAADAQABSECRET"
STUB = f'no-pty,command="echo \'Please login as the user \\"azureuser\\"\'" ssh-rsa {SECRET}\n'


def test_a_clean_guest_is_generalized_and_nothing_is_left(guests: Any) -> None:
    assert identity_of(guests.files({})).leftovers == ()


@pytest.mark.parametrize("text", ["", "\n", "uninitialized\n"])
def test_a_machine_id_to_be_made_is_none(guests: Any, text: str) -> None:
    assert identity_of(guests.files({"/etc/machine-id": text})).generalized


def test_a_missing_machine_id_is_none(guests: Any) -> None:
    assert identity_of(guests.files({"/etc/machine-id": None})).generalized


@pytest.mark.parametrize(
    ("rule", "changes"),
    [
        ("machine-id", {"/etc/machine-id": "0123456789abcdef0123456789abcdef\n"}),
        ("dbus-machine-id", {"/var/lib/dbus/machine-id": "0123456789abcdef0123456789abcdef\n"}),
        ("ssh-host-keys", {"/etc/ssh/ssh_host_ed25519_key": SECRET}),
        ("ssh-host-keys", {"/etc/ssh/ssh_host_ed25519_key.pub": "ssh-ed25519"}),
        ("ssh-host-keys", {"/etc/dropbear/dropbear_rsa_host_key": SECRET}),
        ("ci-instance-leftover", {"/var/lib/cloud/instances/i-1/user-data.txt": SECRET}),
        ("ci-instance-leftover", {"/var/lib/cloud/instance": "-> instances/gone"}),
        ("ci-instance-leftover", {"/var/lib/cloud/data/previous-instance-id": "i-1"}),
        ("ci-seed-leftover", {"/var/lib/cloud/seed/azure/ovf-env.xml": SECRET}),
        ("wa-stale-state", {"/var/lib/waagent/provisioned": "i-1"}),
        ("wa-stale-state", {"/var/lib/waagent/ovf-env.xml": SECRET}),
        ("wa-stale-state", {"/var/lib/waagent/0123.prv": SECRET}),
        ("users-pre-existing", {"/etc/passwd": ADMIN, "/etc/shadow": f"azureuser:$6${SECRET}:1::::::"}),
        ("authorized-keys", {"/root/.ssh/authorized_keys": f"# mine\nssh-rsa {SECRET}\n"}),
        ("root-locked", {"/etc/shadow": f"root:$y${SECRET}:19000::::::\n"}),
        ("root-locked", {"/etc/shadow": "root::19000::::::\n"}),
        ("sudoers-leftover", {"/etc/sudoers.d/90-cloud-init-users": "root ALL=(ALL) NOPASSWD:ALL\n"}),
        ("orphan-home", {"/home/gone/.ssh/known_hosts": "x"}),
    ],
)
def test_one_leftover_of_identity_is_enough(guests: Any, rule: str, changes: dict[str, str | None]) -> None:
    identity = identity_of(guests.files(changes))
    assert not identity.generalized
    assert [left.id for left in identity.of(Severity.IDENTITY)] == [rule]
    assert SECRET not in json.dumps(identity.to_json())


@pytest.mark.parametrize(
    ("rule", "changes"),
    [
        ("hostname", {"/etc/hostname": "web1\n"}),
        ("shell-history", {"/root/.bash_history": f"mysql -p{SECRET}\n"}),
        ("dhcp-leases", {"/var/lib/dhcp/dhclient.eth0.leases": "lease {}"}),
        ("random-seed", {"/var/lib/systemd/random-seed": "x"}),
        ("agent-credentials", {"/var/log/cloud-init.log": "x"}),
        ("logs-spool", {"/var/log/journal/0123/system.journal": "x"}),
        ("sudoers-orphan", {"/etc/sudoers.d/90-cloud-init-users": "# made\ngone ALL=(ALL) NOPASSWD:ALL\n"}),
        ("refused-keys", {"/root/.ssh/authorized_keys": STUB}),
        ("ci-network", {"/etc/netplan/50-cloud-init.yaml": "network: {}"}),
    ],
)
def test_a_trace_is_listed_and_does_no_harm(guests: Any, rule: str, changes: dict[str, str]) -> None:
    identity = identity_of(guests.files(changes))
    assert identity.generalized
    assert [left.id for left in identity.leftovers] == [rule]
    assert SECRET not in json.dumps(identity.to_json())


@pytest.mark.parametrize(
    "changes",
    [
        {"/var/lib/dbus/machine-id": "-> /etc/machine-id"},
        {"/var/lib/cloud/seed/": "", "/var/lib/cloud/scripts/per-boot/": ""},
        {"/var/lib/waagent/": "", "/var/lib/waagent/events/": ""},
        {"/etc/shadow": "root:*LOCK*:14600::::::\n"},
        {"/etc/shadow": "root:!:14600::::::\n"},
        {"/etc/hostname": "localhost.localdomain\n"},
        {"/root/.bash_history": "", "/var/log/wtmp": "", "/root/.ssh/authorized_keys": "\n# none\n"},
        {"/etc/sudoers.d/waagent": "# nobody\n\n"},
        {"/etc/passwd": f"{PASSWD}nobody:x:65534:65534::/:/bin/false\ndyn:x:61184:61184::/:/bin/false\n"},
    ],
)
def test_what_packages_and_the_agents_own_cleaning_leave_is_nothing(
    guests: Any, changes: dict[str, str]
) -> None:
    assert identity_of(guests.files(changes)).leftovers == ()


def test_a_person_is_found_with_keys_and_rights(guests: Any) -> None:
    files = guests.files(
        {
            "/etc/passwd": ADMIN,
            "/home/azureuser/.ssh/authorized_keys": f"ssh-rsa {SECRET}\n",
            "/etc/sudoers.d/90-cloud-init-users": "azureuser ALL=(ALL) NOPASSWD:ALL\n",
            "/home/azureuser/.bash_history": "ls\n",
        }
    )
    identity = identity_of(files)
    assert {left.id for left in identity.of(Severity.IDENTITY)} == {
        "users-pre-existing",
        "authorized-keys",
        "sudoers-leftover",
    }
    assert [left.where for left in identity.of(Severity.TRACE)] == ["/home/azureuser/.bash_history"]


def test_the_json_has_stable_keys(guests: Any) -> None:
    document = identity_of(guests.files({"/etc/hostname": "web1\n"})).to_json()
    assert set(document) == {"generalized", "leftovers"}
    assert set(document["leftovers"][0]) == {"id", "severity", "where", "detail"}
