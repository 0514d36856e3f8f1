"""The outputs of a template: their values once all is deployed, checked against their types.

Document: Outputs in ARM templates; Output iteration.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vmstamp.arm.resource import Json
from vmstamp.arm.template.evaluate import evaluate, evaluate_loop
from vmstamp.arm.template.faults import ExpressionError
from vmstamp.arm.template.parameters import SECURE, SPELLED, TYPES, resolved_type
from vmstamp.arm.template.reader import place_of
from vmstamp.arm.template.scope import Scope
from vmstamp.arm.template.template import Template
from vmstamp.arm.template.values import check_size, type_name


class OutputsFault(ExpressionError):
    """Outputs cannot be told: `problems` has the name of each and why."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__(f"The template outputs '{', '.join(problems)}' are not valid")
        self.problems = problems


@dataclass(frozen=True)
class Outputs:
    """The outputs of a deployment: the values by name, and the types in lower case."""

    values: Mapping[str, Any]
    types: Mapping[str, str]

    @property
    def shown(self) -> Json:
        """As its document shows them, `{"name": {"type", "value"}}`: of a secure one the type alone."""
        return {
            name: {"type": SPELLED[kind]} | ({} if kind in SECURE else {"value": self.values[name]})
            for name, kind in self.types.items()
        }

    @property
    def secure(self) -> list[Any]:
        """The values of the secure ones."""
        return [self.values[name] for name, kind in self.types.items() if kind in SECURE]


def evaluate_outputs(template: Template, scope: Scope) -> Outputs:
    """The outputs of a deployment. Raises OutputsFault."""
    values: dict[str, Any] = {}
    types: dict[str, str] = {}
    problems: dict[str, str] = {}
    for name, output in template.outputs.items():
        try:
            if evaluate(output.get("condition", True), scope) is False:
                continue
            values[name] = _value(output, scope)
            types[name] = _checked_type(template, name, output, values[name])
        except ExpressionError as error:
            problems[name] = error.message
    if problems:
        raise OutputsFault(problems)
    return Outputs(values, types)


def _value(output: Mapping[str, Any], scope: Scope) -> Any:
    loop = output.get("copy")
    if not isinstance(loop, dict):
        return evaluate(output.get("value"), scope)
    found = evaluate_loop({"name": "", **loop}, scope, place_of(output, "copy"), unnamed=True)
    check_size(found)
    return found


def _checked_type(template: Template, name: str, output: Mapping[str, Any], value: Any) -> str:
    """The type of an output, in lower case. Raises ExpressionError when its value has another one."""
    whole = resolved_type(template, output, name)
    kind = str(whole["type"])
    actual = "Integer" if isinstance(value, float) and value == int(value) else type_name(value)
    if actual != TYPES[kind] and not (value is None and whole.get("nullable")):
        raise ExpressionError(
            f"Template output JToken type is not valid. Expected '{TYPES[kind]}'. Actual '{actual}'."
            "Please see https://aka.ms/arm-syntax-outputs for usage details."
        )
    return kind
