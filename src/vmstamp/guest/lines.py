"""Changes of configuration files of lines, that keep all else as it is."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from vmstamp.guest.files.fs import Files


def find_exact(files: Files, path: str, limit: int) -> str:
    """The file's text, of which `as_bytes` gives the same bytes, UTF-8 or not; '' when there is none."""
    return files.read_bytes(path, limit).decode("utf-8", "surrogateescape") if files.is_file(path) else ""


def as_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def comment_out(text: str, numbers: Collection[int]) -> str:
    """The text with `# ` before each of the lines, counted from 1; a comment stays as it is."""
    return "".join(
        f"# {line}" if number in numbers and not line.lstrip().startswith("#") else line
        for number, line in enumerate(text.splitlines(keepends=True), 1)
    )


def without_lines(text: str, pattern: str) -> str:
    """The text without the lines that the pattern matches at their beginning."""
    return "".join(line for line in text.splitlines(keepends=True) if not re.match(pattern, line))


def set_assignments(text: str, values: Mapping[str, str]) -> str:
    """The text in which KEY=VALUE stands once for each key: in place of the first, else at the end.

    Other lines of the same key become comments.
    """
    done: set[str] = set()
    lines = []
    for line in text.splitlines(keepends=True):
        key = line.partition("=")[0].strip()
        if "=" in line and not line.startswith("#") and key in values:
            lines.append(f"# {line}" if key in done else f"{key}={values[key]}\n")
            done.add(key)
            continue
        lines.append(line)
    missing = [f"{key}={value}\n" for key, value in values.items() if key not in done]
    kept = "".join(lines)
    return (kept if not kept or not missing or kept.endswith("\n") else kept + "\n") + "".join(missing)
