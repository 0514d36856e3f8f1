"""Checks of how a Windows suits Azure's machines: clock, power, crashes, pagefile, agents, roles."""

from __future__ import annotations

import re
from collections.abc import Iterator

from vmstamp.guest.checks.sources import CERTIFICATION, MIGRATE
from vmstamp.guest.checks.windows import sources
from vmstamp.guest.checks.windows.drivers import class_filters
from vmstamp.guest.checks.windows.settings import Setting, service, settings_check, show, windows_of
from vmstamp.guest.edits import DeleteValue, Edit, SetValue
from vmstamp.guest.facts import Facts, has_windows
from vmstamp.guest.finding import Check, Severity, Status, Verdict, not_applicable, passed, warned
from vmstamp.guest.windows.system import SOFTWARE_HIVE, SYSTEM_HIVE, Windows, file_version

SERVICES = r"CurrentControlSet\Services"
CONTROL = r"CurrentControlSet\Control"
ENVIRONMENT = rf"{CONTROL}\Session Manager\Environment"
MEMORY = rf"{CONTROL}\Session Manager\Memory Management"
CRASH = rf"{CONTROL}\CrashControl"
LOCAL_DUMPS = r"Microsoft\Windows\Windows Error Reporting\LocalDumps"
POWER_SCHEMES = rf"{CONTROL}\Power\User\PowerSchemes"
HIGH_PERFORMANCE = "8c5e7fda-e8bf-4a96-9a85-a6e23a8c635c"
SMB_DRIVERS = ("/Windows/System32/drivers/srv.sys", "/Windows/System32/drivers/srv2.sys")
# By the build of Windows: the first version of these drivers with the patch. Document: CERTIFICATION
SMB_PATCHED = {
    7601: (6, 1, 7601, 23689),
    9200: (6, 2, 9200, 22099),
    9600: (6, 3, 9600, 18604),
    14393: (10, 0, 14393, 953),
}
AGENT_SERVICES = ("RdAgent", "WindowsAzureGuestAgent")
AGENT_STATE = (("Microsoft\\Windows Azure", "VmId"), ("Microsoft\\GuestAgent", "VmId"))

# Services that other hypervisors' and clouds' tools install.
FOREIGN_SERVICES = {
    "VMTools": "VMware",
    "VGAuthService": "VMware",
    "vmvss": "VMware",
    "vsepflt": "VMware",
    "vnetWFP": "VMware",
    "vmci": "VMware",
    "vmhgfs": "VMware",
    "vm3dservice": "VMware",
    "VBoxService": "VirtualBox",
    "VBoxGuest": "VirtualBox",
    "VBoxSF": "VirtualBox",
    "QEMU-GA": "QEMU",
    "BalloonService": "virtio",
    "balloon": "virtio",
    "xenagent": "Xen",
    "xensvc": "Xen",
    "xenfilt": "Xen",
    "xenbus": "Xen",
    "AmazonSSMAgent": "AWS",
    "Ec2Config": "AWS",
    "AWSLiteAgent": "AWS",
    "GCEAgent": "Google Cloud",
    "google_osconfig_agent": "Google Cloud",
    "NutanixGuestAgent": "Nutanix",
}
_SYSTEM_MANAGED = re.compile(r"[?CD]:\\pagefile\.sys(\s+0\s+0)?\s*", re.IGNORECASE)
_ON_D = re.compile(r"D:\\pagefile\.sys(\s.*)?", re.IGNORECASE)


def _pagefile(facts: Facts) -> Verdict:
    windows = windows_of(facts)
    place = windows.place("SYSTEM", MEMORY, "PagingFiles")
    files = windows.texts("SYSTEM", MEMORY, "PagingFiles")
    if not files:
        return warned("there is no page file", place)
    wrong = next((one for one in files if not (_SYSTEM_MANAGED.fullmatch(one) or _ON_D.fullmatch(one))), None)
    if wrong:
        return warned(f"a page file of its own size or place: {show(wrong)}", place)
    return passed(", ".join(show(one) for one in files), place)


def _fix_pagefile(facts: Facts) -> Iterator[Edit]:
    """One that Windows manages, on the drive that it chooses: right with and without a temporary disk."""
    if _pagefile(facts).status is Status.PASS:
        return
    key = windows_of(facts).key_path("SYSTEM", MEMORY)
    yield SetValue(SYSTEM_HIVE, key, "PagingFiles", "REG_MULTI_SZ", ("?:\\pagefile.sys",))


def _agent(facts: Facts) -> Verdict:
    windows = windows_of(facts)
    missing = [name for name in AGENT_SERVICES if not windows.has_key("SYSTEM", f"{SERVICES}\\{name}")]
    if missing:
        return warned(f"the Azure VM Agent is not installed: no service {' nor '.join(missing)}")
    for name in AGENT_SERVICES:
        if windows.number("SYSTEM", f"{SERVICES}\\{name}", "Start") != 2:
            return warned(f"{name} does not start", windows.place("SYSTEM", f"{SERVICES}\\{name}", "Start"))
    if not windows.files.is_directory("/WindowsAzure"):
        return warned("its services are there, its directory is not", "/WindowsAzure")
    return passed("the Azure VM Agent is installed and starts", "/WindowsAzure")


def _fix_agent(facts: Facts) -> Iterator[Edit]:
    """Starts one that is installed."""
    windows = windows_of(facts)
    for name in AGENT_SERVICES:
        setting = service(name, 2)
        if setting.problem(windows):
            yield setting.edit(windows)


def _agent_state(facts: Facts) -> Verdict:
    windows = windows_of(facts)
    for key, name in AGENT_STATE:
        if windows.value("SOFTWARE", key, name) is not None:
            return warned("the id of an earlier VM is stored", windows.place("SOFTWARE", key, name))
    return passed("no id of an earlier VM")


def _fix_agent_state(facts: Facts) -> Iterator[Edit]:
    windows = windows_of(facts)
    for key, name in AGENT_STATE:
        if windows.value("SOFTWARE", key, name) is not None:
            yield DeleteValue(SOFTWARE_HIVE, key, name)


def _smb(facts: Facts) -> Verdict:
    windows = windows_of(facts)
    wanted = SMB_PATCHED[windows.build]
    for path in SMB_DRIVERS:
        version = file_version(windows.files, path)
        if version is not None:
            text = ".".join(map(str, version))
            if version >= wanted:
                return passed(f"{text} has the patch", path)
            return warned(f"{text}, the first with the patch is {'.'.join(map(str, wanted))}", path)
    return not_applicable("there is no srv.sys nor srv2.sys that tells its version")


def _foreign(windows: Windows) -> Iterator[str]:
    for name in FOREIGN_SERVICES:
        start = windows.number("SYSTEM", f"{SERVICES}\\{name}", "Start")
        if start is not None and start != 4:
            yield name


def _foreign_tools(facts: Facts) -> Verdict:
    windows = windows_of(facts)
    names = list(_foreign(windows))
    if not names:
        return passed("no service of another hypervisor or cloud starts")
    text = ", ".join(f"{name} ({FOREIGN_SERVICES[name]})" for name in names)
    return warned(f"services of another platform: {text}", windows.place("SYSTEM", f"{SERVICES}\\{names[0]}"))


def _fix_foreign_tools(facts: Facts) -> Iterator[Edit]:
    """Disables them; not those that filter a class of devices, whose devices would not start without them."""
    windows = windows_of(facts)
    filters = {one.lower() for *_, names in class_filters(windows) for one in names}
    for name in _foreign(windows):
        if name.lower() not in filters:
            yield service(name, 4).edit(windows)


def _script_policy(facts: Facts) -> Verdict:
    windows = windows_of(facts)
    key = r"Policies\Microsoft\Windows\PowerShell"
    policy = windows.text("SOFTWARE", key, "ExecutionPolicy")
    if windows.number("SOFTWARE", key, "EnableScripts") == 0:
        where = windows.place("SOFTWARE", key, "EnableScripts")
        return warned("Group Policy lets PowerShell run no scripts", where)
    if policy.casefold() in ("restricted", "allsigned"):
        where = windows.place("SOFTWARE", key, "ExecutionPolicy")
        return warned(f"Group Policy sets PowerShell's execution policy to {policy}", where)
    return passed("no policy keeps PowerShell from running scripts")


def _fix_script_policy(facts: Facts) -> Iterator[Edit]:
    windows = windows_of(facts)
    key = r"Policies\Microsoft\Windows\PowerShell"
    for name in ("EnableScripts", "ExecutionPolicy"):
        if windows.value("SOFTWARE", key, name) is not None:
            yield DeleteValue(SOFTWARE_HIVE, key, name)


CHECKS = (
    Check(
        "win-wannacry",
        "the SMB server is patched against WannaCry",
        Severity.CERTIFICATION,
        "MS17-010: whoever reaches port 445 runs programs; the marketplace refuses the image",
        CERTIFICATION,
        lambda facts: has_windows(facts) and windows_of(facts).build in SMB_PATCHED,
        _smb,
        "install the updates inside Windows, March 2017's or later",
    ),
    settings_check(
        "win-time",
        "the clock is kept in UTC",
        Severity.BEST,
        "Azure's hosts give UTC: Windows is hours off until it has synchronized",
        sources.PREPARE,
        (
            Setting("SYSTEM", rf"{CONTROL}\TimeZoneInformation", "RealTimeIsUniversal", (1,), absent=False),
            service("W32Time", 2),
        ),
        "the clock is in UTC, and the time service starts",
        "set RealTimeIsUniversal to 1; `Set-Service w32time -StartupType Automatic`",
    ),
    settings_check(
        "win-temp-vars",
        "TEMP and TMP are as by default",
        Severity.BEST,
        "extensions and setup write to a directory that may not be there",
        sources.PREPARE,
        tuple(
            Setting("SYSTEM", ENVIRONMENT, name, ("%SystemRoot%\\TEMP",), "REG_EXPAND_SZ", absent=False)
            for name in ("TEMP", "TMP")
        ),
        "both are %SystemRoot%\\TEMP",
        "set both to %SystemRoot%\\TEMP",
    ),
    Check(
        "win-pagefile",
        "the page file is where Windows or Azure puts it",
        Severity.BEST,
        "a page file of a fixed size on the OS disk costs its I/O, and one on a missing drive is none",
        sources.PREPARE,
        has_windows,
        _pagefile,
        r"set PagingFiles to D:\pagefile.sys (sizes with a temporary disk), or let Windows manage it",
        fix=_fix_pagefile,
    ),
    settings_check(
        "win-crash",
        "a crash leaves a dump",
        Severity.BEST,
        "nobody can tell why the VM stopped",
        sources.PREPARE,
        (
            Setting("SYSTEM", CRASH, "CrashDumpEnabled", (2, 7, 1), absent=False),
            Setting("SYSTEM", CRASH, "NMICrashDump", (1,)),
            Setting("SOFTWARE", LOCAL_DUMPS, "DumpType", (2,), absent=False),
        ),
        "kernel and programs leave dumps",
        "set the values of the document in CrashControl and LocalDumps",
    ),
    settings_check(
        "win-power",
        "the machine is never put to sleep",
        Severity.BEST,
        "a VM that sleeps is not reached, and runs slower when it saves power",
        sources.PREPARE,
        (
            Setting("SYSTEM", rf"{CONTROL}\Power", "HibernateEnabled", (0,)),
            Setting(
                "SYSTEM", POWER_SCHEMES, "ActivePowerScheme", (HIGH_PERFORMANCE,), "REG_SZ", absent=False
            ),
        ),
        "high performance, and no hibernation",
        "run `powercfg /setactive SCHEME_MIN` and `powercfg /hibernate off`",
    ),
    Check(
        "win-agent",
        "the Azure VM Agent is installed",
        Severity.BEST,
        "extensions, run-command and password resets do not work",
        sources.PREPARE,
        has_windows,
        _agent,
        "install the Azure VM Agent (its MSI) and let its services start",
        fix=_fix_agent,
    ),
    Check(
        "win-agent-state",
        "the agent knows of no earlier VM",
        Severity.BEST,
        "the agent may take the new VM for the old one",
        sources.PREPARE,
        has_windows,
        _agent_state,
        "delete the value VmId",
        identity=True,
        trace=True,
        fix=_fix_agent_state,
    ),
    Check(
        "win-foreign-tools",
        "no tools of another platform start",
        Severity.BEST,
        "their drivers and services fail or wait for a device that is not there",
        MIGRATE,
        has_windows,
        _foreign_tools,
        "uninstall them inside Windows",
        fix=_fix_foreign_tools,
    ),
    Check(
        "win-ps-policy",
        "PowerShell runs scripts",
        Severity.BEST,
        "extensions and run-command run PowerShell scripts, and a policy of Group Policy goes before theirs",
        sources.PREPARE,
        has_windows,
        _script_policy,
        "take ExecutionPolicy and EnableScripts out of the policy",
        fix=_fix_script_policy,
    ),
)
