"""Is a qcow2, VMDK or VDI file sound? qemu-img looks at it, told every file and its format."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

from vmstamp.disk import qcow2
from vmstamp.disk.file import ImageFile
from vmstamp.disk.foreign import NODES
from vmstamp.disk.neighbours import inherited, node_name
from vmstamp.disk.problem import Problem, broken
from vmstamp.errors import DiskError, ProgramError
from vmstamp.run import run

SPEC = "QEMU docs/interop/qcow2.txt, Host cluster management"
SOUND, CORRUPT, LEAKS, NOT_CHECKED = 0, 2, 3, 63  # exit statuses of qemu-img check
_CLUSTER = re.compile(r"cluster (\d+)")
# What qemu-img mends without touching the content: counts of references, and the flags that repeat them.
_COUNTS = re.compile(r"Leaked cluster|ERROR cluster \d+ refcount=\d+ reference=1$|ERROR OFLAG_COPIED")


def check_foreign(file: ImageFile, name: str) -> Iterator[Problem]:
    """What is wrong with the file of format `name`; the files that it refers to are not looked at.

    Raises DiskError where QEMU cannot tell, and ProgramMissing.
    """
    try:
        node = qcow2.node_alone(file) if name == "qcow2" else NODES[name](file, False).node
    except DiskError as error:
        yield broken(error)
        return
    done = run(["qemu-img", "check", "--output=json", node_name(node)], check=False, pass_fds=inherited(file))
    said = done.stderr.decode(errors="replace").strip()
    if done.status == NOT_CHECKED:
        raise DiskError(file.path, f"is a {name} file of a kind that QEMU has no check for")
    if done.status not in (SOUND, CORRUPT, LEAKS):
        yield Problem(f"QEMU cannot check it: {_first(said) or f'exit status {done.status}'}", None, SPEC)
        return
    lines = [line for line in said.splitlines() if line.startswith(("ERROR", "Leaked"))]
    found = json.loads(done.stdout)
    if not lines and done.status != SOUND:
        lines = [f"{kind}: {found[kind]}" for kind in ("corruptions", "leaks") if kind in found]
    cluster_size = 1 << int.from_bytes(file.read(20, 4), "big") if name == "qcow2" else 0
    yield from (_problem(line, cluster_size) for line in lines)


def _problem(line: str, cluster_size: int) -> Problem:
    named = _CLUSTER.search(line)
    at = int(named[1]) * cluster_size if named and cluster_size else None
    return Problem(line, at, SPEC, "references are counted anew" if _COUNTS.match(line) else "")


def _first(said: str) -> str:
    return next(iter(said.splitlines()), "").removeprefix("qemu-img: ")


def repair_qcow2(file: ImageFile, fd: int) -> None:
    """Count the references of `fd`, a whole copy of the qcow2 `file`, anew. Raises DiskError."""
    node = {"driver": "qcow2", "file": {"driver": "file", "filename": f"/proc/self/fd/{fd}"}, "backing": None}
    argv: Sequence[str] = ["qemu-img", "check", "-q", "-r", "all", node_name(node)]
    try:
        run(argv, pass_fds=[fd])
    except ProgramError as error:
        raise DiskError(file.path, f"QEMU cannot mend it: {error.message}") from error


def refuse_repair(file: ImageFile, fd: int) -> None:
    """Of VMDK and VDI nothing is mended: raises DiskError."""
    raise DiskError(file.path, "cannot be mended here", hint="convert it with the program that made it")
