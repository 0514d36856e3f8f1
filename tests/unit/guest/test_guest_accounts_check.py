"""Whether the administrator's name is free: refused by Azure, taken by the system, a person or a group."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from vmstamp.guest.checks.accounts import CHECKS
from vmstamp.guest.facts import Target
from vmstamp.guest.finding import judge

PASSWD = "root:x:0:0::/root:/bin/sh\nweb:x:300:300::/srv:/bin/sh\nada:x:1000:1000::/home/ada:/bin/sh\n"
FILES = {
    "/etc/passwd": PASSWD,
    "/etc/group": "root:x:0:\nada:x:1000:\ndocker:x:999:\n",
    "/etc/login.defs": "# UID_MIN 5\nUID_MIN\t\t 1000\nUSERGROUPS_ENAB yes\n",
}


@pytest.mark.parametrize(
    ("admin", "changes", "status", "where"),
    [
        (None, {}, "not applicable", ""),
        ("grace", {}, "pass", ""),
        ("ada", {}, "warning", "/etc/passwd:3"),
        ("Admin", {}, "fail", ""),
        ("web", {}, "fail", "/etc/passwd:2"),
        ("web", {"/etc/login.defs": "UID_MIN 200\n"}, "warning", "/etc/passwd:2"),
        ("web", {"/etc/login.defs": None}, "fail", "/etc/passwd:2"),
        ("docker", {}, "fail", "/etc/group:3"),
        ("docker", {"/etc/login.defs": "USERGROUPS_ENAB no\n"}, "pass", ""),
        ("grace", {"/etc/passwd": None, "/etc/group": None}, "pass", ""),
    ],
)
def test_the_name_is_looked_up(guests: Any, admin: str | None, changes: Any, status: str, where: str) -> None:
    facts = replace(guests.facts({**FILES, **changes}), target=Target(admin=admin))
    finding = judge(CHECKS[0], facts)
    assert (finding.status, finding.where) == (status, where)
