"""A template with what it was given and where it goes: the scope of its expressions, and its graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from vmstamp.arm.resource import Json
from vmstamp.arm.template.evaluate import evaluate, variable_definitions, variable_value
from vmstamp.arm.template.faults import HELP_FUNCTIONS, ExpressionError, NotFound, SectionError, SyntaxFault
from vmstamp.arm.template.graph import Graph, make_graph
from vmstamp.arm.template.parameters import Given, resolve_parameters
from vmstamp.arm.template.scope import BeforeDeployment, Budget, Lazy, Place, Scope, known
from vmstamp.arm.template.template import Template
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
    return Opened(
        template,
        given,
        scope,
        make_graph(template, scope, setting.home, nested=setting.outer is not None),
        setting.home,
    )


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
        except (SectionError, NotFound, SyntaxFault):
            raise
        except ExpressionError as error:
            raise SectionError(
                f"The template variable '{name}' is not valid: {error.message}. {HELP_FUNCTIONS}",
                template.place("variables", name),
                f"variables.{name}",
            ) from error

    variables = Lazy(definitions, make, "variable")
    scope = Scope(setting.place, parameters, variables, template.functions, budget=setting.budget)
    return scope
