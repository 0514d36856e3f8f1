"""What starts at boot: systemd, upstart, System V and OpenRC; units with their drop-ins."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.unit.guest import trees
from tests.unit.guest.conftest import memory_files
from vmstamp.guest.files.globs import expand
from vmstamp.guest.services import is_enabled, is_masked, read_unit, starts_at_boot, unit_values

UNIT = "/usr/lib/systemd/system/x.service"


@pytest.mark.parametrize(
    ("tree", "found"),
    [
        (trees.enabled("x.service"), "x.service"),
        (trees.enabled("x.socket", target="sockets"), "x.socket"),
        ({UNIT: ""}, None),
        ({f"{trees.WANTS}/x.service": f"-> {UNIT}"}, None),
        ({**trees.enabled("x.service"), "/etc/systemd/system/x.service": "-> /dev/null"}, None),
        ({"/etc/rc2.d/S20x": "-> ../init.d/x"}, "/etc/rc2.d/S20x"),
        ({"/etc/rc2.d/K20x": "-> ../init.d/x"}, None),
        ({"/etc/init/x.conf": "start on runlevel [2345]\n", "/sbin/initctl": ""}, "/etc/init/x.conf"),
        ({"/etc/init/x.conf": "start on runlevel [2345]\nmanual\n", "/sbin/initctl": ""}, None),
        (
            {"/etc/init/x.conf": "start on y\n", "/etc/init/x.override": "manual\n", "/sbin/initctl": ""},
            None,
        ),
        ({"/etc/runlevels/default/x": "-> /etc/init.d/x"}, "/etc/runlevels/default/x"),
    ],
)
def test_what_starts_a_service_is_named(tree: Mapping[str, str | bytes], found: str | None) -> None:
    assert starts_at_boot(memory_files(tree), "x") == found


def test_the_administrators_unit_hides_a_packages_mask() -> None:
    files = memory_files({UNIT: "-> /dev/null", "/etc/systemd/system/x.service": "[Unit]\n"})
    assert not is_masked(files, "x.service") and not is_enabled(files, "x.service")


def test_drop_ins_follow_the_unit_and_an_empty_value_resets_a_list() -> None:
    files = memory_files(
        {
            UNIT: "[Service]\nExecStartPre=a \\\n b\n# no\nExecStartPre=c\n",
            "/etc/systemd/system/x.service.d/20.conf": "[Service]\nExecStartPre=e\n",
            "/usr/lib/systemd/system/x.service.d/10.conf": "[Service]\nExecStartPre=\nExecStartPre=d\n",
            "/usr/lib/systemd/system/x.service.d/20.conf": "[Service]\nExecStartPre=hidden\n",
        }
    )
    settings = read_unit(files, "x.service")
    assert settings[0] == ("Service", "ExecStartPre", "a   b")
    assert unit_values(settings, "ExecStartPre") == ["d", "e"]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("/a/*.conf", ["/a/1.conf", "/a/2.conf"]),
        ("/a/.*", ["/a/.hidden"]),
        ("/*/1.conf", ["/a/1.conf"]),
        ("/a/[2-9].conf", ["/a/2.conf"]),
        ("/a/3.conf", []),
        ("a/*", []),
        ("/" + "*" * 2000, []),
        ("/../../a/1.conf", ["/../../a/1.conf"]),
    ],
)
def test_patterns_are_expanded_inside_the_guest(pattern: str, found: list[str]) -> None:
    files = memory_files({"/a/1.conf": "", "/a/2.conf": "", "/a/.hidden": "", "/b/x": ""})
    assert expand(files, pattern) == found
