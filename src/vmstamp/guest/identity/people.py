"""Steps about who can log in: users with all that is theirs, their rights, keys and passwords.

Sources: WALinuxAgent `pa/deprovision/default.py` (deprovision+user), userdel(8), guestfs-tools
`sysprep_operation_{user_account,ssh_userdir}.ml`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from vmstamp.guest.edits import Edit
from vmstamp.guest.files.fs import Files
from vmstamp.guest.identity.accounts import (
    LOCKED,
    User,
    has_password,
    own_group,
    passwords_of,
    with_password,
    without_member,
    without_user,
)
from vmstamp.guest.identity.step import (
    Found,
    Guest,
    Mend,
    Severity,
    Step,
    changing,
    dropping,
    real_path,
    removing,
    together,
)

SUDOERS = "/etc/sudoers.d"
AGENT_SUDOERS = ("90-cloud-init-users", "waagent")
BUILDERS = ("vagrant", "packer")  # users of image builders, whose rights are never meant to stay
OVF = ("/var/lib/waagent/ovf-env.xml", "/var/lib/cloud/seed/azure/ovf-env.xml")
# Written by cloud-init before a key in root's authorized_keys; the key runs nothing but this message.
REFUSING_STUB = "Please login as the user"
SSHD_CONFIGURATION = "/etc/ssh/sshd_config"
DEFAULT_KEYS = (".ssh/authorized_keys", ".ssh/authorized_keys2")  # sshd_config(5), AuthorizedKeysFile

_NAME = r"""["']?([A-Za-z_][\w.-]{0,63})["']?"""  # useradd(8), in YAML


def agent_made(guest: Guest) -> frozenset[str]:
    """The users that provisioning made, as far as its data still say."""
    names = set(BUILDERS)
    for path in OVF:
        names.update(re.findall(r"<(?:\w+:)?UserName>\s*([^<\s]{1,64})\s*<", guest.text(path)))
    for path in guest.glob(f"{SUDOERS}/*"):
        if path.rsplit("/", 1)[-1] in AGENT_SUDOERS:
            names.update(_granted(guest.text(path)))
    for path in ("/etc/cloud/cloud.cfg", *guest.glob("/etc/cloud/cloud.cfg.d/*.cfg")):
        names.update(_default_user(guest.text(path)))
    for path in guest.glob("/var/lib/cloud/instances/*/cloud-config.txt"):
        text = guest.text(path)
        names.update([*_default_user(text), *_listed_users(text)])
    return frozenset(names)


def _default_user(text: str) -> list[str]:
    """`name` of system_info's default_user in a cloud-config, wherever among its keys it stands."""
    blocks = re.findall(
        r"^([ \t]+)default_user:[ \t]*\n((?:\1[ \t]+.*\n?|[ \t]*\n|[ \t]*#.*\n)*)", text, re.M
    )
    return [name for _, block in blocks for name in re.findall(rf"^[ \t]+name:[ \t]*{_NAME}", block, re.M)]


def _listed_users(text: str) -> list[str]:
    """The users that user data had made: items of the list `users`, by name or as mappings."""
    names = []
    for block in re.findall(r"^users:[ \t]*\n((?:[ \t-].*\n?|#.*\n|\n)*)", text, re.M):
        names += re.findall(rf"^[ \t]*(?:-[ \t]+)?name:[ \t]*{_NAME}", block, re.M)
        names += re.findall(rf"^[ \t]*-[ \t]+{_NAME}[ \t]*$", block, re.M)
    return names


def _people(guest: Guest) -> Iterator[Found]:
    made = agent_made(guest)
    for user in guest.users:
        wanted = user.name in guest.choice.users and user.uid != 0
        if not user.is_person and not wanted:
            continue
        taken = wanted or guest.choice.all_users or user.name in made
        usable = " with a password" if has_password(guest.passwords.get(user.name)) else ""
        detail = f"user {user.name} (uid {user.uid}){usable}"
        if not taken:
            detail += f", not made by an agent: --user {user.name} or --all-users removes it"
        yield Found("/etc/passwd", detail, _remove_user(user) if taken else None)


def _remove_user(user: User) -> Mend:
    def mend(files: Files) -> Iterable[Edit]:
        guest = Guest(files)
        others = tuple(other for other in guest.users if other.name != user.name)
        group = own_group(guest.text("/etc/group"), user, others)
        name = user.name
        lines = [
            changing(f"/etc/{one}", lambda text: without_user(text, name))
            for one in ("passwd", "shadow", "subuid", "subgid")
        ]
        spools = (
            f"/var/mail/{name}", f"/var/spool/mail/{name}", f"/var/spool/cron/crontabs/{name}",
            f"/var/spool/cron/{name}", f"/var/spool/cron/tabs/{name}", f"/var/lib/systemd/linger/{name}",
            f"/var/lib/AccountsService/users/{name}", f"/var/lib/AccountsService/icons/{name}",
            f"/var/lib/sudo/lectured/{name}", f"/var/db/sudo/lectured/{name}",
        )  # fmt: skip
        return together(
            *lines,
            changing("/etc/group", lambda text: without_member(text, name, (3,), group)),
            changing("/etc/gshadow", lambda text: without_member(text, name, (2, 3), group)),
            removing(*_homes_to_remove(files, user, others)),
            removing(*spools, *_jobs(guest, user)),
            _revoke(guest, name),
        )(files)

    return mend


def _homes_to_remove(files: Files, user: User, others: tuple[User, ...]) -> list[str]:
    """The home, and what it leads to when it is a link; nothing that may be more than this user's.

    Who owns a directory is not looked at, so it must be named for the user, or lie in /home.
    """
    real = real_path(files, user.home) if user.home else None
    kept = [path for other in others if (path := real_path(files, other.home)) is not None]
    homes = []
    for path in (user.home, real):
        if not path or path in homes or not _is_removable(path, user.name):
            continue
        if real is None or not any(f"{one}/".startswith(f"{real}/") for one in kept):
            homes.append(path)
    return homes


def _is_removable(path: str, name: str) -> bool:
    parts = path.strip("/").split("/")
    if {"", ".", ".."} & set(parts) or len(parts) < 2 or parts[0] in ("usr", "etc", "proc", "sys", "dev"):
        return False
    return (parts[0] == "home" and len(parts) == 2) or parts[-1] == name


def _jobs(guest: Guest, user: User) -> list[str]:
    """The user's at(1) jobs, which name who runs them in their first lines."""
    signs = (f"# atrun uid={user.uid} ", f"# mail {user.name} ")
    jobs = (*guest.glob("/var/spool/at/[!.]*"), *guest.glob("/var/spool/cron/atjobs/[!.]*"))
    return [path for path in jobs if any(sign in guest.text(path)[:4096] for sign in signs)]


def _revoke(guest: Guest, name: str) -> Mend:
    """The user's lines in the files of sudoers.d; a file that grants nothing else goes."""
    mends = []
    for path in guest.glob(f"{SUDOERS}/*"):
        granted = _granted(guest.text(path))
        if name not in granted:
            continue
        alone = set(granted) == {name} and path.rsplit("/", 1)[-1] in (*AGENT_SUDOERS, name)
        mends.append(removing(path) if alone else dropping(path, lambda line: _who(line) == name))
    return together(*mends)


def _who(line: str) -> str:
    """Whom a line of sudoers(5) grants something; '' for comments, settings, aliases and includes."""
    words = line.split()
    if not words or words[0].startswith(("#", "@")) or words[0].startswith("Defaults"):
        return ""
    return "" if words[0] in ("User_Alias", "Runas_Alias", "Host_Alias", "Cmnd_Alias") else words[0]


def _granted(text: str) -> list[str]:
    return [who for line in text.split("\n") if (who := _who(line))]


def _sudoers(guest: Guest) -> Iterator[Found]:
    """Rights of users that exist, of a group, or of all; and of people that need no password for it."""
    names = {user.name for user in guest.users}
    people = {user.name for user in guest.users if user.is_person}
    for path in guest.glob(f"{SUDOERS}/*"):
        text = guest.text(path)
        granted = _granted(text)
        if path.rsplit("/", 1)[-1] in AGENT_SUDOERS:
            alive = [who for who in granted if who in names or who == "ALL" or who.startswith("%")]
            mend = removing(path)
        else:
            free = [_who(line) for line in text.split("\n") if "NOPASSWD" in line]
            alive = [who for who in free if who in people]
            mend = dropping(path, lambda line: "NOPASSWD" in line and _who(line) in people)
        if alive:
            yield Found(path, f"rights of {', '.join(alive[:8])}", mend)


def _orphan_sudoers(guest: Guest) -> Iterator[Found]:
    names = {"ALL", *(user.name for user in guest.users)}
    for path in guest.glob(f"{SUDOERS}/*"):
        name = path.rsplit("/", 1)[-1]
        granted = _granted(guest.text(path))
        gone = bool(granted) and not any(who in names or who.startswith("%") for who in granted)
        if gone and (name in AGENT_SUDOERS or set(granted) <= set(BUILDERS)):
            yield Found(path, "rights of a user that is no more", removing(path))


def _authorized_keys(guest: Guest) -> Iterator[Found]:
    for path, user, keys in _keys(guest):
        usable = [key for key in keys if REFUSING_STUB not in key]
        if usable:
            keys_that = "a key that logs in" if len(usable) == 1 else f"{len(usable)} keys that log in"
            yield Found(path, f"{keys_that} as {user}", removing(path))


def _refused_keys(guest: Guest) -> Iterator[Found]:
    for path, user, keys in _keys(guest):
        if keys and all(REFUSING_STUB in key for key in keys):
            yield Found(path, f"cloud-init's keys that only tell not to log in as {user}", removing(path))


def _keys(guest: Guest) -> Iterator[tuple[str, str, list[str]]]:
    """(path, user, lines with keys) of every user's AuthorizedKeysFile, each file once."""
    seen = set()
    patterns = _key_files(guest)
    owners = dict(guest.homes)
    for user in ("root", *(user.name for user in guest.users[:MAX_USERS])):
        for pattern in patterns:
            path = _expand(pattern, user, owners.get(user, ""))
            if not path or path in seen:
                continue
            seen.add(path)
            lines = guest.text(path).split("\n")
            yield path, user, [line for line in lines if line.strip() and not line.startswith("#")]


MAX_USERS = 1_000


def _key_files(guest: Guest) -> list[str]:
    """Where keys are: sshd's default places, and what its configuration says. Spec: sshd_config(5)."""
    patterns = list(DEFAULT_KEYS)
    for path in (SSHD_CONFIGURATION, *guest.glob(f"{SSHD_CONFIGURATION}.d/*.conf")):
        for line in guest.text(path).split("\n"):
            words = line.replace("=", " ").split()
            if len(words) > 1 and words[0].lower() == "authorizedkeysfile":
                patterns += [word.strip('"') for word in words[1:9] if word.strip('"') != "none"]
    return list(dict.fromkeys(patterns))


def _expand(pattern: str, user: str, home: str) -> str:
    """Tokens %h, %u, %%; a path that is not absolute lies in the home. '' when there is no home for it."""
    tokens = {"%h": home, "%u": user, "%%": "%"}
    path = re.sub("%[hu%]", lambda found: tokens[found[0]], pattern)
    if "%h" in pattern and not home:
        return ""
    if path.startswith("/"):
        return path
    return f"{home}/{path}" if home else ""


def _root_password(guest: Guest) -> Iterator[Found]:
    hashed = guest.passwords.get("root")
    if has_password(hashed):
        detail = "root has a password" if hashed else "root needs no password"
        yield Found("/etc/shadow", detail, _lock("root"))


def _empty_passwords(guest: Guest) -> Iterator[Found]:
    for name, hashed in guest.passwords.items():
        if hashed == "" and name and name != "root":
            yield Found("/etc/shadow", f"{name[:64]} needs no password", _lock(name))
    for name, hashed in passwords_of(guest.text("/etc/passwd")).items():
        if hashed == "" and name:  # passwd(5): nothing in shadow is asked then
            mend = changing("/etc/passwd", lambda text, name=name: with_password(text, name, "x"))  # type: ignore[misc]
            yield Found("/etc/passwd", f"{name[:64]} needs no password", mend)
    for path in (SSHD_CONFIGURATION, *guest.glob(f"{SSHD_CONFIGURATION}.d/*.conf")):
        if any(_lets_in_all(line) for line in guest.text(path).split("\n")):
            yield Found(path, "sshd lets in users that need no password", dropping(path, _lets_in_all))


def _lets_in_all(line: str) -> bool:
    """PermitEmptyPasswords yes, for everybody or for some. Spec: sshd_config(5)."""
    return [word.strip('"').lower() for word in line.replace("=", " ").split()[:2]] == [
        "permitemptypasswords",
        "yes",
    ]


def _locked_hashes(guest: Guest) -> Iterator[Found]:
    """Of root and of users that no person is; a person goes with its hash, or stays with it."""
    people = {user.name for user in guest.users if user.is_person}
    for name, hashed in guest.passwords.items():
        if re.match(r"[!*]+\$", hashed) and name and name not in people:
            yield Found("/etc/shadow", f"the hash of {name[:64]}'s locked password", _lock(name))


def _lock(name: str) -> Mend:
    return changing("/etc/shadow", lambda text: with_password(text, name, LOCKED))


def _orphan_homes(guest: Guest) -> Iterator[Found]:
    owned = {user.home for user in guest.users}
    for name in guest.files.list("/home"):
        path = f"/home/{name}"
        if path not in owned and guest.files.exists(f"{path}/.ssh"):
            yield Found(path, "a home that no user owns, with keys in it", removing(f"{path}/.ssh"))


STEPS = (
    Step(
        "users-pre-existing",
        "remove the users that provisioning made, with their homes, rights and mail",
        "whoever made the image can log in to every VM of it; a new user of that name gets the old files",
        "WALinuxAgent pa/deprovision/default.py del_user; azure-docs marketplace certification",
        Severity.IDENTITY,
        _people,
    ),
    Step(
        "sudoers-leftover",
        "remove sudo rights that provisioning gave, and people's rights without a password",
        "whoever gets the old user's name has root's rights in every VM",
        "WALinuxAgent common/osutil/default.py conf_sudoer; cloud-init distros/__init__.py",
        Severity.IDENTITY,
        _sudoers,
    ),
    Step(
        "sudoers-orphan",
        "remove sudo rights of users that are no more",
        "a new user of that name would get them",
        "WALinuxAgent pa/deprovision/default.py",
        Severity.TRACE,
        _orphan_sudoers,
    ),
    Step(
        "authorized-keys",
        "remove the SSH keys that may log in, wherever sshd looks for them",
        "the old keys log in to every VM",
        "microsoft/lisa azure_image_standard.py verify_no_pre_exist_users; sshd_config(5)",
        Severity.IDENTITY,
        _authorized_keys,
    ),
    Step(
        "refused-keys",
        "remove cloud-init's keys that refuse root's login",
        "they name the old user and its keys; cloud-init writes them anew",
        "cloud-init config/cc_ssh.py",
        Severity.TRACE,
        _refused_keys,
    ),
    Step(
        "root-locked",
        "lock root's password",
        "every VM has the same root password",
        "WALinuxAgent common/osutil/default.py del_root_password",
        Severity.IDENTITY,
        _root_password,
    ),
    Step(
        "shadow-empty-password",
        "lock users who can log in without a password",
        "anybody can log in as that user in every VM",
        "shadow(5)",
        Severity.IDENTITY,
        _empty_passwords,
    ),
    Step(
        "locked-hashes",
        "remove the hashes of locked passwords",
        "a locked password logs in nobody, but whoever reads the image can guess it from its hash",
        "WALinuxAgent common/osutil/default.py del_root_password; shadow(5)",
        Severity.TRACE,
        _locked_hashes,
    ),
    Step(
        "orphan-home",
        "remove the SSH keys in homes that belong to no user",
        "a new user of that name gets the home, and the old keys log in",
        "useradd(8)",
        Severity.IDENTITY,
        _orphan_homes,
    ),
)
