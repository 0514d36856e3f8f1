"""Checks of installed software: package sources, time, the host's services, other clouds' tools."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from vmstamp.guest.checks import sources
from vmstamp.guest.edits import Edit, Symlink, Write
from vmstamp.guest.facts import Facts, has_guest
from vmstamp.guest.files.globs import expand
from vmstamp.guest.finding import Check, Severity, Verdict, failed, passed, warned
from vmstamp.guest.lines import as_bytes, comment_out, find_exact
from vmstamp.guest.packages import find_program, find_python
from vmstamp.guest.services import is_masked, read_unit, starts_at_boot
from vmstamp.guest.system import family, is_older

TEXT_LIMIT = 256 * 1024
SYSTEM_UNITS = "/etc/systemd/system"

APT_LISTS = ("/etc/apt/sources.list", "/etc/apt/sources.list.d/*.list")
APT_STANZAS = ("/etc/apt/sources.list.d/*.sources",)
LOCAL_SOURCES = ("cdrom:", "file:", "copy:")
AZURE_UBUNTU = "azure.archive.ubuntu.com"
UBUNTU_ARCHIVE = re.compile(r"//([a-z]{2}\.)?archive\.ubuntu\.com/")

CHRONY_CONFIGURATIONS = (
    "/etc/chrony/chrony.conf", "/etc/chrony.conf", "/etc/chrony/conf.d/*.conf", "/etc/chrony.d/*.conf",
)  # fmt: skip
# Daemons that set the clock, by the names of their services, and what to call them.
TIME_DAEMONS = (
    (("chrony", "chronyd"), "chrony"), (("systemd-timesyncd",), "systemd-timesyncd"),
    (("ntp", "ntpd", "ntpsec", "openntpd"), "ntpd"),
)  # fmt: skip
REFCLOCK = "refclock PHC /dev/ptp_hyperv poll 3 dpoll -2 offset 0 stratum 2"
MAKESTEP = "makestep 1.0 -1"
PTP_RULES = ("/usr/lib/udev/rules.d/*.rules", "/etc/udev/rules.d/*ptp*.rules")

KVP_DAEMONS = ("hv_kvp_daemon", "hypervkvpd")
KVP_PLACES = (
    "/usr/lib/linux-tools/*/hv_kvp_daemon", "/usr/lib/linux-tools-*/hv_kvp_daemon",
    "/usr/lib/hyper-v/bin/hv_kvp_daemon", "/usr/libexec/hypervkvpd/hypervkvpd", "/usr/libexec/hv_kvp_daemon",
)  # fmt: skip
KVP_UNITS = ("hv-kvp-daemon.service", "hypervkvpd.service", "hv_kvp_daemon.service")

LIBRARIES = ("/usr/lib64", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib", "/lib64")
OPENSSL_LIBRARIES = ("libssl.so.3", "libssl.so.1.1", "libssl.so.1.0.2", "libssl.so.1.0.2k", "libssl.so.10")
OLDEST_PYTHON = (3, 9)

OMI_SERVER = "/opt/omi/bin/omiserver"
OMI_SAFE = "1.6.8.1"  # CVE-2021-38647


@dataclass(frozen=True)
class Foreign:
    """Tools of another platform: any of the `programs` says that they are there; `units` start them."""

    name: str
    programs: tuple[str, ...]
    units: tuple[str, ...]


FOREIGN = (
    Foreign("VMware Tools", ("vmtoolsd",), ("open-vm-tools.service", "vmtoolsd.service",
            "vmware-tools.service")),
    Foreign("VirtualBox Guest Additions", ("VBoxService",), ("vboxadd.service", "vboxadd-service.service",
            "virtualbox-guest-utils.service", "vboxservice.service")),
    Foreign("QEMU guest agent", ("qemu-ga",), ("qemu-guest-agent.service",)),
    Foreign("XenServer tools", ("xe-daemon",), ("xe-linux-distribution.service", "xe-daemon.service")),
    Foreign("Google guest agent", ("google_guest_agent",), ("google-guest-agent.service",
            "google-startup-scripts.service", "google-shutdown-scripts.service")),
    Foreign("Amazon SSM agent", ("amazon-ssm-agent",), ("amazon-ssm-agent.service",)),
    Foreign("EC2 instance connect", ("eic_harvest_hostkeys",), ("ec2-instance-connect.service",)),
    Foreign("Parallels Tools", ("prltoolsd",), ("prltoolsd.service",)),
)  # fmt: skip
# What a unit says that keeps it from starting on Azure: another hypervisor, or a device of one.
_NOT_AZURE = re.compile(
    r"vmware|oracle|kvm|qemu|xen|amazon|google|parallels|!microsoft|virtio|org\.qemu", re.I
)

YUM = "/etc/yum.conf"


def _text(facts: Facts, path: str) -> str:
    return find_exact(facts.guest, path, TEXT_LIMIT)


def _paths(facts: Facts, patterns: tuple[str, ...]) -> Iterator[str]:
    for pattern in patterns:
        yield from expand(facts.guest, pattern)


def _has_apt(facts: Facts) -> bool:
    return facts.os is not None and family(facts.os) == "debian" and facts.guest.exists("/etc/apt")


def _apt_sources(facts: Facts) -> Iterator[tuple[str, int, str]]:
    """(path, line, URI) of the enabled sources, of both formats. Spec: sources.list(5)."""
    for path in _paths(facts, APT_LISTS):
        for number, line in enumerate(_text(facts, path).splitlines(), 1):
            words = (
                re.sub(r"\[[^\]]*\]", "", line, count=1).split()
                if not line.startswith("deb cdrom")
                else line.split()
            )
            if words[:1] == ["deb"] and len(words) > 1:
                yield path, number, words[1]
    for path in _paths(facts, APT_STANZAS):
        text = _text(facts, path)
        off = re.search(r"^Enabled:\s*no", text, re.MULTILINE | re.IGNORECASE)
        for number, line in enumerate(text.splitlines(), 1):
            if line.startswith("URIs:") and not off:
                yield from ((path, number, uri) for uri in line.split()[1:])


def _apt(facts: Facts) -> Verdict:
    found = list(_apt_sources(facts))
    for path, number, uri in found:
        if uri.startswith(LOCAL_SOURCES):
            return warned(f"{uri.partition(':')[0]}: a source that a VM does not have", f"{path}:{number}")
    if not found:
        return warned("no package source is enabled", "/etc/apt")
    assert facts.os is not None
    rewrites = facts.provisioner == "cloud-init" and not (
        facts.cloud_config.get("apt", "preserve_sources_list")
        or facts.cloud_config.get("apt_preserve_sources_list")
    )
    if facts.os.id == "ubuntu" and not rewrites:
        for path, number, uri in found:
            if UBUNTU_ARCHIVE.search(uri):
                return warned(f"packages do not come from {AZURE_UBUNTU}", f"{path}:{number}")
    return passed(f"{len(found)} package sources", found[0][0])


def _fix_apt(facts: Facts) -> Iterator[Edit]:
    """Sources of the installer become comments, Ubuntu's archive becomes the one in Azure."""
    for path in _paths(facts, APT_LISTS + APT_STANZAS):
        old = _text(facts, path)
        local = {n for p, n, uri in _apt_sources(facts) if p == path and uri.startswith(LOCAL_SOURCES)}
        text = comment_out(old, local) if path.endswith(".list") else old
        if facts.os is not None and facts.os.id == "ubuntu":
            text = UBUNTU_ARCHIVE.sub(f"//{AZURE_UBUNTU}/", text)
        if text != old:
            yield Write(path, as_bytes(text))


def _has_old_yum(facts: Facts) -> bool:
    """A Red Hat before 6.6 with yum."""
    if facts.os is None or facts.os.id not in ("rhel", "centos", "ol", "scientific"):
        return False
    return is_older(facts.os.version_id or "99", "6.6") and facts.guest.is_file(YUM)


def _yum(facts: Facts) -> Verdict:
    for number, line in enumerate(_text(facts, YUM).splitlines(), 1):
        key, _, value = line.partition("=")
        if key.strip() == "http_caching":
            verdict = passed if value.strip() == "packages" else warned
            return verdict(line.strip(), f"{YUM}:{number}")
    return warned("no http_caching=packages", YUM)


def _fix_yum(facts: Facts) -> Iterator[Edit]:
    kept = [
        line for line in _text(facts, YUM).splitlines() if line.partition("=")[0].strip() != "http_caching"
    ]
    main = next((index for index, line in enumerate(kept) if line.strip() == "[main]"), None)
    if main is not None:
        kept.insert(main + 1, "http_caching=packages")
        yield Write(YUM, as_bytes("\n".join([*kept, ""])))


def _time_daemons(facts: Facts) -> list[str]:
    return [name for services, name in TIME_DAEMONS if starts_at_boot(facts.guest, *services)]


def _chrony_lines(facts: Facts) -> list[tuple[str, str]]:
    """(path, line) of chrony's directives."""
    return [
        (path, line.strip())
        for path in _paths(facts, CHRONY_CONFIGURATIONS)
        for line in _text(facts, path).splitlines()
        if line.strip() and line.strip()[0] not in "#!%;"
    ]


def _time(facts: Facts) -> Verdict:
    daemons = _time_daemons(facts)
    if not daemons:
        return warned("no daemon that sets the clock starts at boot")
    if len(daemons) > 1:
        return warned(f"{' and '.join(daemons)} both set the clock")
    if daemons[0] != "chrony":
        return passed(f"{daemons[0]} sets the clock from the network; chrony would set it from the host")
    clock = next((path for path, line in _chrony_lines(facts) if re.match(r"refclock\s+PHC\s", line)), None)
    if clock is None:
        return warned("chrony has no refclock PHC /dev/ptp_hyperv: it asks the network, not the host")
    if not any(line.startswith("makestep") for _, line in _chrony_lines(facts)):
        return warned("chrony has no makestep: after a pause of the VM the clock stays wrong", clock)
    return passed("chrony sets the clock from the host", clock)


def _fix_time(facts: Facts) -> Iterator[Edit]:
    """chrony's lines, where udev names the host's clock; without the device chrony would not start."""
    if _time_daemons(facts) != ["chrony"]:
        return
    named = any("ptp_hyperv" in _text(facts, path) for path in _paths(facts, PTP_RULES))
    lines = [line for _, line in _chrony_lines(facts)]
    wanted = [
        *([REFCLOCK] if named and not any(re.match(r"refclock\s+PHC\s", line) for line in lines) else []),
        *([MAKESTEP] if not any(line.startswith("makestep") for line in lines) else []),
    ]
    path = next((path for path in _paths(facts, CHRONY_CONFIGURATIONS[:2])), None)
    if path and wanted:
        yield Write(path, as_bytes("\n".join([_text(facts, path).rstrip("\n"), *wanted, ""])))


def _daemons(facts: Facts) -> Verdict:
    found = find_program(facts.guest, *KVP_DAEMONS) or next(_paths(facts, KVP_PLACES), None)
    if found is None:
        return warned("hv_kvp_daemon is not installed: the host and the VM exchange no key-value pairs")
    masked = next((unit for unit in KVP_UNITS if is_masked(facts.guest, unit)), None)
    if masked:
        return warned(f"{masked} is masked", found)
    return passed("Hyper-V's daemons are installed", found)


def _starts_on_azure(facts: Facts, unit: str) -> bool:
    """The unit starts at boot, and no condition of it asks for another platform."""
    if not starts_at_boot(facts.guest, unit.removesuffix(".service")):
        return False
    conditions = (
        "ConditionVirtualization",
        "BindsTo",
        "ConditionPathExists",
        "AssertPathExists",
        "Requisite",
    )
    settings = read_unit(facts.guest, unit)
    return not any(name in conditions and _NOT_AZURE.search(value) for _, name, value in settings)


def _foreign(facts: Facts) -> Iterator[tuple[Foreign, str]]:
    """The tools that would run on Azure too, with the unit that starts them."""
    for tools in FOREIGN:
        yield from ((tools, unit) for unit in tools.units if _starts_on_azure(facts, unit))


def _foreign_tools(facts: Facts) -> Verdict:
    started = list(_foreign(facts))
    if started:
        names = dict.fromkeys(tools.name for tools, _ in started)
        return warned(f"{', '.join(names)}: starts at boot", started[0][1])
    idle = [tools.name for tools in FOREIGN if find_program(facts.guest, *tools.programs)]
    return passed(f"installed but idle: {', '.join(idle)}" if idle else "no other platform's tools")


def _fix_foreign(facts: Facts) -> Iterator[Edit]:
    yield from (Symlink(f"{SYSTEM_UNITS}/{unit}", "/dev/null") for _, unit in _foreign(facts))


def _openssl(facts: Facts) -> Verdict:
    for name in OPENSSL_LIBRARIES:
        for directory in LIBRARIES:
            if facts.guest.find(f"{directory}/{name}", follow=False):
                return passed(f"OpenSSL {name.removeprefix('libssl.so.')}", f"{directory}/{name}")
    return warned("no OpenSSL 3, 1.1.1 or 1.0.2 is found")


def _python(facts: Facts) -> Verdict:
    version = find_python(facts.guest)
    assert version is not None
    text = f"{version[0]}.{version[1]}"
    return (
        passed(f"Python {text}")
        if version >= OLDEST_PYTHON
        else warned(f"Python {text} is no longer supported")
    )


def _omi(facts: Facts) -> Verdict:
    version = facts.packages.get("omi", "")
    if not version:
        return warned(f"OMI is installed, its version is unknown: is it {OMI_SAFE} or later?", OMI_SERVER)
    if is_older(version.replace("-", "."), OMI_SAFE):
        return failed(f"OMI {version}: whoever reaches its port is root", OMI_SERVER)
    return passed(f"OMI {version}", OMI_SERVER)


CHECKS = (
    Check(
        "apt-mirror",
        "packages come from a source that a VM reaches",
        Severity.BEST,
        "apt fails, or is slow and its traffic is paid for",
        sources.UBUNTU,
        _has_apt,
        _apt,
        f"remove cdrom: and file: sources; on Ubuntu use {AZURE_UBUNTU}",
        fix=_fix_apt,
    ),
    Check(
        "yum-http-caching",
        "an old yum takes no stale lists from a cache",
        Severity.BEST,
        "yum of Red Hat before 6.6 gets old lists of packages from a cache on the way, and its updates fail",
        sources.LISA,
        _has_old_yum,
        _yum,
        f"http_caching=packages in the section [main] of {YUM}",
        fix=_fix_yum,
    ),
    Check(
        "hyperv-daemons",
        "Hyper-V's daemons are installed",
        Severity.BEST,
        "the host learns neither the VM's addresses nor why provisioning failed",
        sources.GENERIC,
        has_guest,
        _daemons,
        "install hyperv-daemons (Debian, Red Hat), linux-cloud-tools (Ubuntu) or hyper-v (SUSE)",
    ),
    Check(
        "time-sync",
        "one daemon sets the clock, best from the host",
        Severity.BEST,
        "the clock drifts, or two daemons pull it apart; certificates and logs go wrong",
        "azure-compute-docs linux/time-sync.md",
        has_guest,
        _time,
        f"install chrony with `{REFCLOCK}` and `{MAKESTEP}`",
        fix=_fix_time,
    ),
    Check(
        "foreign-guest-tools",
        "no tools of another platform run",
        Severity.BEST,
        "they wait for a host that is not there, and may change network and time",
        sources.MIGRATE,
        has_guest,
        _foreign_tools,
        "remove them; --fix masks their units",
        fix=_fix_foreign,
    ),
    Check(
        "cert-openssl",
        "OpenSSL is of a version that is supported",
        Severity.CERTIFICATION,
        "the marketplace refuses the image",
        sources.CERTIFICATION,
        lambda facts: facts.files is not None and find_program(facts.files, "openssl") is not None,
        _openssl,
        "upgrade to a release with OpenSSL 3 or 1.1.1",
    ),
    Check(
        "cert-python",
        "Python is of a version that is supported",
        Severity.CERTIFICATION,
        "the marketplace warns; new versions of the agents do not run",
        sources.LISA,
        lambda facts: facts.files is not None and find_python(facts.files) is not None,
        _python,
        "upgrade to a release with Python 3.9 or later",
    ),
    Check(
        "omi-version",
        "OMI is not open to everybody",
        Severity.SECURITY,
        "CVE-2021-38647: a request without a password runs as root",
        sources.LISA,
        lambda facts: facts.files is not None and facts.files.exists(OMI_SERVER),
        _omi,
        f"upgrade OMI to {OMI_SAFE} or later, or remove it",
    ),
)
