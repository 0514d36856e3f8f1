"""A template with what it was given and where it goes: the scope of its expressions, and its graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from vmstamp.arm.shape import Json
from vmstamp.arm.template.evaluate import evaluate, evaluate_loop, variable_definitions, variable_value
from vmstamp.arm.template.faults import ExpressionError
from vmstamp.arm.template.graph import Graph, make_graph
from vmstamp.arm.template.parameters import Given, resolve_parameters
from vmstamp.arm.template.scope import BeforeDeployment, Budget, Lazy, Place, Scope, known
from vmstamp.arm.template.template import Template
from vmstamp.arm.template.values import check_size
from vmstamp.resource_id import ResourceId


class NotExpected:
    """The runtime of variables and defaults, in which nothing that is deployed may be named."""

    def _refuse(self, name: str) -> ExpressionError:
        return ExpressionError(
            f"The template function '{name}' is not expected at this location. Please see "
            "https://aka.ms/arm-functions for usage details."
        )

    def reference(self, name: str, api_version: str, full: bool) -> Any:
        raise self._refuse("reference")

    def references(self, symbol: str, full: bool) -> list[Any]:
        raise self._refuse("references")

    def information(self, symbol: str) -> Json:
        raise self._refuse("resourceInfo")

    def list_action(self, name: str, id: str, api_version: str, body: Any) -> Any:
        raise self._refuse(name)


@dataclass(frozen=True)
class Opened:
    """A template that is ready to be deployed to `home`, a group or the subscription."""

    template: Template
    given: Given
    scope: Scope
    graph: Graph
    home: ResourceId


@dataclass(frozen=True)
class Setting:
    """What surrounds a template: `outer` is the scope that it is nested in, when its expressions see that."""

    place: Place
    home: ResourceId
    now: datetime
    outer: Scope | None = None
    budget: Budget = field(default_factory=Budget)


def open_template(template: Template, values: Mapping[str, Any], setting: Setting) -> Opened:
    """Resolve the parameters and unroll the resources. Raises AzureError in Azure's words."""
    if setting.outer is not None:
        given = resolve_parameters(
            template, values, lambda value, lazy: evaluate(value, _without_now(setting))
        )
        scope = replace(setting.outer, runtime=BeforeDeployment(), partial=False)
    else:
        given = resolve_parameters(
            template, values, lambda value, lazy: evaluate(value, _defaults(template, setting, lazy))
        )
        scope = _scope(template, given, setting)
    return Opened(template, given, scope, make_graph(template, scope, setting.home), setting.home)


def _without_now(setting: Setting) -> Scope:
    assert setting.outer is not None
    return replace(setting.outer, now=setting.now, partial=False)


def _defaults(template: Template, setting: Setting, parameters: Lazy) -> Scope:
    """The scope of parameters' defaults: other parameters and functions, no variables."""
    return Scope(
        setting.place,
        parameters,
        known({}, "variable"),
        template.functions,
        NotExpected(),
        setting.budget,
        now=setting.now,
    )


def _scope(template: Template, given: Given, setting: Setting) -> Scope:
    definitions = variable_definitions(template.variables)
    parameters = known(given.values, "parameter")

    def make(name: str) -> Any:
        try:
            return variable_value(definitions, name, replace(scope, runtime=NotExpected()))
        except ExpressionError as error:
            raise ExpressionError(f"The template variable '{name}' is not valid: {error.message}") from error

    variables = Lazy(definitions, make, "variable")
    scope = Scope(setting.place, parameters, variables, template.functions, budget=setting.budget)
    return scope


def evaluate_outputs(template: Template, scope: Scope) -> Json:
    """The outputs of a deployment: `{"name": {"type", "value"}}`, of a secure one the type alone.

    Raises ExpressionError that names the output.
    """
    found: Json = {}
    for name, output in template.outputs.items():
        try:
            if evaluate(output.get("condition", True), scope) is False:
                continue
            loop = output.get("copy")
            if isinstance(loop, dict):
                value: Any = evaluate_loop({"name": "", **loop}, scope, unnamed=True)
                check_size(value)
            else:
                value = evaluate(output.get("value"), scope)
        except ExpressionError as error:
            raise ExpressionError(f"{name}: {error.message}") from error
        kind = str(output.get("type", "")).lower()
        spelled = _SPELLED.get(kind, str(output.get("type", "")))
        found[name] = {"type": spelled} if kind.startswith("secure") else {"type": spelled, "value": value}
    return found


_SPELLED = {
    "string": "String",
    "int": "Int",
    "bool": "Bool",
    "array": "Array",
    "object": "Object",
    "securestring": "SecureString",
    "secureobject": "SecureObject",
}
