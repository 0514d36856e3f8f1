"""The checks of installed software: one defect each, and the defect mended."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.unit.guest import trees
from tests.unit.guest.apply import apply
from tests.unit.guest.conftest import memory_facts, memory_files
from vmstamp.guest.checks.software import CHECKS
from vmstamp.guest.facts import Facts
from vmstamp.guest.finding import Status, judge
from vmstamp.guest.packages import find_packages, find_python

Changes = Mapping[str, str | bytes | None]
APT = "/etc/apt/sources.list"
CHRONY = "/etc/chrony/chrony.conf"
PTP = {"/usr/lib/udev/rules.d/50-udev-default.rules": 'SUBSYSTEM=="ptp", SYMLINK+="ptp_hyperv"\n'}
UBUNTU_SOURCES = "/etc/apt/sources.list.d/ubuntu.sources"
PRESERVE = {"/etc/cloud/cloud.cfg.d/95.cfg": "apt: {preserve_sources_list: true}\n"}
OMI = {"/opt/omi/bin/omiserver": "ELF"}


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
    ("family", "changes", "check"),
    [
        ("debian", {APT: "deb [trusted=yes] file:/srv/x ./\ndeb https://a b c\n"}, "apt-mirror"),
        ("debian", {APT: "deb cdrom:[Debian 12 _x_]/ a b\ndeb [signed-by=/k] https://a b\n"}, "apt-mirror"),
        (
            "ubuntu",
            {UBUNTU_SOURCES: "Types: deb\nURIs: http://de.archive.ubuntu.com/ubuntu/\n", **PRESERVE},
            "apt-mirror",
        ),
        ("debian", {CHRONY: "pool ntp\nmakestep 1 3\n", **PTP}, "time-sync"),
        ("debian", {CHRONY: "refclock PHC /dev/ptp0\n"}, "time-sync"),
        ("debian", trees.enabled("open-vm-tools.service", "[Service]\n"), "foreign-guest-tools"),
        ("rhel", trees.enabled("vmtoolsd.service"), "foreign-guest-tools"),
        ("debian", trees.enabled("google-guest-agent.service"), "foreign-guest-tools"),
    ],
)
def test_a_defect_is_found_and_mended(family: str, changes: Changes, check: str) -> None:
    tree = changed(family, changes)
    facts = memory_facts(tree)
    assert bad(facts) == {check: "warning"}
    fix = next(one.fix for one in CHECKS if one.id == check)
    assert fix
    assert bad(memory_facts(apply(fix(facts), tree))) == {}


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({APT: "# deb https://a b c\n"}, {"apt-mirror": "warning"}),
        ({CHRONY: "pool ntp\nmakestep 1 3\n"}, {"time-sync": "warning"}),
        ({f"{trees.WANTS}/chrony.service": None}, {"time-sync": "warning"}),
        (trees.enabled("systemd-timesyncd.service", target="sysinit"), {"time-sync": "warning"}),
        ({"/usr/bin/hv_kvp_daemon": None}, {"hyperv-daemons": "warning"}),
        ({"/etc/systemd/system/hv-kvp-daemon.service": "-> /dev/null"}, {"hyperv-daemons": "warning"}),
        ({"/usr/lib/x86_64-linux-gnu/libssl.so.3": None}, {"cert-openssl": "warning"}),
        ({"/usr/bin/python3": "-> python3.6"}, {"cert-python": "warning"}),
        (OMI, {"omi-version": "warning"}),
        (
            {**OMI, "/var/lib/dpkg/status": "Package: omi\nStatus: install ok installed\nVersion: 1.6.8.0\n"},
            {"omi-version": "fail"},
        ),
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
        trees.enabled("open-vm-tools.service", "[Unit]\nConditionVirtualization=vmware\n"),
        trees.enabled("qemu-guest-agent.service", "[Unit]\nBindsTo=dev-virtio\\x2dports-org.qemu.x.device\n"),
        {"/usr/bin/vmtoolsd": "ELF"},
        {
            **trees.enabled("systemd-timesyncd.service", target="sysinit"),
            f"{trees.WANTS}/chrony.service": None,
        },
        {**OMI, "/var/lib/dpkg/status": "Package: omi\nStatus: install ok installed\nVersion: 1.6.12-1\n"},
    ],
)
def test_what_does_no_harm_on_azure_passes(changes: Changes) -> None:
    assert bad(memory_facts(changed("debian", changes))) == {}


def test_ubuntu_sources_that_cloud_init_rewrites_pass() -> None:
    tree = changed("ubuntu", {UBUNTU_SOURCES: "Types: deb\nURIs: http://archive.ubuntu.com/ubuntu/\n"})
    assert bad(memory_facts(tree)) == {}


def test_only_installed_packages_are_packages() -> None:
    status = (
        "Package: a\nStatus: install ok installed\nVersion: 1:2-3\nDescription: x\n Version: 9\n\n"
        "Package: b\nStatus: deinstall ok config-files\nVersion: 1\n\nPackage: c\nVersion: 1\n"
    )
    assert find_packages(memory_files({"/var/lib/dpkg/status": status})) == {"a": "1:2-3"}
    assert find_packages(memory_files({"/x": ""})) == {}


def test_the_newest_python_counts_where_no_link_says_one() -> None:
    tree: trees.Tree = {f"/usr/bin/python3.{n}": "" for n in (4, 11, 9)}
    assert find_python(memory_files(tree)) == (3, 11)
    assert find_python(memory_files({"/usr/libexec/platform-python": "-> platform-python3.6"})) == (3, 6)
    assert find_python(memory_files({"/usr/bin/python3-config": ""})) is None


@pytest.mark.parametrize("before", ["[main]\nkeepcache=0\n", "[main]\nhttp_caching=all\nkeepcache=0\n"])
def test_an_old_yum_takes_only_packages_from_a_cache(before: str) -> None:
    release = trees.os_release("centos", "6.5")
    tree = {**trees.FAMILIES["rhel"], **release, "/etc/yum.conf": before}
    check = next(one for one in CHECKS if one.id == "yum-http-caching")
    facts = memory_facts(tree)
    assert judge(check, facts).status is Status.WARNING
    assert check.fix
    mended = apply(check.fix(facts), tree)
    assert mended["/etc/yum.conf"] == b"[main]\nhttp_caching=packages\nkeepcache=0\n"
    assert judge(check, memory_facts(mended)).status is Status.PASS
    for other in (("centos", "6.10"), ("amzn", "2"), ("fedora", "40")):
        newer = {**tree, **trees.os_release(*other)}
        assert judge(check, memory_facts(newer)).status is Status.NOT_APPLICABLE
