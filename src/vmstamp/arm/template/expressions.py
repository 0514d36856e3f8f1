"""The template expression language: `[concat('a', parameters('b').c[0])]` to a tree and back.

The grammar is Azure's: calls (of functions, or of user functions as `namespace.name(...)`), strings in
single quotes with '' for one, whole numbers, and property or index access after any of them. Whether a
function exists is not asked here.

Document: Template syntax and expressions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from lark import Lark, Token, Transformer, UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from vmstamp.arm.template.faults import ExpressionError, SyntaxFault

MAXIMUM_LENGTH = 24_576  # characters of one expression, as in Azure
MAXIMUM_DEPTH = 64  # parentheses and brackets within each other; ours: Azure's is not published

GRAMMAR = r"""
?start: expression
?expression: access | primary
access: primary step+
?step: "." NAME          -> member
     | "[" expression "]" -> index
?primary: STRING -> text
        | INT    -> number
        | call
call: NAME "(" arguments ")"
    | NAME "." NAME "(" arguments ")" -> user_call
arguments: (expression ("," expression)*)?
STRING: /'(?:[^']|'')*'/
INT: /-?[0-9]+/
NAME: /[A-Za-z_$][A-Za-z0-9_$]*/
%ignore /[ \t\r\n\f]+/
"""

# Azure's names of what was found or expected in place of it.
_TOKENS = {
    "LPAR": "LeftParenthesis",
    "RPAR": "RightParenthesis",
    "LSQB": "LeftSquareBracket",
    "RSQB": "RightSquareBracket",
    "COMMA": "Comma",
    "DOT": "Dot",
    "NAME": "Identifier",
    "STRING": "Literal",
    "INT": "Integer",
    "$END": "EndOfData",
}


@dataclass(frozen=True)
class Literal:
    value: str | int


@dataclass(frozen=True)
class Call:
    """A function's call; `namespace` is '' for Azure's own functions."""

    name: str
    arguments: tuple[Node, ...]
    namespace: str = ""


@dataclass(frozen=True)
class Access:
    """Properties and elements of `base`, from the outside in: `.a` and `['a']` are the same key."""

    base: Literal | Call
    keys: tuple[Node, ...]


Node = Literal | Call | Access

_IDENTIFIER = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")


class _Builder(Transformer[Token, Node]):
    """Makes nodes while the text is parsed, so a long text needs no deep stack."""

    def text(self, children: list[Token]) -> Literal:
        return Literal(children[0][1:-1].replace("''", "'"))

    def number(self, children: list[Token]) -> Literal:
        value = int(children[0]) if len(children[0]) < 21 else 2**64
        if not -(2**31) <= value < 2**31:
            raise SyntaxFault(
                f"the value '{children[0][:40]}' at position '{children[0].start_pos}' cannot be converted "
                "to number"
            )
        return Literal(value)

    def member(self, children: list[Token]) -> Literal:
        return Literal(str(children[0]))

    def index(self, children: list[Node]) -> Node:
        return children[0]

    def arguments(self, children: list[Node]) -> tuple[Node, ...]:
        return tuple(children)

    def call(self, children: list[Any]) -> Call:
        return Call(str(children[0]), children[1])

    def user_call(self, children: list[Any]) -> Call:
        return Call(str(children[1]), children[2], str(children[0]))

    def access(self, children: list[Any]) -> Access:
        return Access(children[0], tuple(children[1:]))


@cache
def _parser() -> Lark:
    return Lark(GRAMMAR, parser="lalr", transformer=_Builder(), cache=False)


def is_expression(text: str) -> bool:
    """Whether a template's string is an expression: in brackets, and the first is not doubled."""
    return text.startswith("[") and text.endswith("]") and not text.startswith("[[")


def unescape(text: str) -> str:
    """What a string that is no expression says: `[[x]` is `[x]`."""
    return text[1:] if text.startswith("[[") else text


@lru_cache(4096)
def parse_expression(text: str) -> Node:
    """The tree of an expression, given with its brackets. Raises ExpressionError, mostly SyntaxFault."""
    inner = text[1:-1]
    if len(text) > MAXIMUM_LENGTH:
        raise ExpressionError(
            f"The template language expression's length '{len(text)}' exceeds the limit of '{MAXIMUM_LENGTH}'"
        )
    if _depth(inner) > MAXIMUM_DEPTH:
        raise ExpressionError(
            f"The template language expression is nested more than '{MAXIMUM_DEPTH}' levels deep"
        )
    try:
        found = _parser().parse(inner)
    except UnexpectedInput as error:
        raise _syntax_error(text, error) from error
    except SyntaxFault as error:
        raise SyntaxFault(f"The language expression '{_excerpt(text)}' is not valid: {error}") from error
    return found  # type: ignore[return-value]


def _excerpt(text: str) -> str:
    return text[1:-1] if len(text) < 200 else f"{text[1:200]}..."


def _syntax_error(text: str, error: UnexpectedInput) -> SyntaxFault:
    shown = _excerpt(text)
    if isinstance(error, UnexpectedCharacters):
        at = error.pos_in_stream or 0
        if error.char == "'":
            return SyntaxFault(
                f"The language expression '{shown}' is not valid: the string constant at position '{at}' is "
                "not terminated. String constants must be enclosed within a pair of single quotes"
            )
        return SyntaxFault(
            f"The language expression '{shown}' is not valid: the string character '{error.char}' at "
            f"position '{at}' is not expected"
        )
    assert isinstance(error, UnexpectedToken)
    closing = [name for name in ("RPAR", "RSQB") if name in error.expected]
    begins = ["NAME"] if "NAME" in error.expected else []  # of an expression Azure says that alone
    expected = " or ".join(sorted(_TOKENS.get(name, name) for name in closing or begins or error.expected))
    actual = _TOKENS.get(error.token.type, error.token.type)
    return SyntaxFault(
        f"Unable to parse language expression '{shown}': expected token '{expected}' and actual '{actual}'"
    )


def _depth(text: str) -> int:
    deepest = depth = 0
    quoted = False
    for character in text:
        if character == "'":
            quoted = not quoted
        elif not quoted and character in "([":
            depth += 1
            deepest = max(deepest, depth)
        elif not quoted and character in ")]":
            depth -= 1
    return deepest


def render(node: Node) -> str:
    """The text of a tree, without the outer brackets; parsed, it gives the same tree."""
    if isinstance(node, Literal):
        value = node.value
        return str(value) if isinstance(value, int) else "'" + value.replace("'", "''") + "'"
    if isinstance(node, Call):
        prefix = f"{node.namespace}." if node.namespace else ""
        return f"{prefix}{node.name}({', '.join(map(render, node.arguments))})"
    return render(node.base) + "".join(map(_render_key, node.keys))


def _render_key(key: Node) -> str:
    if isinstance(key, Literal) and isinstance(key.value, str) and _IDENTIFIER.fullmatch(key.value):
        return f".{key.value}"
    return f"[{render(key)}]"


def calls(node: Node) -> Iterable[Call]:
    """Every call in a tree, outer ones first."""
    if isinstance(node, Call):
        yield node
        for argument in node.arguments:
            yield from calls(argument)
    elif isinstance(node, Access):
        yield from calls(node.base)
        for key in node.keys:
            yield from calls(key)
