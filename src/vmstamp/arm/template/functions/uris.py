"""Functions on URIs. Document: String functions for ARM templates and for Bicep."""

from __future__ import annotations

from typing import Any
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

from vmstamp.arm.template.faults import ExpressionError
from vmstamp.arm.template.functions import Function, mapping, text
from vmstamp.arm.template.values import get_member, type_name

_DEFAULT_PORTS = {"ftp": 21, "http": 80, "https": 443}


def _uri(base: Any, relative: Any) -> str:
    url = text("uri", base)
    if not urlsplit(url).scheme:
        raise ExpressionError(
            "The template language function 'uri' expects its first argument to be a uri string. The "
            f"provided value is '{url}'. Please see https://aka.ms/arm-function-datauri for usage details."
        )
    return urljoin(url, text("uri", relative))


def _parse(value: Any) -> dict[str, Any]:
    """The parts of a URI: null for the port that its scheme has anyway; no path for `/`."""
    url = text("parseUri", value)
    parts, port = _split(url)
    host = parts.hostname or ""
    found: dict[str, Any] = {"scheme": parts.scheme, "host": f"[{host}]" if ":" in host else host}
    found["port"] = None if port == _DEFAULT_PORTS.get(parts.scheme) else port
    if parts.path not in ("", "/"):
        found["path"] = parts.path
    if parts.query:
        found["query"] = f"?{parts.query}"
    return found


def _split(url: str) -> tuple[SplitResult, int | None]:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if not parts.scheme or not parts.hostname:
        raise ExpressionError(
            "The template language function 'parseUri' expects its parameter to be an absolute URI. The "
            f"provided value is '{url}'"
        )
    return parts, port


def _build(value: Any) -> str:
    """A URI of the parts that `parseUri` gives; a part that is missing or null is left out."""
    parts = mapping("buildUri", value)
    scheme, host = _part(parts, "scheme"), _part(parts, "host")
    if not scheme or not host:
        raise ExpressionError("The template language function 'buildUri' needs 'scheme' and 'host'")
    port = get_member(parts, "port")
    if port is not None and (isinstance(port, bool) or not isinstance(port, int) or not 0 <= port < 2**16):
        raise ExpressionError(
            "The template language function 'buildUri' expects 'port' to be a number below 65536"
        )
    path, query = _part(parts, "path"), _part(parts, "query")
    place = "" if port is None or port == _DEFAULT_PORTS.get(scheme.lower()) else f":{port}"
    asked = f"?{query.removeprefix('?')}" if query else ""
    return f"{scheme}://{host}{place}/{path.removeprefix('/')}{asked}"


def _part(parts: dict[str, Any], name: str) -> str:
    found = get_member(parts, name)
    if found is None:
        return ""
    if not isinstance(found, str):
        raise ExpressionError(
            f"The template language function 'buildUri' expects '{name}' to be a string. The provided "
            f"value is of type '{type_name(found)}'"
        )
    return found


FUNCTIONS = (
    Function("buildUri", 1, 1, _build),
    Function("parseUri", 1, 1, _parse),
    Function("uri", 2, 2, _uri),
    Function("uriComponent", 1, 1, lambda value: quote(text("uriComponent", value), safe="")),
    Function("uriComponentToString", 1, 1, lambda value: unquote(text("uriComponentToString", value))),
)
