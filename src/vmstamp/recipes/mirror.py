"""Where Debian's packages come from: apt source lines for mmdebstrap, in apt's one-line form.

In this order: what the caller says; the host's own sources where the host is the very release that is
built; else none, and mmdebstrap takes its own default.

Format: sources.list(5), both forms.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from vmstamp.recipes.catalogue import RecipeError

RELEASE = "bookworm"
# The suites of a release that an installed system takes packages from.
SUITES = (RELEASE, f"{RELEASE}-updates", f"{RELEASE}-security")
COMPONENT = "main"
MIRROR_VARIABLE = "VMSTAMP_DEBIAN_MIRROR"


@dataclass(frozen=True)
class Source:
    """One archive of binary packages: its URI, a suite, and the key ring that signs it ('': apt's own)."""

    uri: str
    suite: str
    signed_by: str = ""

    def line(self) -> str:
        option = f"[signed-by={self.signed_by}] " if self.signed_by else ""
        return f"deb {option}{self.uri} {self.suite} {COMPONENT}"


def parse_mirror(value: str) -> tuple[Source, ...]:
    """The sources that a mirror stands for: `URI` or `URI SECURITY-URI`. RecipeError when it is neither."""
    words = value.split()
    if not 1 <= len(words) <= 2 or any("://" not in word and not word.startswith("file:") for word in words):
        raise RecipeError(
            f"a Debian mirror is a URI, or two with that of the security archive: got {value!r}",
            hint=f"for example {MIRROR_VARIABLE}='http://mirror.example/debian'",
        )
    release = [Source(words[0], suite) for suite in SUITES[:2]]
    return (*release, *(Source(word, SUITES[2]) for word in words[1:]))


def host_sources(etc: Path) -> tuple[Source, ...]:
    """The host's sources of this release under `etc`; () when the host is another release or has none."""
    if not _is_release(etc / "os-release"):
        return ()
    apt = etc / "apt"
    found = list(parse_one_line(_text(apt / "sources.list")))
    for path in sorted(apt.glob("sources.list.d/*.list")):
        found += parse_one_line(_text(path))
    for path in sorted(apt.glob("sources.list.d/*.sources")):
        found += parse_deb822(_text(path))
    return tuple(dict.fromkeys(found)) if any(source.suite == RELEASE for source in found) else ()


def choose_sources(mirror: str | None, environment: Mapping[str, str], etc: Path) -> tuple[Source, ...]:
    """The sources to build from; () leaves the choice to mmdebstrap. Raises RecipeError."""
    wish = mirror or environment.get(MIRROR_VARIABLE, "")
    return parse_mirror(wish) if wish.strip() else host_sources(etc)


def parse_one_line(text: str) -> Iterator[Source]:
    """Binary sources of this release in the one-line form: `deb [option=value ...] uri suite component`."""
    for line in text.splitlines():
        match = re.fullmatch(r"\s*deb\s+(?:\[([^\]]*)\]\s*)?(\S+)\s+(\S+)\s+([^#]*)(?:#.*)?", line)
        if match is None or COMPONENT not in match[4].split() or match[3] not in SUITES:
            continue
        options = dict(word.partition("=")[::2] for word in (match[1] or "").split())
        if _fits(options.get("arch", "").split(",")):
            yield Source(match[2], match[3], options.get("signed-by", ""))


def parse_deb822(text: str) -> Iterator[Source]:
    """Binary sources of this release in the form of stanzas: Types, URIs, Suites, Components, Signed-By."""
    for stanza in _stanzas(text):
        wanted = (
            "deb" in stanza.get("types", "").split() and COMPONENT in stanza.get("components", "").split()
        )
        if not wanted or stanza.get("enabled", "yes").lower() == "no":
            continue
        if not _fits(stanza.get("architectures", "").split()):
            continue
        signed_by = stanza.get("signed-by", "").strip()
        for uri in stanza.get("uris", "").split():
            for suite in stanza.get("suites", "").split():
                if suite in SUITES:
                    yield Source(uri, suite, signed_by if signed_by.startswith("/") else "")


def _stanzas(text: str) -> Iterator[dict[str, str]]:
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for block in re.split(r"\n\s*\n", "\n".join(lines)):
        fields: dict[str, str] = {}
        name = ""
        for line in block.splitlines():
            if line[:1].isspace():
                fields[name] = f"{fields.get(name, '')} {line.strip()}"
            elif ":" in line:
                name, _, value = line.partition(":")
                name = name.strip().lower()
                fields[name] = value.strip()
        if fields:
            yield fields


def _fits(architectures: list[str]) -> bool:
    named = [architecture for architecture in architectures if architecture]
    return not named or "amd64" in named


def _is_release(os_release: Path) -> bool:
    return re.search(rf'^VERSION_CODENAME="?{RELEASE}"?$', _text(os_release), re.MULTILINE) is not None


def _text(path: Path) -> str:
    """The text of a file that may be missing or not ours to read."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
