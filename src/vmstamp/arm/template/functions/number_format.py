"""Numbers as .NET writes them in the invariant culture: the format strings of `format('{0:N2}', ...)`.

Standard formats C, D, E, F, G, N, P, X with a precision, and custom ones of 0, #, a dot and commas.
"""

from __future__ import annotations

import re
from decimal import ROUND_HALF_UP, Decimal

from vmstamp.arm.template.faults import ExpressionError

_STANDARD = re.compile(r"([A-Za-z])(\d{0,2})")
_CUSTOM = re.compile(r"(?P<whole>[0#,]+)(?:\.(?P<fraction>[0#]+))?")


def format_number(value: int | float, style: str) -> str:
    """Raises ExpressionError for a format that is none of those."""
    if match := _STANDARD.fullmatch(style):
        return _standard(value, match[1], match[2], style)
    if match := _CUSTOM.fullmatch(style):
        return _custom(value, match["whole"], match["fraction"] or "")
    raise _invalid(style)


def _standard(value: int | float, letter: str, digits: str, style: str) -> str:
    precision = int(digits) if digits else None
    places = 2 if precision is None else precision
    match letter.upper():
        case "D" if isinstance(value, int):
            return ("-" if value < 0 else "") + str(abs(value)).rjust(precision or 0, "0")
        case "X" if isinstance(value, int):
            shown = format(value if value >= 0 else value + (2**32 if value >= -(2**31) else 2**64), "x")
            return (shown.upper() if letter == "X" else shown).rjust(precision or 0, "0")
        case "F":
            return f"{_rounded(value, places):.{places}f}"
        case "N":
            return f"{_rounded(value, places):,.{places}f}"
        case "C":
            shown = f"¤{abs(_rounded(value, places)):,.{places}f}"
            return f"({shown})" if value < 0 else shown
        case "P":
            return f"{_rounded(Decimal(str(value)) * 100, places):,.{places}f} %"
        case "E":
            return _exponent(value, 6 if precision is None else precision, letter)
        case "G":
            return str(value)
    raise _invalid(style)


def _rounded(value: int | float | Decimal, places: int) -> Decimal:
    exact = value if isinstance(value, Decimal) else Decimal(str(value))
    return exact.quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_UP)


def _exponent(value: int | float, places: int, letter: str) -> str:
    mantissa, _, exponent = f"{Decimal(str(value)):.{places}E}".partition("E")
    return f"{mantissa}{letter}{'-' if exponent.startswith('-') else '+'}{abs(int(exponent)):03d}"


def _custom(value: int | float, whole: str, fraction: str) -> str:
    rounded = _rounded(abs(value), len(fraction))
    before, _, after = f"{rounded:f}".partition(".")
    least = whole.replace(",", "").lstrip("#").count("0")
    before = before.lstrip("0").rjust(least, "0")
    if "," in whole:
        before = _grouped(before)
    kept = len(fraction.rstrip("#"))
    after = after[:kept] + after[kept:].rstrip("0")
    sign = "-" if value < 0 and rounded else ""
    return sign + (f"{before}.{after}" if after else before)


def _grouped(digits: str) -> str:
    head = len(digits) % 3
    groups = [digits[i : i + 3] for i in range(head, len(digits), 3)]
    return ",".join([digits[:head], *groups] if head else groups)


def _invalid(style: str) -> ExpressionError:
    return ExpressionError(
        f"The template language function 'format' was given the number format '{style}', which is not valid "
        "or not "
        "supported by this stamp"
    )
