"""What of a machine's identity is left on a disk: is it generalized?

A leftover is of one of two kinds. `identity`: two VMs stamped out of the disk would be, or admit, the same
one, or an agent would believe that it has provisioned already; any of these and the disk is not generalized.
`trace`: something of the old machine that does no such harm (logs, the host name that provisioning
replaces, caches); it is listed, so that the owner may clean it.

Only places are told, never the secrets in them.

After `waagent -deprovision+user -force` and `cloud-init clean --logs --machine-id --seed` only traces are
left: logs, root's keys that cloud-init made refusing, sudo rights of the deleted user, the network file that
cloud-init writes anew. What those two do not touch and what is identity all the same: people other than the
one that the agent made, and a D-Bus machine id that is a file of its own (systemd copies it into machine-id).

Sources: WALinuxAgent `pa/deprovision/default.py`, cloud-init `cmd/clean.py`, guestfs-tools `sysprep/`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from vmstamp.disk.base import Disk
from vmstamp.guest.fs import Files, Survey, no_operating_system, survey
from vmstamp.guest.volume import Kind

MACHINE_ID = "/etc/machine-id"
UNINITIALIZED = "uninitialized"  # machine-id(5): first boot will fill it in
FIRST_USER, LAST_USER = 1000, 59_999  # uids of people; Spec: login.defs(5), systemd UIDS-GIDS

AGENT_DIRECTORY = "/var/lib/waagent"
CLOUD_DIRECTORY = "/var/lib/cloud"
# Where the rules look; a file system there that cannot be read leaves the answer open.
PLACES = ("/etc/", "/home/", "/root/", "/var/")
HISTORIES = (
    ".bash_history", ".sh_history", ".zsh_history", ".history", ".python_history", ".lesshst", ".viminfo",
    ".mysql_history", ".psql_history",
)  # fmt: skip
LEASE_DIRECTORIES = (
    "/var/lib/dhcp", "/var/lib/dhclient", "/var/lib/dhcpcd", "/var/lib/NetworkManager",
    "/var/lib/systemd/network", "/var/lib/wicked",
)  # fmt: skip
LOGS = (
    "/var/log/cloud-init.log", "/var/log/cloud-init-output.log", "/var/log/waagent.log", "/var/log/azure",
    "/var/log/journal", "/var/log/wtmp", "/var/log/btmp", "/var/log/lastlog", "/var/log/auth.log",
    "/var/log/syslog", "/var/log/messages", "/var/log/secure",
)  # fmt: skip
RANDOM_SEEDS = (
    "/var/lib/systemd/random-seed", "/var/lib/urandom/random-seed", "/boot/efi/loader/random-seed",
    "/var/lib/systemd/credential.secret",
)  # fmt: skip
# Written by cloud-init before a key in root's authorized_keys; the key runs nothing but this message.
REFUSING_STUB = "Please login as the user"
NETWORK = (
    "/etc/netplan/50-cloud-init.yaml", "/etc/network/interfaces.d/50-cloud-init",
    "/etc/udev/rules.d/70-persistent-net.rules",
)  # fmt: skip
SUDOERS = "/etc/sudoers.d"
PASSWORD_LIMIT = 1024 * 1024  # bytes of passwd and shadow


class Severity(StrEnum):
    IDENTITY = "identity"
    TRACE = "trace"


@dataclass(frozen=True)
class Leftover:
    """One thing that is left: `where` a path in the guest, `detail` what it is, without its secret."""

    id: str
    severity: Severity
    where: str
    detail: str


@dataclass(frozen=True)
class Identity:
    """All that is left, in the order of the rules."""

    leftovers: tuple[Leftover, ...]

    @property
    def generalized(self) -> bool:
        """No leftover is of the kind `identity`."""
        return not self.of(Severity.IDENTITY)

    def of(self, severity: Severity) -> tuple[Leftover, ...]:
        return tuple(leftover for leftover in self.leftovers if leftover.severity is severity)

    def to_json(self) -> dict[str, Any]:
        """Keys: generalized, leftovers (each: id, severity, where, detail)."""
        return {"generalized": self.generalized, "leftovers": [asdict(one) for one in self.leftovers]}


@dataclass(frozen=True)
class User:
    """A line of passwd(5)."""

    name: str
    uid: int
    home: str

    @property
    def is_person(self) -> bool:
        return FIRST_USER <= self.uid <= LAST_USER


@dataclass(frozen=True)
class Guest:
    """What the rules look at."""

    files: Files
    users: tuple[User, ...]
    passwords: dict[str, str]  # shadow(5): the hash by name

    @property
    def homes(self) -> tuple[tuple[str, str], ...]:
        """(user, home) of root and of every person; each home once."""
        people = {user.home: user.name for user in reversed(self.users) if user.is_person and user.home}
        return (("root", "/root"), *((name, home) for home, name in people.items() if home != "/root"))


@dataclass(frozen=True)
class Rule:
    """One kind of leftover: `find` yields (where, detail) for each that is there."""

    id: str
    severity: Severity
    find: Callable[[Guest], Iterator[tuple[str, str]]]


def read_identity(disk: Disk) -> Identity:
    """What is left of a machine's identity on `disk`.

    A file system that is dirty, or that holds such places and is not read, counts as identity itself: what
    cannot be known is never called generalized. Raises DiskError, and GuestError when there is no operating
    system that this version reads or its file system is damaged.
    """
    found = survey(disk)
    if found.files is None:
        raise no_operating_system(disk, found)
    return Identity((*_doubts(found), *identity_of(found.files).leftovers))


def _doubts(found: Survey) -> Iterator[Leftover]:
    for content in found.contents:
        if content.volume is not None and content.file_system is not None and content.file_system.dirty:
            detail = f"{content.file_system.dirty}: what was read may be older than what the guest would see"
            yield Leftover("fs-dirty", Severity.IDENTITY, content.where, detail)
    for source, target in found.unmounted:
        if f"{target.rstrip('/')}/".startswith(PLACES):
            detail = f"{source} was not found or is not read, so nothing is known of what is left there"
            yield Leftover("not-read", Severity.IDENTITY, target, detail)


def identity_of(files: Files) -> Identity:
    """What the rules find in files that are open already."""
    guest = Guest(files, tuple(_users(files)), dict(_passwords(files)))
    return Identity(
        tuple(
            Leftover(rule.id, rule.severity, where, detail)
            for rule in RULES
            for where, detail in rule.find(guest)
        )
    )


def _users(files: Files) -> Iterator[User]:
    for line in (files.find_text("/etc/passwd", PASSWORD_LIMIT) or "").splitlines():
        fields = line.split(":")
        if len(fields) >= 6 and fields[2].isdecimal():
            yield User(fields[0], int(fields[2]), fields[5].rstrip("/"))


def _passwords(files: Files) -> Iterator[tuple[str, str]]:
    for line in (files.find_text("/etc/shadow", PASSWORD_LIMIT) or "").splitlines():
        fields = line.split(":")
        if len(fields) >= 2:
            yield fields[0], fields[1]


def _has_password(hashed: str | None) -> bool:
    """shadow(5): what begins with ! or * matches no password; an empty field needs none."""
    return hashed is not None and not hashed.startswith(("!", "*"))


def _machine_id(guest: Guest) -> Iterator[tuple[str, str]]:
    text = (guest.files.find_text(MACHINE_ID, 4096) or "").strip()
    if text and text != UNINITIALIZED:
        yield MACHINE_ID, "a machine id"


def _dbus_machine_id(guest: Guest) -> Iterator[tuple[str, str]]:
    path = "/var/lib/dbus/machine-id"
    if guest.files.readlink(path) is None and (guest.files.find_text(path, 4096) or "").strip():
        yield path, "a machine id of its own, not a link to /etc/machine-id"


def _ssh_host_keys(guest: Guest) -> Iterator[tuple[str, str]]:
    for directory, prefix in (("/etc/ssh", "ssh_host_"), ("/etc/dropbear", "dropbear_")):
        for name in guest.files.list(directory):
            if name.startswith(prefix) and name.endswith("_key"):
                yield f"{directory}/{name}", "a private host key"
            elif name.startswith(prefix) and "_key" in name:
                yield f"{directory}/{name}", "belongs to a host key"


def _cloud_state(guest: Guest) -> Iterator[tuple[str, str]]:
    files = guest.files
    for name in ("instance", "instances", "data", "sem", "handlers"):
        path = f"{CLOUD_DIRECTORY}/{name}"
        if files.find(path, follow=False) and (name == "instance" or files.list(path)):
            yield path, "cloud-init's state of an instance"
    for name in files.list(f"{CLOUD_DIRECTORY}/seed"):
        if files.list(f"{CLOUD_DIRECTORY}/seed/{name}"):
            yield f"{CLOUD_DIRECTORY}/seed/{name}", "a seed, which wins over the provisioning DVD"


def _agent_state(guest: Guest) -> Iterator[tuple[str, str]]:
    for name in guest.files.list(AGENT_DIRECTORY):
        path = f"{AGENT_DIRECTORY}/{name}"
        if not guest.files.is_directory(path) or guest.files.list(path):
            yield path, _agent_detail(name)


def _agent_detail(name: str) -> str:
    if name.endswith((".prv", ".pem", ".pfx", ".p7m")):
        return "a private key or certificate of the agent"
    known = {
        "provisioned": "the agent believes that it has provisioned this machine",
        "ovf-env.xml": "the provisioning data: user name, perhaps a password",
        "CustomData": "custom data of the instance",
    }
    return known.get(name, "state of the agent")


def _people(guest: Guest) -> Iterator[tuple[str, str]]:
    for user in guest.users:
        if user.is_person:
            usable = " with a password" if _has_password(guest.passwords.get(user.name)) else ""
            yield "/etc/passwd", f"user {user.name} (uid {user.uid}){usable}"


def _sudoers(guest: Guest) -> Iterator[tuple[str, str]]:
    """Rights of users that exist, of a group, or of all."""
    names = {user.name for user in guest.users}
    for path, granted in _sudo_grants(guest):
        alive = [who for who in granted if who in names or who == "ALL" or who.startswith("%")]
        if alive:
            yield path, f"rights of {', '.join(alive)}"


def _orphan_sudoers(guest: Guest) -> Iterator[tuple[str, str]]:
    names = {user.name for user in guest.users}
    for path, granted in _sudo_grants(guest):
        if granted and not any(who in names for who in granted):
            yield path, "rights of a user that is no more"


def _sudo_grants(guest: Guest) -> Iterator[tuple[str, list[str]]]:
    """Who is granted something by the files that the agents write. Spec: sudoers(5)."""
    for name in ("90-cloud-init-users", "waagent"):
        text = guest.files.find_text(f"{SUDOERS}/{name}", 64 * 1024) or ""
        lines = (line.split() for line in text.splitlines())
        yield (
            f"{SUDOERS}/{name}",
            [words[0] for words in lines if words and not words[0].startswith("#")],
        )


def _authorized_keys(guest: Guest) -> Iterator[tuple[str, str]]:
    for path, user, keys in _keys(guest):
        usable = [key for key in keys if REFUSING_STUB not in key]
        if usable:
            yield path, f"{len(usable)} keys that log in as {user}"


def _refused_keys(guest: Guest) -> Iterator[tuple[str, str]]:
    for path, user, keys in _keys(guest):
        if any(REFUSING_STUB in key for key in keys):
            yield path, f"cloud-init's keys that only tell not to log in as {user}"


def _keys(guest: Guest) -> Iterator[tuple[str, str, list[str]]]:
    for user, home in guest.homes:
        for name in ("authorized_keys", "authorized_keys2"):
            path = f"{home}/.ssh/{name}"
            text = guest.files.find_text(path, PASSWORD_LIMIT) or ""
            yield path, user, [line for line in text.splitlines() if line.strip() and line[0] != "#"]


def _root_password(guest: Guest) -> Iterator[tuple[str, str]]:
    hashed = guest.passwords.get("root")
    if _has_password(hashed):
        yield "/etc/shadow", "root has a password" if hashed else "root needs no password"


def _orphan_homes(guest: Guest) -> Iterator[tuple[str, str]]:
    owned = {home for _, home in guest.homes}
    for name in guest.files.list("/home"):
        path = f"/home/{name}"
        if path not in owned and guest.files.exists(f"{path}/.ssh"):
            yield path, "a home that no user owns"


def _histories(guest: Guest) -> Iterator[tuple[str, str]]:
    for user, home in guest.homes:
        for name in HISTORIES:
            node = guest.files.find(f"{home}/{name}")
            if node is not None and node.kind is Kind.FILE and node.size:
                yield f"{home}/{name}", f"what {user} typed"


def _hostname(guest: Guest) -> Iterator[tuple[str, str]]:
    name = (guest.files.find_text("/etc/hostname", 4096) or "").strip()
    if name and name not in ("localhost", "localhost.localdomain"):
        yield "/etc/hostname", f"the host name {name[:64]}, which provisioning replaces"


def _leases(guest: Guest) -> Iterator[tuple[str, str]]:
    for directory in LEASE_DIRECTORIES:
        for name in guest.files.list(directory):
            if "lease" in name or name in ("duid", "secret", "secret_key"):
                node = guest.files.find(f"{directory}/{name}")
                if node is not None and node.kind is Kind.FILE and node.size:
                    yield f"{directory}/{name}", "a DHCP lease or client id"


def _random_seeds(guest: Guest) -> Iterator[tuple[str, str]]:
    for path in RANDOM_SEEDS:
        if guest.files.is_file(path):
            yield path, "randomness that every copy would share"


def _network(guest: Guest) -> Iterator[tuple[str, str]]:
    for path in NETWORK:
        if guest.files.is_file(path):
            yield path, "network configuration of the old machine, which cloud-init writes anew"


def _logs(guest: Guest) -> Iterator[tuple[str, str]]:
    for path in LOGS:
        node = guest.files.find(path)
        if node is None:
            continue
        if guest.files.list(path) or (node.kind is Kind.FILE and node.size):
            yield path, "logs of the old machine"


RULES = (
    Rule("machine-id", Severity.IDENTITY, _machine_id),
    Rule("dbus-machine-id", Severity.IDENTITY, _dbus_machine_id),
    Rule("ssh-host-keys", Severity.IDENTITY, _ssh_host_keys),
    Rule("ci-instance-leftover", Severity.IDENTITY, _cloud_state),
    Rule("wa-stale-state", Severity.IDENTITY, _agent_state),
    Rule("users-pre-existing", Severity.IDENTITY, _people),
    Rule("sudoers-leftover", Severity.IDENTITY, _sudoers),
    Rule("authorized-keys", Severity.IDENTITY, _authorized_keys),
    Rule("root-password", Severity.IDENTITY, _root_password),
    Rule("orphan-home", Severity.IDENTITY, _orphan_homes),
    Rule("sudoers-orphan", Severity.TRACE, _orphan_sudoers),
    Rule("refused-keys", Severity.TRACE, _refused_keys),
    Rule("net-mac-bound", Severity.TRACE, _network),
    Rule("shell-history", Severity.TRACE, _histories),
    Rule("hostname", Severity.TRACE, _hostname),
    Rule("dhcp-leases", Severity.TRACE, _leases),
    Rule("random-seed", Severity.TRACE, _random_seeds),
    Rule("logs-spool", Severity.TRACE, _logs),
)
