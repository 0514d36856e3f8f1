"""Templates with anything anywhere: each is taken or refused in Azure's name, never by accident."""

import copy
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.arm.template_words import PLACE, SCHEMA, document, resource
from vmstamp.arm.template.faults import Deferred, ExpressionError
from vmstamp.arm.template.opened import Setting, open_template
from vmstamp.arm.template.outputs import evaluate_outputs
from vmstamp.arm.template.reader import ReadError, read
from vmstamp.arm.template.request import read_request
from vmstamp.errors import AzureError
from vmstamp.resource_id import ResourceId

WHOLE: dict[str, Any] = {
    "properties": {
        "mode": "Incremental",
        "parameters": {"p": {"value": 1}},
        "expressionEvaluationOptions": {"scope": "inner"},
        "template": {
            **document(
                (
                    resource("one", tags={"a": "[parameters('p')]"}, condition=True),
                    resource(
                        "[concat('n', copyIndex())]",
                        copy={"name": "l", "count": 2, "mode": "serial", "batchSize": 1},
                        dependsOn=["one"],
                        properties={"copy": [{"name": "x", "count": 2, "input": "[copyIndex('x')]"}]},
                    ),
                    resource("two", resources=[resource("child", "d")]),
                    resource(
                        "inner",
                        "Microsoft.Resources/deployments",
                        properties={"mode": "Incremental", "template": document(), "parameters": {}},
                    ),
                ),
                parameters={
                    "p": {"type": "int", "minValue": 0, "allowedValues": [1]},
                    "q": {"$ref": "#/definitions/t"},
                },
                definitions={
                    "t": {"type": "object", "nullable": True, "properties": {"a": {"type": "string"}}}
                },
                variables={"v": "[createArray(1)]", "copy": [{"name": "w", "count": 1, "input": 1}]},
                functions=[
                    {
                        "namespace": "n",
                        "members": {
                            "f": {"parameters": [{"name": "a"}], "output": {"value": "[parameters('a')]"}}
                        },
                    }
                ],
                outputs={
                    "o": {"type": "int", "value": "[n.f(variables('v')[0])]"},
                    "c": {"copy": {"count": 1}},
                },
            ),
            "$schema": SCHEMA,
        },
    }
}
ODD: list[Any] = [
    None,
    True,
    -1,
    1.5,
    "",
    "x",
    "[",
    "[x]",
    "[reference('one')]",
    [],
    [None],
    [[]],
    {},
    {"a": None},
    {"copy": 1},
]


def paths(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [here] if here else []
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in pairs:
        found += paths(item, (*here, key))
    return found


PATHS = paths(WHOLE)


def fetch(url: str) -> str:
    raise AzureError(400, "InvalidContentLink", url)


def deploy(body: Any) -> None:
    asked = read_request(body, fetch)
    setting = Setting(PLACE, ResourceId("sub", "rg"), datetime(2024, 1, 1, tzinfo=UTC))
    opened = open_template(asked.template, asked.values, setting)
    evaluate_outputs(opened.template, opened.scope)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from(PATHS), st.sampled_from(ODD)), min_size=1, max_size=3))
def test_anything_anywhere_is_taken_or_refused(changes: list[tuple[tuple[Any, ...], Any]]) -> None:
    body = copy.deepcopy(WHOLE)
    for path, value in changes:
        owner: Any = body
        try:
            for key in path[:-1]:
                owner = owner[key]
            owner[path[-1]] = copy.deepcopy(value)
        except (KeyError, IndexError, TypeError):
            continue
    with suppress(AzureError, ExpressionError, Deferred):
        deploy(body)


def test_the_template_that_is_changed_above_is_a_good_one() -> None:
    body = copy.deepcopy(WHOLE)
    body["properties"]["template"]["outputs"]["c"] = {"type": "array", "copy": {"count": 1, "input": 1}}
    deploy(body)


@given(st.text(alphabet='{}[]",:/*\n\\ ab1-.e', max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        read(text)
    except ReadError as error:
        assert "line " in error.message
