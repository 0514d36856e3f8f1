"""The outputs of a template: their values once all is deployed, checked against their types.

Document: Outputs in ARM templates; Output iteration.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vmstamp.arm.shape import Json
from vmstamp.arm.template.evaluate import evaluate, evaluate_loop
from vmstamp.arm.template.faults import ExpressionError
from vmstamp.arm.template.parameters import SPELLED, TYPES, resolved_type
from vmstamp.arm.template.reader import place_of
from vmstamp.arm.template.scope import Scope
from vmstamp.arm.template.template import Template
from vmstamp.arm.template.values import check_size, type_name


class OutputsFault(ExpressionError):
    """Outputs cannot be told: `problems` has the name of each and why."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__(f"The template outputs '{', '.join(problems)}' are not valid")
        self.problems = problems


def evaluate_outputs(template: Template, scope: Scope) -> Json:
    """The outputs of a deployment: `{"name": {"type", "value"}}`, of a secure one the type alone.

    Raises OutputsFault.
    """
    found: Json = {}
    problems: dict[str, str] = {}
    for name, output in template.outputs.items():
        try:
            if evaluate(output.get("condition", True), scope) is False:
                continue
            found[name] = _shown(template, name, output, _value(output, scope))
        except ExpressionError as error:
            problems[name] = error.message
    if problems:
        raise OutputsFault(problems)
    return found


def _value(output: Mapping[str, Any], scope: Scope) -> Any:
    loop = output.get("copy")
    if not isinstance(loop, dict):
        return evaluate(output.get("value"), scope)
    found = evaluate_loop({"name": "", **loop}, scope, place_of(output, "copy"), unnamed=True)
    check_size(found)
    return found


def _shown(template: Template, name: str, output: Mapping[str, Any], value: Any) -> Json:
    whole = resolved_type(template, output, name)
    kind = whole["type"]
    actual = "Integer" if isinstance(value, float) and value == int(value) else type_name(value)
    if actual != TYPES[kind] and not (value is None and whole.get("nullable")):
        raise ExpressionError(
            f"Template output JToken type is not valid. Expected '{TYPES[kind]}'. Actual '{actual}'."
            "Please see https://aka.ms/arm-syntax-outputs for usage details."
        )
    return {"type": SPELLED[kind]} | ({} if kind.startswith("secure") else {"value": value})
