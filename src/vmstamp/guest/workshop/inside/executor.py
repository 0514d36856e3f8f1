"""The first process: reads the plan, waits for the disk, mounts, edits, unmounts, answers, powers off.

The plan is at the start of the second block device: its length in 16 decimal digits, then JSON; the answer
goes to `answer_at` in the same form. Between them the host says `go` on
standard input, when the disk is whole.
"""

from __future__ import annotations

import binascii
import json
import os
import sys
import time
import traceback
from contextlib import ExitStack
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[4]))

from vmstamp.guest.workshop.inside import chroot, devices, files, hive, kernel, labels

MESSAGES = "/dev/ubdb"
WORK = "/dev/vmstamp"  # devtmpfs is the only place where directories can be made
ROOT = WORK + "/root"
VOLUME = WORK + "/volume"  # and the number of a partition that the guest mounts nowhere
# What the kernel says when it mounts a file system that was not unmounted: ext4, XFS, btrfs.
REPLAYED = ("recovery complete", "Starting recovery", "start tree-log replay")
# What it says when it meets damage, or cannot write.
DAMAGED = ("EXT4-fs error", "Corruption", "I/O error", "BTRFS critical", "): error,")
UNSAFE = "Windows is hibernated, or was not shut down"
UNSAFE_HINT = "start Windows and shut it down with: shutdown /s /f /t 0"
MAX_TEXT = 64 * 1024  # characters of a program's output


class Refused(Exception):
    """The plan cannot be carried out; its text is for people. `edit` is the edit's number, or None."""

    def __init__(self, text: str, edit: int | None = None, hint: str = "") -> None:
        super().__init__(text)
        self.edit, self.hint = edit, hint


def main() -> None:
    os.umask(0o022)
    plan: dict[str, Any] = {}
    try:
        devices.mount_system()
        fd = os.open(MESSAGES, os.O_RDWR)
        plan = json.loads(os.pread(fd, int(os.pread(fd, 16, 0)), 16))
        started = time.monotonic()
        if sys.stdin.readline().strip() != "go":
            raise Refused("the host went away")
        answer = carry_out(plan) | {"waited": time.monotonic() - started}
    except Refused as refused:
        answer = {"error": str(refused), "edit": refused.edit, "hint": refused.hint}
    except Exception as error:
        traceback.print_exc()
        answer = {"error": in_words(error), "edit": None, "hint": ""}
    data = json.dumps(answer).encode()
    os.pwrite(fd, f"{len(data):016d}".encode() + data, plan["answer_at"])
    os.fsync(fd)
    kernel.power_off()


def carry_out(plan: dict[str, Any]) -> dict[str, Any]:
    disks = devices.Devices()
    os.makedirs(ROOT)
    ignore_case = mount_root(plan["roots"], plan["marks"], disks) == "ntfs"
    mounted, notes = mount_others(plan["mounts"], disks)
    volumes = mount_volumes(plan["volumes"], disks)
    if not plan["replay"]:
        refuse_replayed()
    with files.Tree(ROOT, ignore_case=ignore_case) as tree, ExitStack() as stack:
        policy = labels.load(lambda path: read_text(tree, path))
        if policy is not None:
            tree.label = policy.find
        trees = {0: tree} | {
            number: stack.enter_context(files.Tree(target, ignore_case=True))
            for number, target in volumes.items()
        }
        results = do_all(trees, disks, plan["edits"])
    os.sync()
    targets = [ROOT, *mounted, *volumes.values()]
    trimmed = sum(map(trim, targets)) if plan["trim"] else 0
    for target in reversed(targets):
        devices.unmount(target)
    os.sync()
    refuse_damaged()
    return {"results": results, "trimmed": trimmed, "notes": notes}


def mount_root(roots: list[dict[str, Any]], marks: list[str], disks: devices.Devices) -> str:
    """Mount the first of `roots` that has one of the paths `marks`; the kind of its file system."""
    problem = ""
    for one in roots:
        try:
            devices.mount(disks.find(one), ROOT, one["kind"], one["options"])
        except OSError as error:
            problem = problem or f"{one['where']} cannot be mounted: {in_words(error)}{last_words()}"
            continue
        with files.opened(os.open(ROOT, os.O_PATH)) as fd:
            with files.Tree(ROOT, ignore_case=one["kind"] == "ntfs") as tree:
                found = any(exists(tree, mark) for mark in marks)
            read_only = os.fstatvfs(fd).f_flag & os.ST_RDONLY
        if found and read_only:
            raise Refused(f"{one['where']} can only be mounted for reading: {UNSAFE}", hint=UNSAFE_HINT)
        if found:
            return str(one["kind"])
        devices.unmount(ROOT)
    hint = "check its file system: fsck, xfs_repair, btrfs check or chkdsk"
    raise Refused(problem or "no operating system was found on the disk", hint=hint if problem else "")


def last_words() -> str:
    """The kernel's last line, which says more than an error's number."""
    lines = [line for line in devices.kernel_log().splitlines() if ";" in line]
    return f" ({lines[-1].partition(';')[2]})" if lines else ""


def exists(tree: files.Tree, path: str) -> bool:
    above, name = files.split(path)
    try:
        os.close(tree.open(f"{above}/{name}", os.O_PATH | os.O_NOFOLLOW))
    except OSError:
        return False
    return True


def mount_others(mounts: list[dict[str, Any]], disks: devices.Devices) -> tuple[list[str], list[str]]:
    """Where something was mounted; and what was not, with the reason."""
    mounted, notes = [], []
    for one in mounts:
        try:
            with files.Tree(ROOT) as tree, files.opened(tree.open_directory(one["target"])) as directory:
                target = os.readlink(f"/proc/self/fd/{directory}")
            devices.mount(disks.find(one), target, one["kind"], one["options"])
        except OSError as error:
            text = f"{one['where']} cannot be mounted on {one['target']}: {in_words(error)}"
            if not one["optional"]:
                raise Refused(text, hint="check its file system, and the guest's /etc/fstab") from error
            notes.append(text)
            continue
        mounted.append(target)
    return mounted, notes


def mount_volumes(volumes: list[dict[str, Any]], disks: devices.Devices) -> dict[int, str]:
    """Where each of the partitions that the guest mounts nowhere was mounted, by its number."""
    mounted = {}
    for one in volumes:
        target = f"{VOLUME}{one['number']}"
        os.makedirs(target)
        try:
            devices.mount(disks.find(one), target, one["kind"], one["options"])
        except OSError as error:
            text = f"{one['where']} cannot be mounted: {in_words(error)}{last_words()}"
            raise Refused(text, hint="check its file system") from error
        mounted[int(one["number"])] = target
    return mounted


def refuse_replayed() -> None:
    lines = devices.kernel_log().splitlines()
    if any(word in line for line in lines for word in REPLAYED):
        raise Refused(
            "a file system of the guest was not unmounted: its journal holds what it does not yet",
            hint="start the guest and shut it down, or allow its journal to be replayed",
        )


def refuse_damaged() -> None:
    found = [line for line in devices.kernel_log().splitlines() if any(word in line for word in DAMAGED)]
    if found:
        text = found[0].rpartition(";")[2]
        raise Refused(f"a file system of the guest is damaged: {text}", hint="check it: fsck, xfs_repair")


def do_all(
    trees: dict[int, files.Tree], disks: devices.Devices, edits: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """{"changed", "output"} of each edit; Refused, with its number, when one failed."""
    results = []
    hives = hive.Hives(trees)
    try:
        for edit in edits:
            tree = trees[edit.get("partition", 0)]
            results.append(do(tree, hives, disks, edit))
        hives.flush()
    except (OSError, hive.HiveError, chroot.RunError) as error:
        raise Refused(in_words(error), min(len(results), len(edits) - 1)) from error
    return results


def do(tree: files.Tree, hives: hive.Hives, disks: devices.Devices, edit: dict[str, Any]) -> dict[str, Any]:
    if edit["do"] in hive.EDITS:
        return {"changed": hives.do(edit), "output": ""}
    hives.flush()
    match edit["do"]:
        case "remove":
            changed = files.remove(tree, edit["path"])
        case "empty":
            changed = files.empty(tree, edit["path"])
        case "truncate":
            changed = files.truncate(tree, edit["path"])
        case "write":
            changed = files.write(tree, edit["path"], binascii.a2b_base64(edit["data"]), edit["mode"])
        case "symlink":
            changed = files.symlink(tree, edit["path"], edit["target"])
        case "run":
            output = chroot.run(ROOT, edit["argv"], edit["timeout"], disks.nodes, disks.uuids)
            return {"changed": True, "output": output[-MAX_TEXT:]}
        case other:
            raise Refused(f"no such edit: {other}")
    return {"changed": changed, "output": ""}


def read_text(tree: files.Tree, path: str) -> str | None:
    try:
        fd = tree.open(path, os.O_RDONLY)
    except OSError:
        return None
    with files.opened(fd):
        return files.read_all(fd, labels.MAX_FILE).decode(errors="replace")


def trim(target: str) -> int:
    """The bytes discarded; 0 where the file system cannot."""
    with files.opened(os.open(target, os.O_RDONLY | os.O_DIRECTORY)) as directory:
        try:
            return kernel.trim(directory)
        except OSError:
            return 0


def in_words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        name = error.filename
        name = os.fsdecode(name) if isinstance(name, bytes) else name
        return f"{name}: {error.strerror}" if name else error.strerror
    return f"{type(error).__name__}: {error}" if not str(error) else str(error)


if __name__ == "__main__":
    main()
