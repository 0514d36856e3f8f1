"""What a template is given: values from the request or the defaults, checked against their types.

A value of a secure type is used and never kept: `Given.secure` names those. Parameter files are the
client's: it
sends their content.

Document: Parameters in ARM templates; Type definitions in ARM templates (languageVersion 2.0).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from vmstamp.arm.faults import unsupported
from vmstamp.arm.resource import Json
from vmstamp.arm.template.faults import (
    HELP_FUNCTIONS,
    Deferred,
    ExpressionError,
    invalid_template,
    told_apart,
)
from vmstamp.arm.template.functions.collections import in_order
from vmstamp.arm.template.reader import Place
from vmstamp.arm.template.scope import Lazy
from vmstamp.arm.template.template import Template
from vmstamp.arm.template.values import equal, find_member, type_name
from vmstamp.errors import AzureError

HELP = "Please see https://aka.ms/arm-pass-parameter-values for usage details."
HELP_FILE = "Please see https://aka.ms/arm-create-parameter-file for usage details."
SECURE = ("securestring", "secureobject")
TYPES = {
    "string": "String",
    "securestring": "String",
    "int": "Integer",
    "bool": "Boolean",
    "array": "Array",
    "object": "Object",
    "secureobject": "Object",
}
# How Azure writes the types in a deployment's document.
SPELLED = {
    "string": "String",
    "securestring": "SecureString",
    "int": "Int",
    "bool": "Bool",
    "array": "Array",
    "object": "Object",
    "secureobject": "SecureObject",
}


@dataclass(frozen=True)
class Given:
    """The parameters of one deployment: their values, and their types in lower case."""

    values: Mapping[str, Any]
    types: Mapping[str, str]

    @property
    def secure(self) -> frozenset[str]:
        return frozenset(name for name, kind in self.types.items() if kind in SECURE)

    def shown(self) -> Json:
        """As a deployment's document shows them: of a secure one the type alone."""
        return {
            name: {"type": SPELLED.get(kind, kind)} | ({} if kind in SECURE else {"value": self.values[name]})
            for name, kind in self.types.items()
        }


def read_given(section: Any) -> dict[str, Any]:
    """The values in a request's `parameters`: `{"name": {"value": ...}}`. Raises AzureError."""
    if section is None:
        return {}
    if not isinstance(section, dict):
        raise _invalid_value("The deployment parameters must be an object")
    if "$schema" in section and isinstance(section.get("parameters"), dict):
        section = section["parameters"]
    found: dict[str, Any] = {}
    for name, item in section.items():
        if not name.strip():
            raise AzureError(
                400,
                "InvalidDeploymentParameterKey",
                f"One of the deployment parameters has an empty key. {HELP}",
            )
        if not isinstance(item, dict):
            raise _invalid_value(
                f"The value of deployment parameter '{name}' must be an object with a 'value'"
            )
        if item.get("reference"):
            raise unsupported(f"The Key Vault reference of the parameter '{name}'", target=name)
        if "value" not in item:
            raise _invalid_value(
                f"The value of deployment parameter '{name}' is null. Please specify the value or use the "
                "parameter "
                "reference"
            )
        found[name] = item["value"]
    return found


def _invalid_value(what: str) -> AzureError:
    return AzureError(400, "InvalidDeploymentParameterValue", f"{what}. {HELP}")


def resolve_parameters(
    template: Template, given: Mapping[str, Any], evaluate_default: Callable[[Any, Lazy], Any]
) -> Given:
    """The values of all parameters. `evaluate_default` may use the parameters that are there already.

    Raises AzureError in Azure's words: unknown names, missing values, wrong types, limits that are not kept.
    """
    unknown = [name for name in given if find_member(template.parameters, name) is None]
    if unknown:
        raise invalid_template(
            "The following parameters were supplied, but do not correspond to any parameters defined in the "
            f"template: '{', '.join(unknown)}'. The parameters defined in the template are: "
            f"'{', '.join(template.parameters)}'. {HELP}"
        )
    spelled = {name.lower(): value for name, value in given.items()}

    def make(name: str) -> Any:
        if spelled.get(name.lower()) is not None:
            return spelled[name.lower()]
        definition = template.parameters[name]
        if (key := find_member(definition, "defaultValue")) is not None:
            return evaluate_default(definition[key], values)
        if spelled.get(name.lower(), "") is None or resolved_type(template, definition, name).get("nullable"):
            return None
        line, column = template.place("parameters", name)
        raise invalid_template(
            f"The value for the template parameter '{name}' at line '{line}' and column '{column}' is not "
            "provided. "
            "Please see https://aka.ms/arm-create-parameter-file for usage details.",
            line=line,
            column=column,
            path=f"parameters.{name}",
        )

    values = Lazy(template.parameters, make, "parameter")
    found: dict[str, Any] = {}
    types: dict[str, str] = {}
    for name, definition in template.parameters.items():
        place = template.place("parameters", name)
        try:
            found[name] = values.get(name)
        except (ExpressionError, Deferred) as error:
            raise told_apart(error) or _default_fault(name, error.message, place) from error
        whole = resolved_type(template, definition, name)
        types[name] = (
            SECURE[0] if holds_secret(template, whole, name) and whole["type"] in TYPES else whole["type"]
        )
        if whole["type"] in ("object", "secureobject") and types[name] == SECURE[0]:
            types[name] = "secureobject"
        _check(template, whole, found[name], name, name)
    return Given(found, types)


def _default_fault(name: str, why: str, place: Place) -> AzureError:
    line, column = place
    return invalid_template(
        f"The template parameter '{name}' at line '{line}' and column '{column}' is not valid: {why}. "
        f"{HELP_FUNCTIONS}",
        line=line,
        column=column,
        path=f"parameters.{name}",
    )


def resolved_type(template: Template, definition: Mapping[str, Any], path: str, depth: int = 0) -> Json:
    """A definition with what its `$ref` says, its type in lower case. Raises AzureError."""
    if not isinstance(definition, dict):
        raise invalid_template(f"The type of '{path}' must be an object. {HELP}", path=path)
    found = {name[0].lower() + name[1:] if name else name: value for name, value in definition.items()}
    if not isinstance(found.get("properties") or {}, dict):
        raise invalid_template(f"The properties of the type of '{path}' must be an object. {HELP}", path=path)
    reference = found.pop("$ref", None)
    if reference is not None:
        name = str(reference).removeprefix("#/definitions/")
        if name == reference or find_member(template.definitions, name) is None or depth > 32:
            raise invalid_template(
                f"The type reference '{reference}' of '{path}' could not be resolved", path=path
            )
        spelled = find_member(template.definitions, name)
        target = resolved_type(template, template.definitions[str(spelled)], path, depth + 1)
        found = {**target, **found}
    kind = str(found.get("type", "")).lower()
    if kind not in TYPES:
        raise invalid_template(
            f"The template parameter '{path}' has the type '{found.get('type')}', which is not valid. "
            "Supported types "
            f"are '{','.join(SPELLED.values())}'. {HELP}",
            path=path,
        )
    return {**found, "type": kind}


def holds_secret(template: Template, whole: Json, path: str, depth: int = 0) -> bool:
    """Whether a type is secure, or any part of it."""
    if whole["type"] in SECURE:
        return True
    if depth > 8:
        return False
    variants = (whole.get("discriminator") or {}).get("mapping") or {}
    parts = [*(whole.get("properties") or {}).values(), whole.get("items"), whole.get("additionalProperties")]
    parts += [*(whole.get("prefixItems") or []), *variants.values()]
    return any(
        holds_secret(template, resolved_type(template, part, path), path, depth + 1)
        for part in parts
        if isinstance(part, dict) and ("type" in part or "$ref" in part)
    )


def _check(template: Template, whole: Json, value: Any, path: str, parameter: str) -> None:
    if value is None and (whole.get("nullable") or path == parameter):
        if whole.get("nullable") or "defaultValue" in whole:
            return
        raise _not_valid(template, parameter, path, f"The value is null. {HELP_FILE}")
    expected = TYPES[whole["type"]]
    actual = "Integer" if isinstance(value, float) and value == int(value) else type_name(value)
    if actual != expected and path == parameter:
        line, column = template.place("parameters", parameter)
        wanted = "String, Uri" if expected == "String" else expected
        raise invalid_template(
            f"Template parameter JToken type is not valid. Expected '{wanted}'. Actual '{actual}'. "
            f"{HELP_FILE}",
            line=line,
            column=column,
            path=f"parameters.{parameter}",
        )
    if actual != expected:
        raise _not_valid(
            template,
            parameter,
            path,
            f"Expected a value of type '{expected}', but received a value of type '{actual}'. {HELP_FILE}",
        )
    _check_limits(template, whole, value, path, parameter)
    if isinstance(value, list):
        _check_items(template, whole, value, path, parameter)
    if isinstance(value, dict):
        _check_members(template, whole, value, path, parameter)
        _check_variant(template, whole, value, path, parameter)


def _check_items(template: Template, whole: Json, value: list[Any], path: str, parameter: str) -> None:
    """The items of an array: the first by their places (`prefixItems`: a tuple), others by `items`."""
    first, others = list(whole.get("prefixItems") or []), whole.get("items")
    if first and (len(value) < len(first) or (others is False and len(value) > len(first))):
        word = "greater" if len(value) < len(first) else "less"
        why = f"Length of the value should be {word} than or equal to '{len(first)}'. {HELP_FILE}"
        raise _not_valid(template, parameter, path, why)
    for i, item in enumerate(value):
        definition = first[i] if i < len(first) else others
        if isinstance(definition, dict):
            _check(template, resolved_type(template, definition, path), item, f"{path}[{i}]", parameter)


def _check_variant(template: Template, whole: Json, value: Json, path: str, parameter: str) -> None:
    """An object whose `discriminator` names the member that says which of several types it has."""
    discriminator = whole.get("discriminator")
    if not isinstance(discriminator, dict):
        return
    name, mapping = str(discriminator.get("propertyName")), discriminator.get("mapping") or {}
    spelled = find_member(value, name)
    if spelled is None:
        raise _not_valid(template, parameter, path, f"The property '{name}' is missing. {HELP_FILE}")
    chosen = value[spelled]
    if not isinstance(chosen, str) or chosen not in mapping:
        why = f"The parameter value is not part of the allowed value(s): '{','.join(mapping)}'."
        shown = None if whole["type"] in SECURE else chosen
        raise _not_valid(template, parameter, f"{path}.{name}", why, shown)
    _check_members(template, resolved_type(template, mapping[chosen], path), value, path, parameter)


def _check_members(template: Template, whole: Json, value: Json, path: str, parameter: str) -> None:
    properties = whole.get("properties") or {}
    for name, definition in properties.items():
        inner = resolved_type(template, definition, path)
        spelled = find_member(value, name)
        if spelled is None and not inner.get("nullable"):
            raise _not_valid(template, parameter, path, f"The property '{name}' is missing. {HELP_FILE}")
        if spelled is not None:
            _check(template, inner, value[spelled], f"{path}.{name}", parameter)
    others = [name for name in value if find_member(properties, name) is None]
    more = whole.get("additionalProperties")
    if more is False and others:
        raise _not_valid(template, parameter, path, f"The property '{others[0]}' is not allowed. {HELP_FILE}")
    if isinstance(more, dict) and ("type" in more or "$ref" in more):
        inner = resolved_type(template, more, path)
        for name in others:
            _check(template, inner, value[name], f"{path}.{name}", parameter)


def _check_limits(template: Template, whole: Json, value: Any, path: str, parameter: str) -> None:
    allowed = whole.get("allowedValues")
    if isinstance(allowed, list) and not _is_allowed(value, allowed):
        raise _not_valid(
            template,
            parameter,
            path,
            f"The parameter value is not part of the allowed value(s): '{','.join(map(str, allowed))}'.",
            None if whole["type"] in SECURE else value,
        )
    size = len(value) if isinstance(value, str | list) else None
    for name, measured, noun in (
        ("minLength", size, "Length of the value"),
        ("maxLength", size, "Length of the value"),
        ("minValue", value, "The value"),
        ("maxValue", value, "The value"),
    ):
        limit = whole.get(name)
        if limit is None or isinstance(measured, bool) or measured is None:
            continue
        low = name.startswith("min")
        broken = in_order(measured, limit) if low else in_order(limit, measured)
        if broken:
            word = "greater" if low else "less"
            raise _not_valid(
                template, parameter, path, f"{noun} should be {word} than or equal to '{limit}'. {HELP_FILE}"
            )


def _is_allowed(value: Any, allowed: list[Any]) -> bool:
    """An array may be one of the allowed values, or have nothing but allowed items."""
    if any(equal(value, one) for one in allowed):
        return True
    return isinstance(value, list) and all(any(equal(item, one) for one in allowed) for item in value)


def _not_valid(template: Template, parameter: str, path: str, why: str, shown: Any = None) -> AzureError:
    """The value of a parameter is refused. `shown` is the value, where Azure says it and it is no secret."""
    line, column = template.place("parameters", parameter)
    value = f"value '{shown}'" if isinstance(shown, str | int) else "value"
    where = "" if path == parameter else f" at '{path}'"
    return invalid_template(
        f"The provided {value} for the template parameter '{parameter}'{where} at line '{line}' and column "
        f"'{column}' is not valid. {why}",
        line=line,
        column=column,
        path=f"parameters.{parameter}",
    )
