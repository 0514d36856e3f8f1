"""Rules of templates: what Azure says of one that cannot be deployed, where it says that the fault lies."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

import requests

from tests.client.arm.parity.row import GROUP, TIMEOUT, Row, ask
from tests.client.arm.parity.rows_deployments import ADDRESS, DEPLOYMENT, SCHEMA, body, rest

TITLE: Final = "Templates"
HELP: Final = "Please see https://aka.ms/arm-functions for usage details."
NETWORK: Final = "Microsoft.Network/networkSecurityGroups"
LOCKS: Final = "Microsoft.Authorization/locks"
NONE: Final = (0, 0, "")  # the place of what has none


def template(*lines: str) -> str:
    """The text of a template: its schema and version in lines 2 and 3, then these."""
    head = ("{", f'  "$schema": "{SCHEMA}",', '  "contentVersion": "1.0.0.0",')
    return "\n".join((*head, *lines, "}"))


def resources(*bodies: str, sections: tuple[str, ...] = ()) -> str:
    """A template of network security groups, the first in line 5; `sections` come before the resources."""
    kind = f'"type": "{NETWORK}", "apiVersion": "2023-09-01"'
    each = [f"    {{ {kind}, {one} }}" for one in bodies]
    return template(*sections, '  "resources": [', ",\n".join(each), "  ]")


def sent(text: str, **given: Any) -> Callable[[Any], requests.Response]:
    """A deployment whose template is the text as it is: so az sends files."""
    values = json.dumps({name: {"value": value} for name, value in given.items()})

    def send(arm: Any) -> requests.Response:
        whole = f'{{"properties": {{"mode": "Incremental", "parameters": {values}, "template": {text}}}}}'
        with requests.Session() as session:
            session.trust_env = False
            reply = session.put(
                f"{arm.url}{DEPLOYMENT}?api-version=2024-11-01",
                data=whole.encode(),
                headers={"Authorization": "Bearer a token of the tests", "Content-Type": "application/json"},
                timeout=TIMEOUT,
                verify=arm.options["connection_verify"],
            )
        rest(arm)
        return reply

    return send


def at(line: int, position: int, path: str) -> Callable[[requests.Response], bool]:
    """Whether a refusal says this place."""

    def holds(reply: requests.Response) -> bool:
        (found,) = reply.json()["error"]["additionalInfo"]
        info = {"lineNumber": line, "linePosition": position, "path": path}
        return bool(found == {"type": "TemplateViolation", "info": info})

    return holds


def _no_place(reply: requests.Response) -> bool:
    return "additionalInfo" not in reply.json()["error"]


def invalid(
    rule: str,
    evidence: str,
    text: str,
    message: str,
    place: tuple[int, int, str] | None,
    **given: Any,
) -> Row:
    """A template that is refused before anything is made."""
    holds = at(*place) if place else _no_place
    return Row(rule, evidence, sent(text, **given), 400, "InvalidTemplate", message, holds=holds)


def failed(message: str) -> str:
    return f"Deployment template validation failed: '{message}'."


def _lock(where: str) -> dict[str, Any]:
    kind = {"type": LOCKS, "apiVersion": "2020-05-01", "name": "kept"}
    return {**kind, "scope": where, "dependsOn": ["ip1"], "properties": {"level": "CanNotDelete"}}


def _locked(arm: Any) -> requests.Response:
    """The deletion of an address that a template has locked."""
    address = "[resourceId('Microsoft.Network/publicIPAddresses', 'ip1')]"
    ask(arm, "PUT", DEPLOYMENT, body(ADDRESS, _lock(address)))
    rest(arm)
    return ask(arm, "DELETE", f"{GROUP}/providers/Microsoft.Network/publicIPAddresses/ip1")


def _lock_of_a_group(arm: Any) -> requests.Response:
    """A lock that a template of a group declares without a scope."""
    bare = {name: value for name, value in _lock("").items() if name not in ("scope", "dependsOn")}
    ask(arm, "PUT", DEPLOYMENT, body(bare))
    rest(arm)
    return ask(arm, "GET", f"{GROUP}/providers/{LOCKS}/kept", api="2020-05-01")


ROWS: Final = (
    invalid(
        "a name that asks for what is not deployed yet",
        "I",
        resources('"name": "[reference(\'x\').y]"'),
        failed(
            "The template resource '[reference('x').y]' at line '5' and column '5' is not valid: The "
            f"template function 'reference' is not expected at this location. {HELP}. {HELP}"
        ),
        (5, 5, "properties.template.resources[0]"),
    ),
    invalid(
        "a name beyond an array's end",
        "I",
        resources('"name": "[createArray()[2]]"'),
        failed(
            "The template resource '[createArray()[2]]' at line '5' and column '5' is not valid: The "
            f"language expression property array index '2' is out of bounds.. {HELP}"
        ),
        (5, 5, "properties.template.resources[0]"),
    ),
    invalid(
        "a name of too many segments",
        "DI",
        resources('"name": "one/two"'),
        failed(
            f"The template resource 'one/two' for type '{NETWORK}' at line '5' and column '55' has incorrect "
            "segment lengths. A nested resource type must have identical number of segments as its resource "
            "name. A root resource type must have segment length one greater than its resource name. Please "
            "see https://aka.ms/arm-syntax-resources for usage details."
        ),
        (5, 55, "properties.template.resources[0].type"),
    ),
    invalid(
        "two resources of one name",
        "I",
        resources('"name": "one"', '"name": "One"'),
        failed(
            f"The resource '{NETWORK}/One' at line '6' and column '5' is defined multiple times in a "
            "template. Please see https://aka.ms/arm-syntax-resources for usage details."
        ),
        (6, 5, "properties.template.resources[1]"),
    ),
    invalid(
        "a dependency on a resource that the template does not have",
        "D",
        resources(f'"name": "one", "dependsOn": [ "[resourceId(\'{NETWORK}\', \'none\')]" ]'),
        failed(
            f"The resource '{NETWORK}/none' is not defined in the template. Please see "
            "https://aka.ms/arm-syntax for usage details."
        ),
        NONE,
    ),
    invalid(
        "a dependency on a name that the template does not have",
        "I",
        resources('"name": "one", "dependsOn": [ "none" ]'),
        failed(
            "The template reference 'none' is not valid: could not find template resource or resource copy "
            "with this name. Please see https://aka.ms/arm-function-reference for usage details."
        ),
        NONE,
    ),
    invalid(
        "a reference to a name that the template does not have",
        "I",
        resources('"name": "one", "properties": { "x": "[reference(\'none\').y]" }'),
        failed(
            "The template reference 'none' is not valid: could not find template resource or resource copy "
            "with this name. Please see https://aka.ms/arm-function-reference for usage details."
        ),
        NONE,
    ),
    invalid(
        "a reference without an api-version to what the template does not have",
        "I",
        resources(
            f'"name": "one", "properties": {{ "x": "[reference(resourceId(\'{NETWORK}\', \'none\')).y]" }}'
        ),
        failed(
            f"The template resource '{NETWORK}/one' reference to '{NETWORK}/none' requires an API version. "
            "Please see ... for usage details."
        ),
        NONE,
    ),
    invalid(
        "a resource that references itself",
        "I",
        resources('"name": "one", "properties": { "x": "[reference(\'one\').y]" }'),
        failed(
            f"The template resource '{NETWORK}/one' cannot reference itself. Please see ... for usage "
            "details."
        ),
        NONE,
    ),
    invalid(
        "resources that wait for each other",
        "I",
        resources('"name": "one", "dependsOn": [ "two" ]', '"name": "two", "dependsOn": [ "one" ]'),
        failed(
            f"Circular dependency detected on resource: '{GROUP}/providers/{NETWORK}/one'. Please see "
            "https://aka.ms/arm-syntax-resources for usage details."
        ),
        None,
    ),
    invalid(
        "a loop without a number",
        "I",
        resources('"name": "[string(copyIndex())]", "copy": { "name": "l", "count": "[string(1)]" }'),
        failed(
            "The template 'copy' definition at line '5' and column '127' has an invalid copy count of: "
            "'[string(1)]'. The copy count must be a non-negative integer value and cannot exceed '800'. "
            "Please see https://aka.ms/arm-resource-loops for usage details."
        ),
        (5, 127, "properties.template.resources[0].copy"),
    ),
    invalid(
        "a serial loop of more at a time than there are",
        "DI",
        resources(
            '"name": "[string(copyIndex())]", '
            '"copy": { "name": "l", "count": 2, "mode": "Serial", "batchSize": 5 }'
        ),
        failed(
            "The template 'copy' definition at line '5' and column '127' has an invalid copy batch size. The "
            "copy batch size must be a non-negative integer value and cannot exceed the copy count '2'. "
            "Please see https://aka.ms/arm-resource-loops for usage details."
        ),
        (5, 127, "properties.template.resources[0].copy"),
    ),
    invalid(
        "a variable that cannot be evaluated",
        "I",
        resources(
            '"name": "[variables(\'v\')]"',
            sections=('  "variables": { "v": "[createObject(\'a\', 1).domain]" },',),
        ),
        failed(
            "The template variable 'v' is not valid: The language expression property 'domain' doesn't "
            f"exist, available properties are 'a'.. {HELP}"
        ),
        (4, 53, "properties.template.variables.v"),
    ),
    invalid(
        "a name of a variable that is not there",
        "I",
        resources('"name": "[variables(\'v\')]"'),
        failed(
            "The template variable 'v' is not found. Please see https://aka.ms/arm-syntax-variables for "
            "usage details."
        ),
        (5, 5, "properties.template.resources[0]"),
    ),
    invalid(
        "a body with a parameter that is not there",
        "I",
        resources('"name": "one", "properties": { "x": "[parameters(\'p\')]" }'),
        f"Unable to process template language expressions for resource '{GROUP}/providers/{NETWORK}/one' at "
        "line '5' and column '5'. 'The template parameter 'p' is not found. Please see "
        "https://aka.ms/arm-syntax-parameters for usage details.'",
        (5, 5, ""),
    ),
    invalid(
        "a user function whose name is none",
        "I",
        template(
            '  "functions": [ { "namespace": "own", "members": { "my-own": {} } } ],', '  "resources": []'
        ),
        failed(
            "The template function 'my-own' at line '4' and column '63' is not valid. The function name "
            "contains invalid characters '-'. Please see ... for usage details."
        ),
        (4, 63, "properties.template.functions[0].members.my-own"),
    ),
    invalid(
        "a user function whose namespace is none",
        "I",
        template('  "functions": [ { "namespace": "my-own", "members": {} } ],', '  "resources": []'),
        failed(
            "The template function at line '4' and column '40' is not valid. The function namespace 'my-own' "
            "contains invalid characters '-'. Please see ... for usage details."
        ),
        (4, 40, "properties.template.functions[0].namespace"),
    ),
    Row(
        "a lock that a template lays on one of its resources",
        "D",
        _locked,
        409,
        "ScopeLocked",
        "The scope '...' cannot perform delete operation because following scope(s) are locked: '...'. "
        "Please remove the lock and try again.",
    ),
    Row(
        "a lock that a template lays on its group",
        "D",
        _lock_of_a_group,
        200,
        holds=lambda reply: reply.json()["properties"] == {"level": "CanNotDelete"},
    ),
    invalid(
        "a scope of what cannot lie on another resource",
        "I",
        resources('"name": "one"', f'"name": "two", "scope": "{NETWORK}/one"'),
        failed(
            "The template resource 'two' at line '6' and column '5' is invalid. 'Scope' property is not "
            "supported. Please see https://aka.ms/arm-syntax-resources for usage details."
        ),
        (6, 5, "properties.template.resources[1]"),
    ),
)
