"""The program of VMAccessForLinux, in a guest: accounts, their keys and passwords, and sshd put right.

Protected settings: `username` with `password` and `ssh_key` (makes the account when it is not there) and
`expiration` (YYYY-MM-DD), `remove_user`, `reset_ssh`. Accounts that are made may use sudo.

Source: Azure/azure-linux-extensions, VMAccess/vmaccess.py and Utils/distroutils.py.
"""

import os
import pwd
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from vmstamp.fabric.guest_handler import Failed, Handler, main

KNOWN = ("username", "password", "ssh_key", "expiration", "remove_user", "reset_ssh")
SSHD = Path("/etc/ssh/sshd_config")
# What cloud-init writes; what stands in it comes before the lines of sshd_config.
CLOUD_INIT = Path("/etc/ssh/sshd_config.d/50-cloud-init.conf")
DISTRIBUTED = (Path("/usr/share/openssh/sshd_config"), Path("/usr/etc/ssh/sshd_config"))
DEFAULT = "UsePAM yes\nX11Forwarding yes\nClientAliveInterval 180\nAcceptEnv LANG LC_*\n"
SUDOERS = Path("/etc/sudoers.d/waagent")
LOGIN_DEFS = Path("/etc/login.defs")
SSH2 = "---- BEGIN SSH2 PUBLIC KEY ----"
KEYS = ("ssh-", "ecdsa-", "sk-")


class Access(Handler):
    """One change of accounts or of sshd."""

    def work(self) -> None:
        public, protected = self.settings()
        unknown = sorted([*public, *(name for name in protected if name not in KNOWN)])
        if unknown:
            raise Failed(f"the setting {unknown[0]} is not known to this handler")
        if protected.get("remove_user") and (protected.get("reset_ssh") or protected.get("password")):
            raise Failed("Cannot reset sshd_config and remove a user in one operation.")
        if protected.get("reset_ssh"):
            open_port()
            reset_sshd()
        if protected.get("remove_user"):
            remove_user(str(protected["remove_user"]))
        if protected.get("username"):
            self.set_user(protected)
        if protected.get("reset_ssh") or protected.get("password"):
            restart_sshd()
        self.report("success", "Enable succeeded.")

    def set_user(self, settings: Any) -> None:
        user, password, key = (str(settings.get(name) or "") for name in ("username", "password", "ssh_key"))
        if not password and not key:
            raise Failed("No password or ssh_key is specified.")
        make_account(user, str(settings.get("expiration") or ""))
        if password:
            program(["chpasswd"], f"{user}:{password}\n")
            allow_passwords()
        allow_sudo(user, bool(password))
        if key:
            add_key(user, self.to_openssh(key))

    def to_openssh(self, key: str) -> str:
        """A public key as a line of authorized_keys."""
        key = key.strip()
        if key.startswith(SSH2):
            given = self.data / "key.pub"
            given.write_text(key + "\n")
            try:
                return program(["ssh-keygen", "-i", "-f", str(given)]).strip()
            finally:
                given.unlink()
        if not key.startswith(KEYS) or "\n" in key:
            raise Failed("Failed to reset ssh key: ssh_key is not a public key of OpenSSH or SSH2.")
        return key


def program(words: Any, given: str = "") -> str:
    """What a program prints. Its own words when it fails, never what it was given."""
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        printed, complaint = process.communicate(given.encode())
    if process.returncode:
        told = complaint.decode("utf-8", "replace").strip()
        raise Failed(f"{words[0]} failed with exit status {process.returncode}: {told}")
    return printed.decode("utf-8", "replace")


def lowest_uid() -> int:
    """The first user id that is a person's."""
    lines = LOGIN_DEFS.read_text().splitlines() if LOGIN_DEFS.exists() else []
    found = [line.split()[1] for line in lines if line.split()[:1] == ["UID_MIN"]]
    return int(found[0]) if found else 1000


def find_account(user: str) -> Any:
    try:
        return pwd.getpwnam(user)
    except KeyError:
        return None


def make_account(user: str, expiration: str) -> None:
    account = find_account(user)
    if account is not None and account.pw_uid < lowest_uid():
        raise Failed(
            f"Failed to create the account or set the password with {user} is a system user. Will not set "
            "passwd."
        )
    limit = ["-e", expiration] if expiration else []
    if account is None:
        program(["useradd", "-m", "-s", "/bin/bash", *limit, "--", user])
    elif limit:
        program(["usermod", *limit, "--", user])


def remove_user(user: str) -> None:
    account = find_account(user)
    if account is None:
        return
    if account.pw_uid < lowest_uid():
        raise Failed(f"Failed to remove user {user} is a system user. Will not delete account.")
    program(["userdel", "-f", "-r", "--", user])
    write_sudoers(user, "")


def allow_sudo(user: str, has_password: bool) -> None:
    write_sudoers(user, f"{user} ALL=(ALL) {'ALL' if has_password else 'NOPASSWD: ALL'}")


def write_sudoers(user: str, line: str) -> None:
    """The account's line in the agent's own file of sudo, '' for none."""
    before = SUDOERS.read_text().splitlines() if SUDOERS.exists() else []
    lines = [one for one in before if one and one.split()[0] != user] + ([line] if line else [])
    replace(SUDOERS, "".join(f"{one}\n" for one in lines), 0o440)


def add_key(user: str, key: str) -> None:
    """Append a key to the account's authorized_keys, as the account."""
    account = pwd.getpwnam(user)
    child = os.fork()
    if child == 0:
        try:
            os.initgroups(user, account.pw_gid)
            os.setgid(account.pw_gid)
            os.setuid(account.pw_uid)
            os.umask(0o077)
            keys = Path(account.pw_dir) / ".ssh" / "authorized_keys"
            keys.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            before = keys.read_text() if keys.exists() else ""
            if key not in before.splitlines():
                start = "" if not before or before.endswith("\n") else "\n"
                with keys.open("a") as file:
                    file.write(f"{start}{key}\n")
            os._exit(0)
        finally:
            os._exit(1)
    if os.waitpid(child, 0)[1]:
        raise Failed(f"Failed to reset ssh key: the keys of {user} cannot be written.")


# -- sshd


def set_option(text: str, name: str, value: str) -> str:
    """The configuration with the option set, before its first Match block. The first of a name counts."""
    lines = text.splitlines()
    match = next((at for at, line in enumerate(lines) if line.lower().startswith("match ")), len(lines))
    head = [line for line in lines[:match] if line.lower().split()[:1] != [name.lower()]]
    return "".join(f"{line}\n" for line in [*head, f"{name} {value}", *lines[match:]])


def allow_passwords() -> None:
    back_up(SSHD)
    for path in (SSHD, CLOUD_INIT):
        if path.exists():
            replace(path, set_option(path.read_text(), "PasswordAuthentication", "yes"))


def reset_sshd() -> None:
    """The distribution's own sshd_config where it has one to copy, else a short one."""
    back_up(SSHD)
    found = [path.read_text() for path in DISTRIBUTED if path.exists()]
    replace(SSHD, found[0] if found else DEFAULT)


def back_up(path: Path) -> None:
    if path.exists():
        shutil.copy2(str(path), f"{path}_{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}")


def replace(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file, whole or not at all; its mode and owner stay when it was there."""
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(text)
    beside.chmod(path.stat().st_mode & 0o777 if path.exists() else mode)
    beside.replace(path)


def open_port() -> None:
    """Take away rules that drop SSH, where there is an iptables to ask."""
    if shutil.which("iptables") is None:
        return
    ssh = ["-p", "tcp", "-m", "tcp", "--dport", "22", "-j"]
    for verdict in ("DROP", "REJECT"):
        while not quiet(["iptables", "-D", "INPUT", *ssh, verdict]):
            pass
    if quiet(["iptables", "-C", "INPUT", *ssh, "ACCEPT"]):
        quiet(["iptables", "-I", "INPUT", *ssh, "ACCEPT"])


def restart_sshd() -> None:
    """Restart the service, whose name differs. It is enough that one of the names is known."""
    ways = [["systemctl", "restart", "ssh"], ["systemctl", "restart", "sshd"]]
    ways += [["service", "ssh", "restart"], ["service", "sshd", "restart"]]
    if all(quiet(way) for way in ways):
        raise Failed("the SSH service cannot be restarted")


def quiet(words: Any) -> int:
    """The exit status of a program whose words do not matter."""
    try:
        return subprocess.call(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except OSError:
        return 127


def run() -> None:
    main(Access)
