"""Which kernels the marketplace approves, by its list of first releases with the patches of TCP SACK."""

from __future__ import annotations

from typing import Any

import pytest

from vmstamp.guest.checks.kernel_level import CHECKS, judge_level
from vmstamp.guest.finding import Status, judge
from vmstamp.guest.system import OperatingSystem


@pytest.mark.parametrize(
    ("name", "release", "package", "status"),
    [
        ("rhel 7.6", "3.10.0-957.21.3.el7.x86_64", "", Status.PASS),
        ("centos 7.6", "3.10.0-957.el7.x86_64", "", Status.WARNING),
        ("centos 7.6", "3.10.0-957.21.2.el7.x86_64", "", Status.WARNING),
        ("rhel 7.9", "3.10.0-1160.el7.x86_64", "", Status.PASS),
        ("rhel 8.0", "4.18.0-80.el8.x86_64", "", Status.WARNING),
        ("rhel 8.1", "4.18.0-147.el8.x86_64", "", Status.PASS),
        ("rhel 8.6", "4.18.0-372.9.1.el8.x86_64", "", Status.PASS),
        ("rhel 9.4", "5.14.0-427.el9.x86_64", "", Status.PASS),
        ("rhel 7.1", "3.10.0-229.el7.x86_64", "", Status.NOT_APPLICABLE),
        ("ol 7.6", "4.14.35-1902.2.0.el7uek.x86_64", "", Status.PASS),
        ("ol 7.6", "4.14.35-1844.5.3.el7uek.x86_64", "", Status.WARNING),
        ("ol 7.6", "3.10.0-957.21.3.el7.x86_64", "", Status.PASS),
        ("ubuntu 18.04", "5.0.0-1025-azure", "", Status.PASS),
        ("ubuntu 18.04", "5.0.0-1018-azure", "", Status.WARNING),
        ("ubuntu 19.04", "5.0.0-1010-azure", "", Status.PASS),
        ("ubuntu 14.04", "4.4.0-150-generic", "", Status.WARNING),
        ("ubuntu 18.04", "4.15.0-20-generic", "", Status.NOT_APPLICABLE),
        ("ubuntu 22.04", "5.15.0-1064-azure", "", Status.PASS),
        ("sles 12.4", "4.12.14-95.16-default", "", Status.WARNING),
        ("sles 12.4", "4.12.14-95.19-default", "", Status.PASS),
        ("sles 15", "4.12.14-5.27-azure", "", Status.WARNING),
        ("sles 15.6", "6.4.0-150600.21-default", "", Status.PASS),
        ("debian 9", "4.9.0-9-amd64", "4.9.168-1+deb9u2", Status.WARNING),
        ("debian 9", "4.9.0-9-amd64", "4.9.168-1+deb9u3", Status.PASS),
        ("debian 9", "4.9.0-9-amd64", "4.9.168-1", Status.WARNING),
        ("debian 10", "4.19.0-5-amd64", "4.19.37-5+deb10u1", Status.PASS),
        ("debian 9", "4.9.0-9-amd64", "", Status.NOT_APPLICABLE),
        ("debian 12", "6.1.0-30-amd64", "", Status.PASS),
        ("alpine 3.10", "4.19.53-0-vanilla", "", Status.NOT_APPLICABLE),
    ],
)
def test_a_kernel_is_judged_by_the_list(name: str, release: str, package: str, status: Status) -> None:
    identifier, _, version = name.partition(" ")
    like = {"centos": ("rhel",), "ol": ("fedora",), "ubuntu": ("debian",), "sles": ("suse",)}
    system = OperatingSystem(identifier, version, name, "Linux", like.get(identifier, ()))
    assert judge_level(system, release, package).status is status


def test_the_kernel_that_boots_is_judged(guests: Any) -> None:
    (check,) = CHECKS
    healthy = judge(check, guests.facts({}))
    assert (healthy.status, healthy.where[:13]) == (Status.PASS, "/lib/modules/")
    old = "4.9.0-9-amd64"
    package = f"Package: linux-image-{old}\nStatus: install ok installed\nVersion: 4.9.168-1\n"
    changes = {
        f"/boot/vmlinuz-{old}": "MZ",
        f"/usr/lib/modules/{old}/modules.dep": "x.ko:\n",
        "/boot/grub/grub.cfg": f"menuentry 'Debian' {{\n\tlinux /boot/vmlinuz-{old} root=UUID=1\n}}\n",
        "/var/lib/dpkg/status": package,
    }
    finding = judge(check, guests.facts(changes))
    assert finding.status is Status.WARNING
    assert finding.found == "4.9.168-1; 4.9.168-1+deb9u3 is the first that is approved"
    assert finding.where == f"/lib/modules/{old}"
