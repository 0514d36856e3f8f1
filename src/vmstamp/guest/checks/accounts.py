"""The check of whether an agent can make the administrator that a deployment will ask for."""

from __future__ import annotations

import re
from collections.abc import Iterator

from vmstamp.guest.facts import Facts, has_guest
from vmstamp.guest.files.fs import Files
from vmstamp.guest.finding import Check, Severity, Verdict, failed, not_applicable, passed, warned
from vmstamp.guest.identity.accounts import decode, users_of
from vmstamp.guest.provisioning.user_names import DISALLOWED_USERS

PASSWD, GROUP, LOGIN_DEFS = "/etc/passwd", "/etc/group", "/etc/login.defs"
LIMIT = 1024 * 1024
FIRST_USER = 1000  # UID_MIN where login.defs does not say it; waagent's own default is 100


def _text(files: Files, path: str) -> str:
    return decode(files.read_part(path, 0, LIMIT))


def _login_defs(files: Files, name: str) -> str:
    found = re.search(rf"^[ \t]*{name}[ \t]+(\S{{1,20}})", _text(files, LOGIN_DEFS), re.MULTILINE)
    return found[1] if found else ""


def _line_of(text: str, name: str) -> int:
    """The number of the line of an account; 0 when there is none."""
    lines = enumerate(text.split("\n"), 1)
    return next((number for number, line in lines if line.split(":", 1)[0] == name), 0)


def _clashes(files: Files, name: str) -> Iterator[Verdict]:
    """What stands in the way of the name, worst first."""
    if name.lower() in DISALLOWED_USERS:
        yield failed(f"Azure takes no administrator of the name {name}")
    passwd, group = _text(files, PASSWD), _text(files, GROUP)
    user = next((user for user in users_of(passwd) if user.name == name), None)
    first = _login_defs(files, "UID_MIN")
    if user is not None:
        where = f"{PASSWD}:{_line_of(passwd, name)}"
        if user.uid < (int(first) if first.isdecimal() else FIRST_USER):
            yield failed(f"{name} is a user of the system (uid {user.uid}), which agents do not take", where)
        yield warned(f"{name} is there already: it gets the new password and keys, and keeps its own", where)
    elif (line := _line_of(group, name)) and _login_defs(files, "USERGROUPS_ENAB").lower() == "yes":
        yield failed(f"there is a group {name}: useradd makes no user of that name", f"{GROUP}:{line}")


def _clash(facts: Facts) -> Verdict:
    name = facts.target.admin
    if name is None:
        return not_applicable("no name was given: --admin NAME")
    return next(_clashes(facts.guest, name), passed(f"nobody of the name {name} is there"))


CHECKS = (
    Check(
        "user-name-clash",
        "the administrator's name is free",
        Severity.PROVISION,
        "the user is not made, or is one that others have the keys and the password of",
        "Azure/WALinuxAgent common/osutil/default.py",
        has_guest,
        _clash,
        "deploy with another name, or remove the user from the image: vmstamp generalize --user NAME",
    ),
)
