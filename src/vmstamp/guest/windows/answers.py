"""Answer files on a Windows: those that setup would take, and what setup or an administrator left behind."""

from __future__ import annotations

import re
from collections.abc import Iterator

from vmstamp.guest.files.fs import Files
from vmstamp.guest.windows.sysprep import ANSWER_FILES, PANTHER, SYSPREP

# Where answer files are kept beside those: any XML file in setup's and Sysprep's directories, and in the root
# what is named as one.
DIRECTORIES = (PANTHER, f"{PANTHER}/Unattend", f"{PANTHER}/UnattendGC", SYSPREP, f"{SYSPREP}/Panther", "/")
_NAMED = re.compile(r"(auto)?unattend.*\.xml|sysprep.*\.xml", re.IGNORECASE)
MAX_ANSWERS = 1024 * 1024  # bytes of a file that are looked at
MAX_FILES = 200


def encoding_of(data: bytes) -> str:
    """UTF-16 by its mark, else UTF-8; both give back the bytes that were decoded with surrogateescape."""
    return {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}.get(data[:2], "utf-8")


def read_answers(files: Files, path: str) -> str:
    """The file as text; '' when it is absent. A mark of its encoding stays in it."""
    data = files.read_part(path, 0, MAX_ANSWERS)
    return data.decode(encoding_of(data), "surrogateescape" if encoding_of(data) == "utf-8" else "replace")


def find_answer_files(files: Files) -> Iterator[str]:
    """The answer files that setup would take, in their order, then others that are kept."""
    named = [path for path in ANSWER_FILES if files.is_file(path)]
    yield from named
    known = {path.lower() for path in named}
    for directory in DIRECTORIES:
        names = [
            name
            for name in files.list(directory)
            if (_NAMED.fullmatch(name) if directory == "/" else name.lower().endswith(".xml"))
        ]
        for name in names[:MAX_FILES]:
            path = f"{directory.rstrip('/')}/{name}"
            if path.lower() not in known and files.is_file(path):
                known.add(path.lower())
                yield path
