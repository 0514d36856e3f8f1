"""Templates to steps: sections, loops, conditions, what waits for what, and what is refused."""

import re
from typing import Any

import pytest

from tests.unit.arm.template_words import PREFIX, document, opened, resource
from vmstamp.arm.template.evaluate import evaluate
from vmstamp.arm.template.outputs import OutputsFault, evaluate_outputs
from vmstamp.arm.template.reader import ReadError, read
from vmstamp.errors import AzureError


def waits(template: dict[str, Any]) -> dict[str, set[str]]:
    steps = opened(template).graph.steps
    names = {step.key: "/".join(step.id.names) for step in steps}
    return {names[step.key]: {names[key] for key in step.waits} for step in steps}


def refusal(template: Any, given: dict[str, Any] | None = None, group: str = "rg") -> AzureError:
    with pytest.raises(AzureError) as caught:
        opened(template, given, group)
    return caught.value


# -- what waits for what


@pytest.mark.parametrize(
    "word",
    [
        "one",
        "A.B/c/one",
        "[resourceId('A.B/c', 'one')]",
        "[concat('A.B/c/', 'one')]",
        f"{PREFIX}/a.b/C/ONE",
    ],
)
def test_a_dependency_may_be_spelled_in_every_way(word: str) -> None:
    assert waits(document((resource("one"), resource("two", dependsOn=[word])))) == {
        "one": set(),
        "two": {"one"},
    }


@pytest.mark.parametrize(
    "word", ["A.B/c/d/one/sub", "A.B/c/one/d/sub", "one/sub", "[resourceId('A.B/c/d', 'one', 'sub')]"]
)
def test_a_child_may_be_waited_for_in_every_way(word: str) -> None:
    child = resource("one/sub", "A.B/c/d")
    assert waits(document((child, resource("two", dependsOn=[word]))))["two"] == {"one/sub"}


def test_a_loop_is_waited_for_as_a_whole() -> None:
    loop = resource("[concat('n', copyIndex(1))]", copy={"name": "loop", "count": 3})
    assert waits(document((loop, resource("last", dependsOn=["loop"])))) == {
        "n1": set(),
        "n2": set(),
        "n3": set(),
        "last": {"n1", "n2", "n3"},
    }


def test_a_serial_loop_goes_in_batches() -> None:
    loop = resource(
        "[concat('n', copyIndex())]", copy={"name": "l", "count": 5, "mode": "Serial", "batchSize": 2}
    )
    found = waits(document((loop,)))
    assert found == {"n0": set(), "n1": set(), "n2": {"n0", "n1"}, "n3": {"n0", "n1"}, "n4": {"n2", "n3"}}


def test_a_reference_is_waited_for() -> None:
    for text in (
        "[reference('one').x]",
        "[reference(resourceId('A.B/c', 'one'), '2024-01-01', 'Full').x]",
        "[listKeys(resourceId('A.B/c', 'one'), '2024-01-01').keys[0].value]",
        "[concat(variables('v'), reference(resourceId('A.B/c', variables('v'))).x)]",
    ):
        template = document(
            (resource("one"), resource("two", properties={"a": [text]})), variables={"v": "one"}
        )
        assert waits(template)["two"] == {"one"}


def test_a_reference_in_a_loop_of_properties_is_waited_for() -> None:
    loop = {"name": "items", "count": 2, "input": "[reference(concat('n', copyIndex('items'))).x]"}
    nodes = resource("[concat('n', copyIndex())]", copy={"name": "l", "count": 2})
    assert waits(document((nodes, resource("two", properties={"copy": [loop]}))))["two"] == {"n0", "n1"}


def test_what_a_condition_leaves_out_is_waited_for_by_nobody() -> None:
    template = document(
        (resource("one", condition="[equals(1, 2)]"), resource("two", dependsOn=["one"], condition=True)),
    )
    assert waits(template) == {"two": set()}


def test_symbolic_names() -> None:
    resources = {
        "net": resource("one"),
        "nodes": resource("[format('n{0}', copyIndex())]", copy={"name": "nodes", "count": 2}),
        "old": {"existing": True, **resource("there")},
        "last": resource(
            "two", dependsOn=["net", "nodes[1]", "old"], properties={"id": "[resourceInfo('net').id]"}
        ),
        "all": resource("three", dependsOn=["nodes"]),
        "reader": resource("four", properties={"x": "[reference('net').y]"}),
    }
    found = waits(document(resources, languageVersion="2.0"))
    assert found["two"] == {"one", "n1", "there"}
    assert found["three"] == {"n0", "n1"} and found["four"] == {"one"}


def test_children_have_their_parents_type_and_name() -> None:
    grandchild = resource("g", "e")
    child = {**resource("[parameters('p')]", "d"), "resources": [grandchild], "dependsOn": ["one"]}
    template = document(
        (resource("one", resources=[child]),), parameters={"p": {"type": "string", "defaultValue": "s"}}
    )
    steps = opened(template).graph.steps
    assert [str(step.id) for step in steps] == [
        f"{PREFIX}/A.B/c/one",
        f"{PREFIX}/A.B/c/one/d/s",
        f"{PREFIX}/A.B/c/one/d/s/e/g",
    ]


def test_the_preview_keeps_what_only_the_run_can_tell() -> None:
    body: dict[str, Any] = {"tags": {"a": "[concat('b', 'c')]"}, "properties": {"x": "[reference('one').y]"}}
    steps = opened(document((resource("one"), resource("two", **body)))).graph.steps
    assert steps[1].preview == {"tags": {"a": "bc"}, "properties": {"x": "[reference('one').y]"}}


# -- variables, user functions, outputs


def test_variables_and_their_loops() -> None:
    variables = {
        "copy": [{"name": "names", "count": 2, "input": "[concat('n', copyIndex('names'))]"}],
        "holder": {"copy": [{"name": "inner", "count": 2, "input": "[copyIndex('inner', 5)]"}], "x": 1},
        "chain": "[concat(variables('names')[1], '!')]",
    }
    scope = opened(document(variables=variables)).scope
    assert evaluate("[variables('names')]", scope) == ["n0", "n1"]
    assert evaluate("[variables('holder')]", scope) == {"inner": [5, 6], "x": 1}
    assert evaluate("[variables('CHAIN')]", scope) == "n1!"


def test_outputs() -> None:
    template = document(
        outputs={
            "a": {"type": "string", "value": "[my.upper('x')]"},
            "b": {"type": "array", "copy": {"count": 2, "input": "[copyIndex()]"}},
            "c": {"type": "securestring", "value": "secret"},
            "d": {"type": "int", "value": 1, "condition": False},
        },
        functions=[
            {
                "namespace": "my",
                "members": {
                    "upper": {
                        "parameters": [{"name": "t", "type": "string"}],
                        "output": {"type": "string", "value": "[toUpper(parameters('t'))]"},
                    }
                },
            }
        ],
    )
    found = opened(template)
    assert evaluate_outputs(found.template, found.scope).shown == {
        "a": {"type": "String", "value": "X"},
        "b": {"type": "Array", "value": [0, 1]},
        "c": {"type": "SecureString"},
    }


# -- parameters

TYPES: list[tuple[dict[str, Any], Any, str]] = [
    (
        {"type": "int"},
        "1",
        "Template parameter JToken type is not valid. Expected 'Integer'. Actual 'String'. Please see",
    ),
    ({"type": "string"}, 1, "Expected 'String, Uri'. Actual 'Integer'"),
    ({"type": "bool"}, "true", "Expected 'Boolean'. Actual 'String'"),
    ({"type": "string", "minLength": 3}, "ab", "Length of the value should be greater than or equal to '3'"),
    ({"type": "array", "maxLength": 1}, [1, 2], "Length of the value should be less than or equal to '1'"),
    ({"type": "int", "minValue": 3}, 2, "The value should be greater than or equal to '3'"),
    ({"type": "int", "maxValue": 3}, 4, "The value should be less than or equal to '3'"),
    (
        {"type": "string", "allowedValues": ["a", "b"]},
        "c",
        "is not valid. The parameter value is not part of the allowed value(s): 'a,b'.'",
    ),
    (
        {"type": "securestring", "allowedValues": ["a"]},
        "pass",
        "The provided value for the template parameter 'p' at line '0' and column '0' is not valid.",
    ),
    ({"type": "color"}, "x", "has the type 'color', which is not valid"),
    ({"$ref": "#/definitions/none"}, "x", "The type reference '#/definitions/none'"),
    ({"$ref": "#/definitions/pet"}, {"name": 1, "legs": 4}, "Expected a value of type 'String'"),
    ({"$ref": "#/definitions/pet"}, {"name": "x"}, "The property 'legs' is missing"),
    ({"$ref": "#/definitions/pet"}, {"name": "x", "legs": 4, "a": 1}, "The property 'a' is not allowed"),
    ({"type": "array", "items": {"type": "int"}}, [1, "a"], "at 'p[1]'"),
]
PET = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "legs": {"type": "int"},
        "tail": {"type": "string", "nullable": True},
    },
    "additionalProperties": False,
}


@pytest.mark.parametrize(("definition", "value", "said"), TYPES)
def test_a_value_that_does_not_fit_is_refused(definition: dict[str, Any], value: Any, said: str) -> None:
    template = document(parameters={"p": definition}, definitions={"pet": PET})
    error = refusal(template, {"p": value})
    assert error.code == "InvalidTemplate" and said in error.message and "a secret" not in error.message


def test_a_value_that_fits_its_type_is_taken() -> None:
    template = document(
        parameters={"p": {"$ref": "#/definitions/pet"}, "q": {"type": "string", "nullable": True}},
        definitions={"pet": PET},
    )
    assert opened(template, {"p": {"name": "x", "legs": 4}}).given.values == {
        "p": {"name": "x", "legs": 4},
        "q": None,
    }


def test_defaults_may_use_other_parameters_in_any_order() -> None:
    parameters = {
        "b": {"type": "string", "defaultValue": "[concat(parameters('a'), utcNow('yyyy'))]"},
        "a": {"type": "string", "defaultValue": "x"},
    }
    assert opened(document(parameters=parameters)).given.values == {"b": "x2024", "a": "x"}


def test_a_secure_value_is_not_shown() -> None:
    parameters = {"a": {"type": "securestring"}, "b": {"type": "secureobject"}, "c": {"type": "object"}}
    found = opened(document(parameters=parameters), {"a": "s", "b": {"x": "s"}, "c": {}}).given
    assert found.shown() == {
        "a": {"type": "SecureString"},
        "b": {"type": "SecureObject"},
        "c": {"type": "Object", "value": {}},
    }


# -- what is wrong, with its place

BROKEN = """{
  "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
  "contentVersion": "1.0.0.0",
  "parameters": { "p": { "type": "int" } },
  "resources": [
    // a comment
    { "type": "A.B/c", "apiVersion": "2024-01-01", "name": "%s", "properties": { "x": "%s" } }
  ]
}"""


@pytest.mark.parametrize(
    ("name", "x", "place", "path", "said"),
    [
        ("[nothing()]", "", (7, 5), "resources[0]", "The template function 'nothing' is not valid"),
        ("a/b", "", (7, 21), "resources[0].type", "has incorrect segment lengths"),
        ("[reference('x').y]", "", (7, 5), "resources[0]", "'reference' is not expected at this location"),
        ("", "", (7, 5), "resources[0]", "must be a string that is not empty"),
        ("a", "[variables('v')]", (7, 5), "", "The template variable 'v' is not found"),
        ("[variables('v')]", "", (7, 5), "resources[0]", "'The template variable 'v' is not found"),
        ("a", "[concat('a']", (0, 0), "", "expected token 'RightParenthesis' and actual 'EndOfData'"),
    ],
)
def test_an_error_names_line_and_path(
    name: str, x: str, place: tuple[int, int], path: str, said: str
) -> None:
    error = refusal(read(BROKEN % (name, x)), {"p": 1})
    assert error.code == "InvalidTemplate" and said in error.message
    (info,) = error.additional_info
    assert info["type"] == "TemplateViolation"
    assert (info["info"]["lineNumber"], info["info"]["linePosition"]) == place
    assert info["info"]["path"] == (f"properties.template.{path}" if path else "")


def test_a_missing_value_names_its_line() -> None:
    error = refusal(read(BROKEN % ("a", "")))
    assert "'p' at line '4' and column '24' is not provided" in error.message


WIDE = {"name": "l", "count": 2, "mode": "serial", "batchSize": 3}


def test_an_unknown_value_is_named_with_the_known_ones() -> None:
    error = refusal(document(parameters={"a": {"type": "int"}}), {"b": 1})
    assert (
        "any parameters defined in the template: 'b'. The parameters defined in the template are: 'a'."
        in (error.message)
    )


@pytest.mark.parametrize(
    ("template", "code", "said"),
    [
        ([], "InvalidTemplate", "parse failed"),
        ({"resources": []}, "InvalidTemplate", "Required property '$schema' not found"),
        (document(color=1), "InvalidTemplate", "Could not find member 'color' on object of type 'Template'"),
        (
            document(**{"$schema": "http://x"}),
            "InvalidTemplate",
            "The template schema 'http://x' is not supported",
        ),
        (document(contentVersion="1"), "InvalidTemplate", "content version '1' is not valid"),
        (document(extensions={"a": {}}), "NotSupportedByStamp", "extensions"),
        (
            document(
                **{
                    "$schema": "https://schema.management.azure.com/schemas/2019-08-01/tenantDeploymentTemplate.json#"
                }
            ),
            "NotSupportedByStamp",
            "tenantDeploymentTemplate",
        ),
        (document({"a": resource("a")}), "InvalidTemplate", "languageVersion"),
        (document((resource("a", scope="x"),)), "InvalidTemplate", "the scope 'x' is no resource's id"),
        (
            document((resource("a/b", "A.B/c/d", scope="/subscriptions/s"),)),
            "InvalidTemplate",
            "'Scope' property is not supported",
        ),
        (
            document((resource("a", "Microsoft.Resources/deployments", scope="/"),)),
            "NotSupportedByStamp",
            "'Microsoft.Resources/deployments' 'a' (its property 'scope')",
        ),
        (
            document((resource("a", dependsOn=["zz"]),)),
            "InvalidTemplate",
            "'The template reference 'zz' is not valid: could not find template resource or resource copy",
        ),
        (
            document((resource("a", dependsOn=["[resourceId('A.B/c', 'zz')]"]),)),
            "InvalidTemplate",
            "'The resource 'A.B/c/zz' is not defined in the template. Please see",
        ),
        (
            document((resource("a", properties={"x": "[reference('zz').y]"}),)),
            "InvalidTemplate",
            "'The template reference 'zz' is not valid: could not find template resource",
        ),
        (
            document((resource("a", properties={"x": "[reference(resourceId('A.B/c', 'zz')).y]"}),)),
            "InvalidTemplate",
            "'The template resource 'A.B/c/a' reference to 'A.B/c/zz' requires an API version.",
        ),
        (
            document((resource("a", properties={"x": "[reference('a').y]"}),)),
            "InvalidTemplate",
            "'The template resource 'A.B/c/a' cannot reference itself.",
        ),
        (
            document((resource("a", properties={"x": "[listKeys('a', '2024-01-01')]"}),)),
            "InvalidTemplate",
            "Circular dependency detected on resource",
        ),
        (
            document((resource("[concat('a', copyIndex())]", copy=WIDE),)),
            "InvalidTemplate",
            "has an invalid copy batch size. The copy batch size must be a non-negative integer value and "
            "cannot exceed the copy count '2'.",
        ),
        (document((resource("a"), resource("A"))), "InvalidTemplate", "defined multiple times"),
        (document((resource("a", condition="x"),)), "InvalidTemplate", "not 'Boolean'"),
        (document((resource("a", apiVersion=None),)), "InvalidTemplate", "'apiVersion' is required"),
        (
            document((resource("a", "Microsoft.Resources/resourceGroups"),)),
            "InvalidTemplate",
            "to a resource group",
        ),
        (
            document((resource("a", "Microsoft.Resources/deployments", subscriptionId=""),)),
            "InvalidTemplate",
            "the property 'subscriptionId' is required",
        ),
    ],
)
def test_what_cannot_be_deployed_is_refused(template: Any, code: str, said: str) -> None:
    error = refusal(template)
    assert (error.status, error.code) == (400, code) and said in error.message


def test_a_resource_of_a_group_cannot_go_to_the_subscription() -> None:
    assert "at the subscription's scope" in refusal(document((resource("a"),)), group="").message


# -- hostile templates


@pytest.mark.parametrize("count", [801, -1, "x", 10**30, True, None])
def test_a_loop_of_more_than_800_is_refused(count: Any) -> None:
    for template in (
        document((resource("[concat('n', copyIndex())]", copy={"name": "l", "count": count}),)),
        document((resource("a", properties={"copy": [{"name": "l", "count": count, "input": 1}]}),)),
    ):
        error = refusal(template)
        assert error.code == "InvalidTemplate" and "cannot exceed '800'" in error.message


def test_more_than_800_resources_are_refused() -> None:
    loops = [resource(f"[concat('{x}', copyIndex())]", copy={"name": x, "count": 500}) for x in "ab"]
    assert "Limit: '800' and actual: '1000'" in refusal(document(tuple(loops))).message


def test_a_circle_is_refused() -> None:
    template = document(
        (resource("a", dependsOn=["b"]), resource("b", properties={"x": "[reference('a').y]"}))
    )
    assert f"Circular dependency detected on resource: '{PREFIX}/A.B/c/a'" in refusal(template).message


LOCKS = "Microsoft.Authorization/locks"


@pytest.mark.parametrize(
    ("where", "on"),
    [
        ("", PREFIX.removesuffix("/providers")),
        ("[resourceId('A.B/c', 'one')]", f"{PREFIX}/A.B/c/one"),
        ("A.B/c/one", f"{PREFIX}/A.B/c/one"),
        ("[concat('A.B/c/', 'one', '/d/two/')]", f"{PREFIX}/A.B/c/one/d/two"),
        ("/subscriptions/sub", "/subscriptions/sub"),
    ],
)
def test_an_extension_resource_lies_on_its_scope(where: str, on: str) -> None:
    lock = resource("l", LOCKS, scope=where)
    after = resource("after", dependsOn=[f"[extensionResourceId('{on}', '{LOCKS}', 'l')]"])
    first, second = opened(document((lock, after))).graph.steps
    assert str(first.id) == f"{on}/providers/{LOCKS}/l" and first.id.type == LOCKS
    assert second.waits == {first.key}


def test_an_extension_resource_may_be_spelled_as_a_child() -> None:
    old = resource("one/Microsoft.Authorization/l", "A.B/c/providers/locks")
    within = resource("two", resources=[resource("Microsoft.Authorization/l", "providers/locks")])
    found = [str(step.id) for step in opened(document((old, within))).graph.steps]
    assert found == [
        f"{PREFIX}/A.B/c/one/providers/{LOCKS}/l",
        f"{PREFIX}/A.B/c/two",
        f"{PREFIX}/A.B/c/two/providers/{LOCKS}/l",
    ]


def test_a_branch_that_is_not_taken_may_name_anything() -> None:
    text = "[if(equals(1, 1), reference('one').x, reference('none').x)]"
    template = document((resource("one"), resource("two", properties={"x": text})))
    assert waits(template)["two"] == {"one"}


def test_outputs_are_checked_against_their_types() -> None:
    template = document(
        outputs={
            "a": {"type": "int", "value": "[first(createArray())]"},
            "b": {"type": "string", "value": "x"},
            "c": {"type": "string", "value": "[parameters('none')]"},
            "d": {"type": "string", "nullable": True, "value": "[null()]"},
        }
    )
    found = opened(template)
    with pytest.raises(OutputsFault) as caught:
        evaluate_outputs(found.template, found.scope)
    assert caught.value.problems == {
        "a": "Template output JToken type is not valid. Expected 'Integer'. Actual 'Null'.Please see "
        "https://aka.ms/arm-syntax-outputs for usage details.",
        "c": "The template parameter 'none' is not found. Please see https://aka.ms/arm-syntax-parameters "
        "for usage details.",
    }


def test_variables_in_a_circle_are_refused() -> None:
    variables = {"a": "[variables('b')]", "b": "[variables('a')]"}
    template = document((resource("[variables('a')]"),), variables=variables)
    assert "a cycle was detected" in refusal(template).message


def test_variables_that_double_are_refused() -> None:
    variables: dict[str, Any] = {"v0": "x" * 1000}
    for i in range(1, 40):
        variables[f"v{i}"] = f"[concat(variables('v{i - 1}'), variables('v{i - 1}'))]"
    error = refusal(document((resource("[variables('v39')]"),), variables=variables))
    assert "exceed" in error.message


def test_too_many_parameters_are_refused() -> None:
    parameters = {f"p{i}": {"type": "int", "defaultValue": 1} for i in range(257)}
    assert "Limit: '256' and actual: '257'" in refusal(document(parameters=parameters)).message


# -- the reader


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 1, /* b */ "c": [true, null,], // end\n}', {"a": 1, "c": [True, None]}),
        ('{template:{"a":"b\n c"}}', {"template": {"a": "b\n c"}}),
        ('"\\u00e9\\n"', "é\n"),
        ("\ufeff[-1.5e2, 0]", [-150.0, 0]),
        ('{"a // b": "/* c */"}', {"a // b": "/* c */"}),
    ],
)
def test_the_reader_takes_what_azures_takes(text: str, value: Any) -> None:
    assert read(text) == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '{"a": [1\n 2]}',
            "After parsing a value an unexpected character was encountered: 2. "
            "Path 'a[0]', line 2, position 1.",
        ),
        (
            '{"a": x}',
            "Unexpected character encountered while parsing value: x. Path 'a', line 1, position 6.",
        ),
        ('{"a"', "Unexpected end of content. Path '', line 1, position 4."),
        ('{"a" 1}', "Invalid character after parsing property name. Expected ':' but got: 1."),
        ("{1: 2}", "Invalid property identifier character: 1."),
        ('"abc', "Unterminated string"),
        ('"\\x"', "Bad JSON escape sequence"),
        ("1 2", "Additional text found in JSON string"),
        ("", "Unexpected end of content"),
        ("[" * 2000, "MaxDepth of 100"),
        ("1e999", "too large"),
    ],
)
def test_the_reader_says_where_a_text_is_wrong(text: str, said: str) -> None:
    with pytest.raises(ReadError, match=re.escape(said)):
        read(text)
