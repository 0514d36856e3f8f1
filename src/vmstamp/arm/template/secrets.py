"""The values of secure parameters kept out of what a deployment says: errors, operations, what-if.

A value that an expression puts into the wrong place (a name, a number, a region) would stand in the error
that refuses it. Every such text is gone through before a client or the database gets it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from vmstamp.arm.operations import error_document, read_detail
from vmstamp.arm.template.parameters import holds_secret, resolved_type
from vmstamp.arm.template.template import Template
from vmstamp.errors import AzureError

MASK: Final = "*******"
SHORTEST: Final = 4  # characters: to mask shorter ones would make texts unreadable, and hide nothing


def secrets_of(template: Template, values: Mapping[str, Any]) -> tuple[str, ...]:
    """The texts within the values given for a template's secure parameters, the longest first."""
    secure = {
        name.lower() for name, declared in template.parameters.items() if _is_secure(template, name, declared)
    }
    found = {text for name, value in values.items() if name.lower() in secure for text in texts(value)}
    return tuple(sorted(found, key=len, reverse=True))


def _is_secure(template: Template, name: str, declared: Mapping[str, Any]) -> bool:
    try:
        return holds_secret(template, resolved_type(template, declared, name), name)
    except AzureError:  # no type at all: what refuses it must not say its value
        return True


def texts(value: Any) -> Iterator[str]:
    """The texts within a value, but for those that are too short to be masked."""
    if isinstance(value, str) and len(value) >= SHORTEST:
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)


def masked(value: Any, secrets: tuple[str, ...]) -> Any:
    """A document without these texts, in whatever case they stand in it."""
    if not secrets:
        return value
    return _masked(value, re.compile("|".join(map(re.escape, secrets)), re.IGNORECASE))


def _masked(value: Any, pattern: re.Pattern[str]) -> Any:
    if isinstance(value, dict):
        return {pattern.sub(MASK, name): _masked(item, pattern) for name, item in value.items()}
    if isinstance(value, list):
        return [_masked(item, pattern) for item in value]
    return pattern.sub(MASK, value) if isinstance(value, str) else value


@contextmanager
def unsaid(secrets: tuple[str, ...]) -> Iterator[None]:
    """What is raised within says none of these texts."""
    try:
        yield
    except AzureError as error:
        document = masked(error_document(error), secrets)
        raise AzureError(
            error.status,
            document["code"],
            document["message"],
            target=document.get("target"),
            details=read_detail(document).details,
            additional_info=document.get("additionalInfo", ()),
            headers=error.headers,
        ) from None
