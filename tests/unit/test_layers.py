"""The rooms and who may know whom: docs/architecture.md as a test."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import vmstamp

ROOT = Path(vmstamp.__file__).parent
GROUND = {
    "db",
    "errors",
    "extents",
    "identity",
    "paths",
    "resource_id",
    "run",
    "settings",
    "syscalls",
    "timeline",
}
# room: the rooms that it may import, beside the ground floor and itself
ALLOWED: dict[str, set[str]] = {
    "disk": set(),
    "guest": {"disk"},
    "blob": set(),
    "machine": set(),
    "fabric": set(),
    "recipes": {"disk"},
    "arm": {"disk", "guest", "blob", "machine", "fabric"},
    "transfer": {"disk"},
    "host": {"arm", "machine", "fabric"},
    "sign_in": set(),
    "stamp": {"arm", "blob", "machine", "fabric", "host", "recipes"},
    "doors": {"arm", "blob", "stamp", "sign_in"},
    "server": {"doors", "machine"},
    "cli": {"disk", "guest", "transfer", "recipes"},
}
# outside module: the only places that may import it
DOORS = {
    "subprocess": {
        "run.py",
        "fabric/guest_access.py",
    },  # the latter runs in a guest, where there is no run.py
    "sqlite3": {"db.py"},
    "starlette": {
        "arm/rest.py",
        "blob/rest.py",
        "fabric/fabric.py",
        "fabric/imds.py",
        "fabric/wireserver.py",
        "doors.py",
        "sign_in.py",
    },
    "uvicorn": {"blob/protocol.py", "fabric/fabric.py", "doors.py"},
}
MODULES = sorted(path.relative_to(ROOT) for path in ROOT.rglob("*.py"))


def imports_of(module: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse((ROOT / module).read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            yield node.module or ""
            if node.module == "vmstamp":
                yield from (f"vmstamp.{name.name}" for name in node.names)


def room_of(parts: tuple[str, ...]) -> str:
    return parts[0].removesuffix(".py")


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_a_room_knows_only_the_rooms_below_it(module: Path) -> None:
    room = room_of(module.parts)
    used = {name.split(".")[1] for name in imports_of(module) if name.startswith("vmstamp.")} - {
        "__version__"
    }
    allowed = ALLOWED.get(room, set()) | GROUND | {room}
    assert used <= allowed, f"{module} may not import {sorted(used - allowed)}"


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_outside_modules_come_in_by_their_door_only(module: Path) -> None:
    for name in imports_of(module):
        doors = DOORS.get(name.split(".")[0])
        assert doors is None or str(module) in doors, f"{module} may not import {name}"


def test_every_room_says_what_it_is() -> None:
    for package in ROOT.rglob("__init__.py"):
        assert ast.get_docstring(ast.parse(package.read_text())), f"{package} has no docstring"
