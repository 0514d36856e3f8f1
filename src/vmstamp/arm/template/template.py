"""A template's sections, checked: what may stand in it, and how many of each.

Sections that the stamp lacks (extensions, imports) are refused by name. What stands in the sections is
looked at where it
is used: parameters in `parameters.py`, resources in `graph.py`.

Document: Understand the structure and syntax of ARM templates; Limits of ARM templates.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from vmstamp.arm.faults import unsupported
from vmstamp.arm.resource import Json
from vmstamp.arm.template.faults import HELP_SYNTAX, invalid_template, unparsable_template
from vmstamp.arm.template.reader import Place, place_of, place_of_name
from vmstamp.arm.template.scope import UserFunction
from vmstamp.arm.template.values import find_member, get_member, type_name
from vmstamp.errors import AzureError

_Kind = TypeVar("_Kind", list[Any], dict[str, Any])

_SCHEMA = re.compile(r"https?://schema\.management\.azure\.com/schemas/[^/]+/(\w+)\.json#?", re.IGNORECASE)
SECTIONS = (
    "$schema",
    "contentVersion",
    "apiProfile",
    "languageVersion",
    "definitions",
    "functions",
    "metadata",
    "outputs",
    "parameters",
    "resources",
    "variables",
)
_NOT_HERE = ("extensions", "extensibility", "imports", "asserts")
_FOREIGN = ("managementgroupdeploymenttemplate", "tenantdeploymenttemplate")
LIMITS = {"parameters": 256, "variables": 512, "resources": 800, "outputs": 64}


@dataclass(frozen=True)
class Declared:
    """A resource as a template declares it: `symbol` is its name in languageVersion 2.0, else ''.

    `source` is the object that was read, which knows where its members stand.
    """

    body: Json
    symbol: str
    place: Place
    path: str
    source: Json


@dataclass(frozen=True)
class Template:
    """A checked template; `document` is what was sent."""

    document: Json
    symbolic: bool
    parameters: Mapping[str, Json]
    variables: Mapping[str, Any]
    functions: Mapping[str, UserFunction]  # by name in lower case
    definitions: Mapping[str, Json]
    resources: tuple[Declared, ...]
    outputs: Mapping[str, Json]

    @property
    def hash(self) -> str:
        """A number that two templates share when they are the same but for spaces and order."""
        return template_hash(self.document)

    def place(self, section: str, name: str) -> Place:
        """Where a member of a section stands in the text."""
        spelled = find_member(self.document, section)
        return place_of(self.document[spelled], name) if spelled else (0, 0)


def template_hash(document: Any) -> str:
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return str(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big"))


def parse_template(document: Any) -> Template:
    """A template's sections. Raises AzureError (InvalidTemplate)."""
    if not isinstance(document, dict):
        raise unparsable_template(
            f"Error converting value to type 'Template'. The value is of type '{type_name(document)}'"
        )
    _check_members(document)
    _check_schema(document)
    found = {name: _section(document, name) for name in ("parameters", "variables", "definitions", "outputs")}
    version = get_member(document, "languageVersion")
    resources = get_member(document, "resources")
    symbolic = isinstance(resources, dict)
    if symbolic and version is None:
        raise invalid_template(
            "The template's resources can be an object only with a 'languageVersion' of '2.0'. " + HELP_SYNTAX
        )
    declared = _resources(resources)
    if get_member(document, "apiProfile") and any(not get_member(one.body, "apiVersion") for one in declared):
        raise unsupported(
            "The template section 'apiProfile', in place of each apiVersion", target="apiProfile"
        )
    for name, limit in LIMITS.items():
        count = len(declared) if name == "resources" else len(found[name])
        if count > limit:
            raise invalid_template(
                f"The number of template {name} limit exceeded. Limit: '{limit}' and actual: '{count}'. "
                "Please see https://aka.ms/arm-template-limits for usage details."
            )
    return Template(
        document=document,
        symbolic=symbolic,
        parameters=_objects(document, "parameters", found["parameters"]),
        variables=found["variables"],
        functions=_functions(get_member(document, "functions")),
        definitions=_objects(document, "definitions", found["definitions"]),
        resources=declared,
        outputs=_objects(document, "outputs", found["outputs"]),
    )


def _check_members(document: Mapping[str, Any]) -> None:
    known = {name.lower() for name in SECTIONS}
    for name in document:
        if name.lower() in _NOT_HERE and document[name]:
            raise unsupported(f"The template section '{name}'", target=name)
        if name.lower() not in known and name.lower() not in _NOT_HERE:
            line, column = place_of_name(document, name)
            raise unparsable_template(
                f"Could not find member '{name}' on object of type 'Template'. Path '{name}', line {line}, "
                "position "
                f"{column}.",
                line=line,
                column=column,
                path=name,
            )


def _check_schema(document: Mapping[str, Any]) -> None:
    for name in ("$schema", "contentVersion", "resources"):
        if get_member(document, name) is None:
            raise unparsable_template(
                f"Required property '{name}' not found in JSON. Path '', line 1, position 1."
            )
    schema = str(get_member(document, "$schema"))
    match = _SCHEMA.fullmatch(schema)
    if match is None:
        raise invalid_template(
            f"The template schema '{schema}' is not supported. Supported versions are "
            "'2014-04-01-preview,2015-01-01,2018-05-01,2019-04-01,2019-08-01'. "
            "Please see https://aka.ms/arm-template for usage details.",
            path="$schema",
        )
    if match[1].lower() in _FOREIGN:
        raise unsupported(f"A template of the scope '{match[1]}'", target="$schema")
    version = str(get_member(document, "contentVersion"))
    if not re.fullmatch(r"\d+\.\d+\.\d+\.\d+", version):
        raise invalid_template(
            f"The template content version '{version[:50]}' is not valid: it must be of the form '1.0.0.0'",
            path="contentVersion",
        )


def _section(document: Mapping[str, Any], name: str) -> Json:
    found = get_member(document, name)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise _wrong_section(document, name, "an object", found)
    return found


def _wrong_section(document: Mapping[str, Any], name: str, expected: str, found: Any) -> AzureError:
    line, column = place_of(document, name)
    return unparsable_template(
        f"The template section '{name}' must be {expected}, not of type '{type_name(found)}'. Path "
        f"'{name}', line "
        f"{line}, position {column}.",
        line=line,
        column=column,
        path=name,
    )


def _objects(document: Mapping[str, Any], section: str, members: Json) -> Mapping[str, Json]:
    for name, value in members.items():
        if not isinstance(value, dict):
            raise _wrong_section(members, name, "an object", value)
    return members


def _resources(section: Any) -> tuple[Declared, ...]:
    if isinstance(section, dict):
        pairs = [
            (symbol, body, place_of(section, symbol), f"resources.{symbol}")
            for symbol, body in section.items()
        ]
    elif isinstance(section, list):
        pairs = [("", body, place_of(section, i), f"resources[{i}]") for i, body in enumerate(section)]
    else:
        raise unparsable_template(f"The template section 'resources' is of type '{type_name(section)}'")
    for _, body, (line, column), path in pairs:
        if not isinstance(body, dict):
            raise unparsable_template(
                f"Error converting value to type 'TemplateResource'. Path '{path}', line {line}, position "
                f"{column}.",
                line=line,
                column=column,
                path=path,
            )
    return tuple(
        declared
        for symbol, body, place, path in pairs
        for declared in _with_children(Declared(body, symbol, place, path, body))
    )


def _with_children(parent: Declared) -> list[Declared]:
    """A resource, and those declared within it with the parent's type and name before their own."""
    children = get_member(parent.body, "resources")
    if not children:
        return [parent]
    if not isinstance(children, list) or get_member(parent.body, "copy"):
        raise invalid_template(
            f"The resources within the resource at '{parent.path}' must be an array, and the resource no "
            "loop. "
            f"{HELP_SYNTAX}",
            path=parent.path,
        )
    own = {name: value for name, value in parent.body.items() if name.lower() != "resources"}
    found = [Declared(own, parent.symbol, parent.place, parent.path, parent.source)]
    for i, child in enumerate(children):
        if not isinstance(child, dict):
            raise unparsable_template(
                f"Error converting value to type 'TemplateResource'. Path '{parent.path}'"
            )
        body = {**child, **_qualified(parent.body, child)}
        if condition := get_member(parent.body, "condition"):
            body.setdefault("condition", condition)
        path = f"{parent.path}.resources[{i}]"
        found.extend(_with_children(Declared(body, "", place_of(children, i), path, child)))
    return found


def _qualified(parent: Json, child: Json) -> Json:
    """A child's full type and, as an expression, its full name."""
    kind, name = str(get_member(child, "type") or ""), get_member(child, "name")
    whole = str(get_member(parent, "type"))
    full = kind if kind.lower().startswith(f"{whole.lower()}/") else f"{whole}/{kind}"
    return {"type": full, "name": ChildName(get_member(parent, "name"), name)}


@dataclass(frozen=True)
class ChildName:
    """The name of a resource declared within another: the parent's (maybe one itself), '/', its own."""

    parent: Any
    own: Any


def _functions(section: Any) -> dict[str, UserFunction]:
    found: dict[str, UserFunction] = {}
    for i, namespace in enumerate(_of(list, section or [], "functions")):
        path = f"functions[{i}]"
        whole = str(get_member(_of(dict, namespace, "functions"), "namespace"))
        place = place_of(namespace, "namespace")
        _check_word(whole, "The template function", "function namespace", place, f"{path}.namespace")
        members = get_member(namespace, "members")
        for name, body in _of(dict, members or {}, "functions.members").items():
            place = place_of(members, name)
            _check_word(
                name, f"The template function '{name}'", "function name", place, f"{path}.members.{name}"
            )
            full = f"{whole}.{name}"
            declared = get_member(_of(dict, body, full), "parameters")
            named = [_of(dict, one, full) for one in _of(list, declared or [], full)]
            output = _of(dict, get_member(body, "output"), f"{full}.output")
            parameters = tuple(str(get_member(one, "name")) for one in named)
            found[full.lower()] = UserFunction(full, parameters, get_member(output, "value"))
    return found


def _check_word(word: str, whose: str, noun: str, place: Place, path: str) -> None:
    """Raises InvalidTemplate when the name of a user function or of its namespace is no identifier."""
    wrong = "".join(dict.fromkeys(re.sub(r"\w", "", word)))
    if not wrong:
        return
    line, column = place
    shown = f"The {noun} '{word}'" if noun == "function namespace" else f"The {noun}"
    raise invalid_template(
        f"{whose} at line '{line}' and column '{column}' is not valid. {shown} contains invalid characters "
        f"'{wrong}'. Please see https://aka.ms/arm-syntax-functions for usage details.",
        line=line,
        column=column,
        path=path,
    )


def _of(kind: type[_Kind], value: Any, where: str) -> _Kind:
    """The value, when it is of the kind that the template's structure wants. Raises InvalidTemplate."""
    if not isinstance(value, kind):
        expected = "an array" if kind is list else "an object"
        raise unparsable_template(
            f"The value at '{where}' must be {expected}, not of type '{type_name(value)}'", path=where
        )
    return value
