"""Steps about what a machine leaves behind as it runs: logs, caches, temporary files, crashes.

Logs that a program may hold open or expects are emptied and stay, with their owner; old ones, and what a
service makes anew, are removed.

Sources: guestfs-tools `sysprep_operation_logfiles.ml` and its neighbours.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from vmstamp.guest.edits import Remove, Truncate
from vmstamp.guest.identity.step import (
    Default,
    Found,
    Guest,
    Severity,
    Step,
    contents,
    emptying,
    in_homes,
    joined,
    places,
    removing,
)

LOG_DIRECTORY = "/var/log"
ROTATED = re.compile(r"(?:\.gz|\.xz|\.bz2|\.zst|\.old|\.\d+|-\d{8}(?:-\d+)?)$")
DATABASES = ("lastlog2.db", "wtmp.db", "README")
# Other steps' logs; a README is no log.
NOT_LOGS = ("azure", "dump", "journal", "installer", "anaconda", "tallylog", "README")
AGENT_LOGS = re.compile(r"^(?:cloud-init|waagent).*\.log")


def _logs(guest: Guest) -> Iterator[Found]:
    for name in guest.files.list(LOG_DIRECTORY):
        path = f"{LOG_DIRECTORY}/{name}"
        if name in NOT_LOGS or AGENT_LOGS.match(name):
            continue
        if guest.files.is_directory(path):
            files = [(one, size) for one, size in guest.walk(path) if size]
        else:
            node = guest.files.find(path, follow=False)
            files = (
                [(path, node.size)] if node is not None and guest.files.is_file(path) and node.size else []
            )
        if files:
            edits = [Remove(one) if _goes(one) else Truncate(one) for one, _ in files]
            detail = f"{len(files)} logs" if len(files) > 1 else "a log"
            yield Found(path, f"{detail} of the old machine", lambda _, edits=edits: edits)  # type: ignore[misc]


def _goes(path: str) -> bool:
    return ROTATED.search(path) is not None or path.endswith(DATABASES)


def _backups(guest: Guest) -> Iterator[Found]:
    for top in BACKUP_PLACES:
        for path, _ in guest.walk(top, leave=PACKAGED):
            name = path.rsplit("/", 1)[-1]
            if (name.endswith(BACKUP_ENDS) or name.startswith(".#")) and path not in NO_BACKUPS:
                yield Found(path, "a backup of a file", removing(path))


def _temporary(guest: Guest) -> Iterator[Found]:
    """Directories with files in them: systemd makes some that are empty at each boot."""
    for path in ("/tmp", "/var/tmp"):
        if next(guest.walk(path), None) is not None:
            yield Found(path, "temporary files", emptying(path))


BACKUP_PLACES = ("/etc", "/root", "/srv", "/tmp", "/var")
# What package managers and container engines keep there is theirs, and may be many files.
PACKAGED = (
    "/var/cache", "/var/lib/dpkg", "/var/lib/rpm", "/var/lib/pacman", "/var/lib/snapd", "/var/lib/docker",
    "/var/lib/containers", "/var/lib/containerd",
)  # fmt: skip
BACKUP_ENDS = (".bak", "~", ".dpkg-old", ".rpmsave")
NO_BACKUPS = (
    *(f"/var/backups/{one}.bak" for one in ("passwd", "shadow", "group", "gshadow")),  # passwd-backups
    "/etc/.resolv.conf.systemd-resolved.bak",  # Debian's package puts it back when it is removed
)


def _pending(guest: Guest) -> Iterator[Found]:
    for path in ("/forcefsck", "/fastboot", "/system-update", "/etc/system-update"):
        if guest.files.find(path, follow=False) is not None:
            yield Found(path, "something that is to be done at the next boot, in every VM", removing(path))


STEPS = (
    Step(
        "logs-spool",
        "empty logs and the records of logins, remove old logs and the journal",
        "they name the old machine, its users and addresses; the journal lies under the old machine id",
        "guestfs-tools sysprep_operation_logfiles.ml, sysprep_operation_utmp.ml",
        Severity.TRACE,
        joined(
            contents(("/var/log/journal", "logs of the old machine")),
            places(
                ("/var/lib/lastlog/lastlog2.db", "who logged in"),
                ("/var/lib/wtmpdb/wtmp.db", "who logged in"),
            ),
            _logs,
        ),
    ),
    Step(
        "crash-data",
        "remove crash dumps and process accounting",
        "dumps hold the memory of programs, with secrets",
        "guestfs-tools sysprep_operation_abrt_data.ml, crash_data.ml, pacct_log.ml",
        Severity.TRACE,
        contents(
            ("/var/spool/abrt", "crashes"),
            ("/var/crash", "crashes"),
            ("/var/log/dump", "crashes"),
            ("/var/lib/systemd/coredump", "crashes"),
            ("/var/lib/systemd/pstore", "crashes"),
            ("/var/lib/apport/coredump", "crashes"),
            ("/var/account", "process accounting"),
        ),
    ),
    Step(
        "pkg-cache",
        "remove downloaded packages and lists of packages",
        "they make the image larger; what is in them is old",
        "guestfs-tools sysprep_operation_package_manager_cache.ml",
        Severity.TRACE,
        joined(
            places(
                ("/var/cache/apt/archives/*.deb", "a package"),
                ("/var/cache/apt/*.bin", "apt's cache"),
                ("/var/lib/apt/lists/*_*", "a list of packages"),
            ),
            contents(
                ("/var/cache/yum", "packages and lists"),
                ("/var/cache/dnf", "packages and lists"),
                ("/var/cache/libdnf5", "packages and lists"),
                ("/var/cache/zypp", "packages and lists"),
                ("/var/cache/zypper", "packages and lists"),
                ("/var/cache/PackageKit", "packages and lists"),
                ("/var/cache/tdnf", "packages and lists"),
                ("/var/cache/pacman/pkg", "packages"),
            ),
        ),
    ),
    Step(
        "rpm-db",
        "remove temporary files of the RPM database",
        "they describe the old machine's memory; rpm makes them anew",
        "guestfs-tools sysprep_operation_rpm_db.ml",
        Severity.TRACE,
        places(("/var/lib/rpm/__db.*", "a Berkeley DB environment")),
    ),
    Step(
        "tmp-files",
        "empty the temporary directories",
        "files of the old machine, perhaps with secrets",
        "guestfs-tools sysprep_operation_tmp_files.ml",
        Severity.TRACE,
        joined(
            _temporary,
            in_homes((".cache", "caches of {user}"), (".ansible/tmp", "temporary files of {user}")),
        ),
    ),
    Step(
        "service-data",
        "remove what services make anew when they start",
        "keys and time stamps of the old machine",
        "guestfs-tools sysprep_operation_dovecot_data.ml, cron_spool.ml",
        Severity.TRACE,
        places(
            ("/var/lib/dovecot/ssl-parameters.dat", "Dovecot's parameters"),
            ("/var/lib/nfs/statd/sm/*", "NFS servers that the machine used"),
            ("/var/lib/nfs/statd/sm.bak/*", "NFS servers that the machine used"),
            ("/var/spool/anacron/cron.*", "when jobs ran"),
            ("/var/lib/systemd/timers/stamp-*", "when jobs ran"),
        ),
    ),
    Step(
        "pending-fs-ops",
        "cancel what is to be done at the next boot",
        "every VM does it first, and that takes time from its provisioning",
        "systemd.offline-updates(7), systemd-fsck@.service(8)",
        Severity.TRACE,
        _pending,
    ),
    Step(
        "backup-files",
        "remove backups of files in /etc, /root, /srv and /var",
        "they hold old settings and passwords; some may be wanted",
        "guestfs-tools sysprep_operation_backup_files.ml",
        Severity.TRACE,
        _backups,
        Default.OFF,
    ),
)
