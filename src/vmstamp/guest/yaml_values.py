"""YAML of a guest as plain values, bounded: aliases cannot blow it up, and nothing is constructed but values.

Spec: YAML 1.1 as PyYAML and libyaml read it, which cloud-init and netplan use.
"""

from __future__ import annotations

import re
from typing import Any

from vmstamp.errors import GuestError

TEXT_LIMIT = 128 * 1024  # bytes of one file; PyYAML reads about 200 KiB in a second
TOTAL_LIMIT = 512 * 1024  # characters of all files that are merged
VALUE_LIMIT = 20_000  # values of one document, each alias counted wherever it stands
DEPTH_LIMIT = 50

_TRUE = ("yes", "true", "on")
_FALSE = ("no", "false", "off")


def parse_yaml(text: str, where: str, left: int = TOTAL_LIMIT) -> Any:
    """The one document of `text` as dict, list, str, int, float, bool and None.

    Keys are text as written. Of a tag that names anything else the text is kept. Raises GuestError, with
    `where`, for what is no YAML and for what is beyond the limits; `left` are the characters that may yet be
    read of all files together, after this one.
    """
    import yaml  # takes 20 ms, and few guests need it

    if len(text) > TEXT_LIMIT:
        raise GuestError(f"{where}: {len(text)} characters of YAML, at most {TEXT_LIMIT} are read")
    if left < 0:
        raise GuestError(f"{where}: too much YAML, more than {TOTAL_LIMIT} characters in all files")
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise GuestError(f"{where}: {(str(error).splitlines() or ['not YAML'])[0]}") from error
    return _Values(where).of(node, 0)


class _Values:
    """Walks nodes and counts; an alias is the same node again, and is counted again."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._left = VALUE_LIMIT

    def of(self, node: Any, depth: int) -> Any:
        self._left -= 1
        if self._left < 0 or depth > DEPTH_LIMIT:
            raise GuestError(f"{self._where}: YAML of too many or too deep values")
        if node is None:
            return None
        if isinstance(node.value, str):
            return _scalar(node.value) if node.style is None else node.value
        if node.id == "sequence":
            return [self.of(child, depth + 1) for child in node.value]
        return {self._key(key): self.of(value, depth + 1) for key, value in node.value}

    def _key(self, node: Any) -> str:
        """A key as it is written; what is no scalar is named by its kind."""
        self._left -= 1
        return node.value if isinstance(node.value, str) else f"({node.id})"


def _scalar(text: str) -> Any:
    """A plain scalar by the core rules of YAML 1.1."""
    lower = text.lower()
    if lower in ("", "~", "null"):
        return None
    if lower in _TRUE:
        return True
    if lower in _FALSE:
        return False
    if re.fullmatch(r"[-+]?(0|[1-9]\d{0,17})", text):
        return int(text)
    return text
