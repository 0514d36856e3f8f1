"""Functions on moments. Document: Date functions for ARM templates.

A moment is a text in ISO 8601, or as .NET writes it in the invariant culture. What is written follows
.NET's standard and custom format strings.
"""

from __future__ import annotations

import calendar
import re
from datetime import UTC, datetime, timedelta
from typing import Any

from vmstamp.arm.template.faults import ExpressionError
from vmstamp.arm.template.functions import Function, integer, text

UTC_NOW = "yyyyMMddTHHmmssZ"  # the default format of utcNow()

# .NET's standard formats, as custom ones of the invariant culture.
_STANDARD = {
    "d": "MM/dd/yyyy",
    "D": "dddd, dd MMMM yyyy",
    "f": "dddd, dd MMMM yyyy HH:mm",
    "F": "dddd, dd MMMM yyyy HH:mm:ss",
    "g": "MM/dd/yyyy HH:mm",
    "G": "MM/dd/yyyy HH:mm:ss",
    "m": "MMMM dd",
    "M": "MMMM dd",
    "o": "yyyy-MM-ddTHH:mm:ss.fffffffK",
    "O": "yyyy-MM-ddTHH:mm:ss.fffffffK",
    "r": "ddd, dd MMM yyyy HH:mm:ss 'GMT'",
    "R": "ddd, dd MMM yyyy HH:mm:ss 'GMT'",
    "s": "yyyy-MM-ddTHH:mm:ss",
    "t": "HH:mm",
    "T": "HH:mm:ss",
    "u": "yyyy-MM-dd HH:mm:ssZ",
    "U": "dddd, dd MMMM yyyy HH:mm:ss",
    "y": "yyyy MMMM",
    "Y": "yyyy MMMM",
}
_TOKEN = re.compile(
    r"'([^']*)'|\"([^\"]*)\"|\\(.)|%|y+|M+|d+|H+|h+|m+|s+|f+|F+|t+|K|z+|.",
    re.DOTALL,
)
_DURATION = re.compile(
    r"(?P<sign>[+-]?)P(?:(?P<years>\d+)Y)?(?:(?P<months>\d+)M)?(?:(?P<weeks>\d+)W)?(?:(?P<days>\d+)D)?"
    r"(?P<time>T(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+(?:\.\d+)?)S)?)?"
)
_READABLE = ("%m/%d/%Y %H:%M:%S", "%m/%d/%Y %I:%M:%S %p", "%m/%d/%Y", "%a, %d %b %Y %H:%M:%S GMT")


def format_moment(moment: datetime, pattern: str) -> str:
    """A moment by a .NET format string. Raises ExpressionError for one that is not valid."""
    if len(pattern) == 1:
        if pattern not in _STANDARD:
            raise ExpressionError(f"The date and time format '{pattern}' is not valid")
        pattern = _STANDARD[pattern]
    return "".join(_piece(moment, match) for match in _TOKEN.finditer(pattern))


def _piece(moment: datetime, match: re.Match[str]) -> str:
    quoted = next((group for group in match.groups() if group is not None), None)
    if quoted is not None:
        return quoted
    token = match[0]
    numbers = {"d": moment.day, "M": moment.month, "H": moment.hour, "m": moment.minute, "s": moment.second}
    match token[0]:
        case "%":
            return ""
        case "y":
            return (
                str(moment.year % 100).zfill(len(token))
                if len(token) < 3
                else str(moment.year).zfill(len(token))
            )
        case "d" if len(token) > 2:
            name = calendar.day_name[moment.weekday()]
            return name[:3] if len(token) == 3 else name
        case "M" if len(token) > 2:
            name = calendar.month_name[moment.month]
            return name[:3] if len(token) == 3 else name
        case "d" | "M" | "H" | "m" | "s":
            return str(numbers[token[0]]).zfill(min(len(token), 2))
        case "h":
            return str((moment.hour + 11) % 12 + 1).zfill(min(len(token), 2))
        case "f":
            return f"{moment.microsecond:06d}0"[: len(token)]
        case "F":
            return f"{moment.microsecond:06d}0"[: len(token)].rstrip("0")
        case "t":
            return ("AM" if moment.hour < 12 else "PM")[: len(token)]
        case "K":
            return "Z" if moment.utcoffset() == timedelta() else _offset(moment, 3)
        case "z":
            return _offset(moment, len(token))
    return token


def _offset(moment: datetime, length: int) -> str:
    minutes = int((moment.utcoffset() or timedelta()).total_seconds() // 60)
    sign, minutes = ("-", -minutes) if minutes < 0 else ("+", minutes)
    hours = f"{minutes // 60:02d}" if length > 1 else str(minutes // 60)
    return f"{sign}{hours}:{minutes % 60:02d}" if length > 2 else f"{sign}{hours}"


def read_moment(value: str) -> datetime:
    """A moment from its text; without an offset it is UTC. Raises ExpressionError."""
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        found = _readable(value)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _readable(value: str) -> datetime:
    for pattern in _READABLE:
        try:
            return datetime.strptime(value, pattern)
        except ValueError:
            continue
    raise ExpressionError(f"The date and time '{value[:100]}' is not valid: it must be ISO 8601")


def _format_of(value: str) -> str:
    """The format of a sum for which none was asked: ISO 8601, compact as utcNow() when the base is."""
    return UTC_NOW if re.fullmatch(r"\d{8}T\d{6}Z", value) else "yyyy-MM-ddTHH:mm:ssK"


def add_duration(moment: datetime, duration: str) -> datetime:
    """A moment and an ISO 8601 duration; a year counts 365 days and a month 30. Raises ExpressionError."""
    match = _DURATION.fullmatch(duration)
    parts = {
        name: float(value)
        for name, value in (match.groupdict() if match else {}).items()
        if value and name not in ("sign", "time")
    }
    if match is None or not parts:
        raise ExpressionError(
            "The template function 'dateTimeAdd' has an invalid parameter. The second parameter "
            f"'{duration[:100]}' is not a valid ISO8601 Duration string. Please see "
            "https://aka.ms/arm-syntax-functions ."
        )
    days = parts.pop("days", 0.0) + 365 * parts.pop("years", 0.0) + 30 * parts.pop("months", 0.0)
    try:
        return moment + (-1 if match["sign"] == "-" else 1) * timedelta(days=days, **parts)
    except (OverflowError, ValueError) as error:
        raise ExpressionError("The date and time that results lies outside of what can be told") from error


def _add(base: Any, duration: Any, pattern: Any = None) -> str:
    given = text("dateTimeAdd", base)
    moment = add_duration(read_moment(given), text("dateTimeAdd", duration))
    wanted = _format_of(given) if pattern is None else text("dateTimeAdd", pattern)
    return format_moment(moment, wanted)


def _from_epoch(seconds: Any) -> str:
    try:
        moment = datetime.fromtimestamp(integer("dateTimeFromEpoch", seconds), UTC)
    except (OverflowError, ValueError, OSError) as error:
        raise ExpressionError(f"The epoch time '{seconds}' lies outside of what can be told") from error
    return format_moment(moment, "yyyy-MM-ddTHH:mm:ssZ")


def _to_epoch(value: Any) -> int:
    return int(read_moment(text("dateTimeToEpoch", value)).timestamp())


FUNCTIONS = (
    Function("dateTimeAdd", 2, 3, _add),
    Function("dateTimeFromEpoch", 1, 1, _from_epoch),
    Function("dateTimeToEpoch", 1, 1, _to_epoch),
)
