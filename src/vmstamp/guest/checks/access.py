"""Checks of whether somebody can log in: the SSH server, its keys and configuration, sudo."""

from __future__ import annotations

import re
from collections.abc import Iterator

from vmstamp.guest.checks import sources
from vmstamp.guest.edits import Edit, Remove, Symlink, Write
from vmstamp.guest.facts import Facts, has_guest
from vmstamp.guest.files.fs import Files
from vmstamp.guest.finding import Check, Severity, Verdict, failed, passed, warned
from vmstamp.guest.lines import as_bytes, comment_out, find_exact
from vmstamp.guest.packages import find_program
from vmstamp.guest.services import find_unit, is_masked, starts_at_boot
from vmstamp.guest.sshd import (
    DROP_INS,
    FILE_LIMIT,
    PROGRAMS,
    SSH_DIRECTORY,
    UNITS,
    Setting,
    find_key_maker,
    has_ssh_server,
    host_key_drop_in,
    host_keys,
)

WANTS = "/etc/systemd/system/multi-user.target.wants"
# Sorted before every other drop-in: of two values the first wins.
ALIVE_DROP_IN = f"{DROP_INS}/00-azure.conf"
ALIVE_LINE = "ClientAliveInterval 180"
ALIVE_SECONDS = (30, 235)  # what the marketplace accepts

SUDOERS = ("/etc/sudoers", "/usr/etc/sudoers")
SUDOERS_DIRECTORY = "/etc/sudoers.d"
SUDOERS_LIMIT = 256 * 1024
_TARGETPW = re.compile(r"^\s*Defaults\b(?!.*!(?:targetpw|rootpw|runaspw)).*\b(targetpw|rootpw|runaspw)\b")
# SUSE's companion of targetpw: whoever knows root's password may do everything.
_EVERYBODY = re.compile(r"^\s*ALL\s+ALL\s*=\s*\(ALL(:ALL)?\)\s*ALL\b")

NOLOGIN = "/etc/nologin"  # nologin(5)
HOSTS_ALLOW, HOSTS_DENY = "/etc/hosts.allow", "/etc/hosts.deny"
SERVER_LIMIT = 4 * 1024 * 1024  # bytes of sshd itself that are searched
ALLOW_LISTS = ("allowusers", "allowgroups", "denyusers", "denygroups")
ACCESS_CONF = "/etc/security/access.conf"
PAM_FILES = ("/etc/pam.d/sshd", "/etc/pam.d/common-account", "/etc/pam.d/password-auth")


def _enabled(facts: Facts) -> Verdict:
    files = facts.guest
    if not has_ssh_server(files):
        return failed("no SSH server is installed")
    starter = starts_at_boot(files, "ssh", "sshd")
    if starter is None:
        masked = next((unit for unit in UNITS if is_masked(files, unit)), None)
        return failed(f"{masked} is masked" if masked else "no SSH service or socket is enabled")
    if facts.sshd.errors:
        return failed(facts.sshd.errors[0], facts.sshd.path)
    ports = facts.sshd.all("port")
    if ports and all(one.value != "22" for one in ports):
        return warned(f"the SSH server listens on port {ports[0].value}, not on 22", ports[0].where)
    return passed(f"{starter} is enabled", find_unit(files, starter) or starter)


def _fix_enabled(facts: Facts) -> Iterator[Edit]:
    """The service of the package is unmasked and wanted; nothing is installed."""
    files = facts.guest
    if not has_ssh_server(files) or starts_at_boot(files, "ssh", "sshd"):
        return
    for unit in UNITS[:2]:
        own = f"/etc/systemd/system/{unit}"
        vendor = next((path for path in (f"/usr/lib/systemd/system/{unit}", f"/lib/systemd/system/{unit}")
                       if files.find(path, follow=False)), None)  # fmt: skip
        if vendor is None:
            continue
        if files.readlink(own) == "/dev/null":
            yield Remove(own)
        yield Symlink(f"{WANTS}/{unit}", vendor)
        return


def _host_keys(facts: Facts) -> Verdict:
    keys = host_keys(facts.guest)
    if keys:
        return passed(f"{len(keys)} host keys are there", SSH_DIRECTORY)
    maker = find_key_maker(facts.guest)
    if maker:
        return passed("host keys are made before the SSH server starts", maker)
    if facts.provisioner == "cloud-init":
        return passed("cloud-init makes the host keys at first boot")
    if facts.provisioner == "waagent":
        return failed(
            "no host keys, and nothing makes them before the SSH server starts: waagent makes them later, "
            "but does not start a service that has failed",
            SSH_DIRECTORY,
        )
    return warned("no host keys, and nothing was found that makes them", SSH_DIRECTORY)


def _fix_host_keys(facts: Facts) -> Iterator[Edit]:
    if drop_in := host_key_drop_in(facts.guest):
        yield drop_in


def _has_ssh(facts: Facts) -> bool:
    return facts.files is not None and has_ssh_server(facts.files)


def _client_alive(facts: Facts) -> Verdict:
    setting = facts.sshd.find("clientaliveinterval")
    low, high = ALIVE_SECONDS
    if setting is None:
        if facts.provisioner == "waagent":
            return passed("waagent sets ClientAliveInterval when it provisions")
        return warned("ClientAliveInterval is not set", facts.sshd.path)
    seconds = _seconds(setting.value)
    if seconds is None or not low <= seconds <= high:
        return warned(f"ClientAliveInterval {setting.value}: not within {low} to {high} s", setting.where)
    return passed(f"ClientAliveInterval {setting.value}", setting.where)


def _seconds(value: str) -> int | None:
    """A time of sshd_config(5), TIME FORMATS; None when it is none."""
    if not re.fullmatch(r"(\d{1,6}[smhdwSMHDW]?)+", value):
        return None
    units = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
    return sum(int(number) * units[unit.lower()] for number, unit in re.findall(r"(\d+)([a-zA-Z]?)", value))


def _fix_sshd(facts: Facts) -> Iterator[Edit]:
    """The interval in a drop-in that is read first, else in the main file; doubled passwords as comments."""
    sshd = facts.sshd
    if not sshd.path:
        return
    texts: dict[str, str] = {}
    gone: dict[str, set[int]] = {}
    for setting in _overruled(facts):
        gone.setdefault(setting.path, set()).add(setting.line)
    alive = _client_alive(facts).status != "pass"
    if alive and not _includes_first(facts):
        stale = {one.line for one in sshd.all("clientaliveinterval") if one.path == sshd.path}
        gone.setdefault(sshd.path, set()).update(stale)
    for path, numbers in gone.items():
        texts[path] = comment_out(find_exact(facts.guest, path, FILE_LIMIT), numbers)
    if alive and _includes_first(facts):
        yield Write(
            ALIVE_DROP_IN, f"# Idle connections are dropped after four minutes.\n{ALIVE_LINE}\n".encode()
        )
    elif alive:
        texts[sshd.path] = f"{ALIVE_LINE}\n{texts[sshd.path]}"
    for path, text in texts.items():
        yield Write(path, as_bytes(text))


def _includes_first(facts: Facts) -> bool:
    """The main file includes the drop-ins before it sets the interval itself."""
    for line in (
        (facts.guest.find_text(facts.sshd.path, FILE_LIMIT) or "").splitlines() if facts.sshd.path else ()
    ):
        words = line.split()
        if words[:1] and words[0].lower() == "include" and f"{DROP_INS}/*.conf" in words:
            return True
        if words[:1] and words[0].lower() in ("clientaliveinterval", "match"):
            return False
    return False


def _overruled(facts: Facts) -> list[Setting]:
    """Lines of PasswordAuthentication that say something else than the first, which wins."""
    lines = facts.sshd.all("passwordauthentication")
    return [one for one in lines[1:] if one.value.lower() != lines[0].value.lower()]


def _password(facts: Facts) -> Verdict:
    deciding = facts.sshd.find("passwordauthentication")
    overruled = _overruled(facts)
    if overruled and deciding:
        return warned(
            f"PasswordAuthentication {overruled[0].value} has no effect after {deciding.value} "
            f"in {deciding.where}",
            overruled[0].where,
        )
    if deciding is None:
        return passed("PasswordAuthentication is sshd's default: yes")
    return passed(f"PasswordAuthentication {deciding.value}", deciding.where)


def _allow_lists(facts: Facts) -> Verdict:
    if facts.guest.exists(NOLOGIN):
        return failed("while it is there, only root may log in", NOLOGIN)
    if where := _wrapped(facts.guest):
        return failed("the SSH server asks TCP wrappers, which refuse everybody", where)
    for keyword in ALLOW_LISTS:
        for setting in facts.sshd.all(keyword):
            return warned(f"{keyword}: the VM's new user may not be among them", setting.where)
    for path in PAM_FILES:
        text = facts.guest.find_text(path, FILE_LIMIT) or ""
        if re.search(r"^[ \t]*-?account\b.*\bpam_access\.so", text, re.MULTILINE) and _denies(facts.guest):
            return warned("pam_access lets in only those that access.conf names", ACCESS_CONF)
    return passed("every user may log in")


def _wrapped(files: Files) -> str:
    """The line of hosts.deny that refuses SSH to all, where sshd is built with libwrap; '' when it is open.

    Any line of hosts.allow for sshd is taken for one that lets somebody in. Spec: hosts_access(5).
    """
    server = next((path for path in PROGRAMS if files.is_file(path)), "")
    if b"libwrap.so" not in files.read_part(server, 0, SERVER_LIMIT):
        return ""
    if any(_wraps_sshd(line) for line in (files.find_text(HOSTS_ALLOW, FILE_LIMIT) or "").splitlines()):
        return ""
    for number, line in enumerate((files.find_text(HOSTS_DENY, FILE_LIMIT) or "").splitlines(), 1):
        if _wraps_sshd(line) and "ALL" in re.split(r"[\s,:]+", line.partition(":")[2]):
            return f"{HOSTS_DENY}:{number}"
    return ""


def _wraps_sshd(line: str) -> bool:
    daemons, colon, _ = line.partition(":")
    return bool(colon) and not {"sshd", "ALL"}.isdisjoint(re.split(r"[\s,]+", daemons.strip()))


def _fix_allow_lists(facts: Facts) -> Iterator[Edit]:
    """nologin is what a shutdown leaves; whom the other lists are for only the owner knows."""
    if facts.guest.exists(NOLOGIN):
        yield Remove(NOLOGIN)


def _denies(files: Files) -> bool:
    text = files.find_text(ACCESS_CONF, FILE_LIMIT) or ""
    return any(line.lstrip().startswith("-") for line in text.splitlines())


def _sudoers_files(files: Files) -> list[str]:
    """sudoers and its drop-ins: names with a dot or a tilde at the end are not read."""
    names = [n for n in files.list(SUDOERS_DIRECTORY)[:200] if "." not in n and not n.endswith("~")]
    main = next((path for path in SUDOERS if files.is_file(path)), None)
    return [*([main] if main else []), *(f"{SUDOERS_DIRECTORY}/{name}" for name in names)]


def _target_lines(facts: Facts) -> Iterator[tuple[str, int, bool]]:
    """(path, line, whether it is a Defaults) of lines by which sudo asks for another's password."""
    for path in _sudoers_files(facts.guest):
        text = facts.guest.find_text(path, SUDOERS_LIMIT) or ""
        for number, line in enumerate(text.splitlines(), 1):
            if len(line) < 2000 and (_TARGETPW.match(line) or _EVERYBODY.match(line)):
                yield path, number, bool(_TARGETPW.match(line))


def _targetpw(facts: Facts) -> Verdict:
    lines = list(_target_lines(facts))
    for path, number, is_default in lines:
        if is_default:
            return failed("sudo asks for root's password, which nobody has", f"{path}:{number}")
    if lines:
        path, number, _ = lines[0]
        return warned("every user may do everything by sudo", f"{path}:{number}")
    return passed("sudo asks for the user's own password")


def _sudo(facts: Facts) -> Verdict:
    files = facts.guest
    for names, what in (
        (("useradd", "adduser"), "neither useradd nor adduser is installed: no user can be made"),
        (("sudo", "doas"), "sudo is not installed: the VM's user cannot become root"),
    ):
        if find_program(files, *names) is None:
            return failed(what)
    if facts.provisioner == "cloud-init" and find_program(files, "chpasswd") is None:
        return warned("chpasswd is not installed: cloud-init cannot set the password of a deployment")
    if find_program(files, "sudo") is None:
        return warned("doas is installed, but agents give their user rights by sudo")
    main = next((path for path in SUDOERS if files.is_file(path)), None)
    if main is None:
        return failed("there is no sudoers file", SUDOERS[0])
    text = files.find_text(main, SUDOERS_LIMIT) or ""
    if not _includes_directory(text):
        return failed(f"{SUDOERS_DIRECTORY} is not included, where agents write their user's rights", main)
    return passed("the VM's user gets rights by sudo", main)


def _includes_directory(text: str) -> bool:
    pattern = rf"^[ \t]*[#@]includedir[ \t]+{SUDOERS_DIRECTORY}/?[ \t]*$"
    return re.search(pattern, text, re.MULTILINE) is not None


def _fix_sudoers(facts: Facts) -> Iterator[Edit]:
    """Bad lines become comments, the directory is included. A vendor's file below /usr is copied to /etc."""
    files = facts.guest
    found: dict[str, set[int]] = {}
    for path, number, _ in _target_lines(facts):
        found.setdefault(path, set()).add(number)
    for path in _sudoers_files(files):
        old = find_exact(files, path, SUDOERS_LIMIT)
        text = comment_out(old, found.get(path, set()))
        if path in SUDOERS and find_program(files, "sudo") and not _includes_directory(text):
            text = f"{text.rstrip()}\n@includedir {SUDOERS_DIRECTORY}\n"
        if text != old:
            yield Write(path.replace("/usr/etc/", "/etc/"), as_bytes(text), 0o440)


CHECKS = (
    Check(
        "sshd-enabled",
        "an SSH server is installed and starts at boot",
        Severity.PROVISION,
        "the VM becomes Ready, but nobody can log in",
        sources.GENERIC,
        has_guest,
        _enabled,
        "install openssh-server and enable it",
        fix=_fix_enabled,
    ),
    Check(
        "sshd-host-keygen",
        "host keys are there, or are made before the SSH server starts",
        Severity.PROVISION,
        "without host keys the SSH server fails: the VM is Ready and port 22 is refused",
        "Azure/WALinuxAgent common/osutil/debian.py; seen with waagent 2.12 on Debian 13",
        _has_ssh,
        _host_keys,
        "add a drop-in to ssh.service: ExecStartPre=/usr/bin/ssh-keygen -A, first in the list",
        fix=_fix_host_keys,
    ),
    Check(
        "sshd-clientalive",
        "the SSH server keeps idle connections alive",
        Severity.CERTIFICATION,
        "Azure's load balancers drop a connection that is idle for four minutes",
        sources.CERTIFICATION,
        _has_ssh,
        _client_alive,
        f"{ALIVE_LINE} in sshd_config, before any other value",
        fix=_fix_sshd,
    ),
    Check(
        "sshd-allow-lists",
        "the VM's new user may log in",
        Severity.PROVISION,
        "the user that is asked for at deployment is refused by the SSH server",
        "OpenSSH sshd_config(5) AllowUsers",
        _has_ssh,
        _allow_lists,
        "remove AllowUsers, AllowGroups, DenyUsers and DenyGroups, or name a group of the new user; remove "
        "/etc/nologin and the line of hosts.deny",
        fix=_fix_allow_lists,
    ),
    Check(
        "sshd-password-auth",
        "password logins are decided in one place",
        Severity.BEST,
        "the first value wins: what an agent or administrator writes later has no effect",
        "OpenSSH sshd_config(5)",
        _has_ssh,
        _password,
        "keep one line of PasswordAuthentication",
        fix=_fix_sshd,
    ),
    Check(
        "sudoers-targetpw",
        "sudo asks for the user's own password",
        Severity.PROVISION,
        "root has no password: the VM's user can never become root",
        "azure-compute-docs linux/suse-create-upload-vhd.md",
        has_guest,
        _targetpw,
        "remove `Defaults targetpw` and `ALL ALL=(ALL) ALL` from sudoers",
        fix=_fix_sudoers,
    ),
    Check(
        "sudo-present",
        "agents can make a user with rights",
        Severity.PROVISION,
        "the VM's user is not made, or cannot become root",
        "Azure/WALinuxAgent README",
        has_guest,
        _sudo,
        f"install sudo and passwd, and include {SUDOERS_DIRECTORY} in sudoers",
        fix=_fix_sudoers,
    ),
)
