"""The functions of templates by the examples of Azure's own pages: the results that these tell.

Documents: the pages "... functions for ARM templates" and "... functions for Bicep", a table each.
"""

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.arm.expression_words import PARAMETERS, SCOPE
from vmstamp.arm.template.evaluate import evaluate
from vmstamp.arm.template.faults import ExpressionError
from vmstamp.arm.template.scope import known

GIVEN: dict[str, Any] = {
    **PARAMETERS,
    "abc": {"one": "a", "two": "b", "three": "c"},
    "azc": {"one": "a", "two": "z", "three": "c"},
    "words": ["one", "two", "three"],
    "nested": [["one", "two", "three"], [4, 5, 6]],
    "shape": {"propA": "one", "propB": "two", "propC": "three", "propD": {"a": "sub", "b": "sub"}},
    "nulls": {
        "null1": None,
        "null2": None,
        "string": "default",
        "int": 1,
        "object": {"first": "default"},
        "array": [1],
    },
    "entities": {
        "item002": {"enabled": False, "displayName": "Example item 2", "number": 200},
        "item001": {"enabled": True, "displayName": "Example item 1", "number": 300},
    },
    "deep1": {"property": {"one": "a", "two": "b", "three": "c1"}, "nestedArray": [1, 2]},
    "deep2": {"property": {"three": "c2", "four": "d", "five": "e"}, "nestedArray": [3, 4]},
    "lists1": [["one", "two"], ["three"]],
    "lists2": [["three"], ["four", "two"]],
    "quoted": "{'one': 'a', 'two': 'b'}",
    "later": {"one": "a", "two": "b", "three": "c2", "four": "d", "five": "e"},
}
AGES = "map(parameters('dogs'), lambda('dog', lambdaVariables('dog').age))"
ADDED = "lambda('cur', 'next', add(lambdaVariables('cur'), lambdaVariables('next')))"

ARRAYS: list[tuple[str, Any]] = [
    ("array(1)", [1]),
    ("array('efgh')", ["efgh"]),
    ("array(createObject('a', 'b', 'c', 'd'))", [{"a": "b", "c": "d"}]),
    (
        "concat(createArray('1-1', '1-2', '1-3'), createArray('2-1', '2-2', '2-3'))",
        ["1-1", "1-2", "1-3", "2-1", "2-2", "2-3"],
    ),
    ("contains('OneTwoThree', 'e')", True),
    ("contains('OneTwoThree', 'z')", False),
    ("contains(parameters('abc'), 'one')", True),
    ("contains(parameters('abc'), 'a')", False),
    ("contains(parameters('words'), 'three')", True),
    ("contains(parameters('words'), 'four')", False),
    ("createArray('a', 'b', 'c')", ["a", "b", "c"]),
    ("createArray(1, 2, 3)", [1, 2, 3]),
    ("createArray(parameters('abc'))", [{"one": "a", "two": "b", "three": "c"}]),
    ("createArray(parameters('words'))", [["one", "two", "three"]]),
    ("createArray()", []),
    ("first(parameters('words'))", "one"),
    ("first('One Two Three')", "O"),
    ("last(parameters('words'))", "three"),
    ("last('One Two Three')", "e"),
    (
        "flatten(createArray(createArray('one', 'two'), createArray('three'), createArray('four', 'five')))",
        ["one", "two", "three", "four", "five"],
    ),
    ("lastIndexOf(parameters('words'), 'two')", 1),
    ("indexOf(parameters('words'), 'one')", 0),
    ("lastIndexOf(parameters('words'), 'Three')", -1),
    ("lastIndexOf(createArray(4, 5, 6), 4)", 0),
    ("indexOf(createArray(4, 5, 6), 6)", 2),
    ("lastIndexOf(createArray(4, 5, 6), '5')", -1),
    ("indexOf(parameters('nested'), createArray(4, 5, 6))", 1),
    ("indexOf(createArray(1, 2, 3, 1), 1)", 0),
    ("lastIndexOf(createArray(1, 2, 3, 1), 1)", 3),
    ("intersection(parameters('abc'), parameters('azc'))", {"one": "a", "three": "c"}),
    ("intersection(parameters('words'), createArray('two', 'three'))", ["two", "three"]),
    ("intersection(createArray(1, 2, 3, 4), createArray(3, 2, 1), createArray(4, 1, 3, 2))", [1, 2, 3]),
    ("intersection(createArray(3, 2, 1), createArray(4, 1, 3, 2), createArray(1, 2, 3, 4))", [3, 2, 1]),
    ("length(parameters('words'))", 3),
    ("length('One Two Three')", 13),
    ("length(parameters('shape'))", 4),
    ("max(createArray(0, 3, 2, 5, 4))", 5),
    ("max(0, 3, 2, 5, 4)", 5),
    ("min(createArray(0, 3, 2, 5, 4))", 0),
    ("min(0, 3, 2, 5, 4)", 0),
    ("range(5, 3)", [5, 6, 7]),
    ("skip(parameters('words'), 2)", ["three"]),
    ("skip('one two three', 4)", "two three"),
    ("take(parameters('words'), 2)", ["one", "two"]),
    ("take('one two three', 2)", "on"),
    (
        "union(createArray('one', 'two', 'three'), createArray('three', 'four', 'two'))",
        ["one", "two", "three", "four"],
    ),
]
ADDRESSES: list[tuple[str, Any]] = [
    (
        "parseCidr('10.144.0.0/20')",
        {
            "network": "10.144.0.0",
            "netmask": "255.255.240.0",
            "broadcast": "10.144.15.255",
            "firstUsable": "10.144.0.1",
            "lastUsable": "10.144.15.254",
            "cidr": 20,
        },
    ),
    (
        "parseCidr('fdad:3236:5555::/48')",
        {
            "network": "fdad:3236:5555::",
            "netmask": "ffff:ffff:ffff::",
            "firstUsable": "fdad:3236:5555::",
            "lastUsable": "fdad:3236:5555:ffff:ffff:ffff:ffff:ffff",
            "cidr": 48,
        },
    ),
    (
        "map(range(0, 5), lambda('i', cidrSubnet('10.144.0.0/20', 24, lambdaVariables('i'))))",
        ["10.144.0.0/24", "10.144.1.0/24", "10.144.2.0/24", "10.144.3.0/24", "10.144.4.0/24"],
    ),
    (
        "map(range(0, 3), lambda('i', cidrSubnet('fdad:3236:5555::/48', 52, lambdaVariables('i'))))",
        ["fdad:3236:5555::/52", "fdad:3236:5555:1000::/52", "fdad:3236:5555:2000::/52"],
    ),
    (
        "map(range(0, 3), lambda('i', cidrHost('10.144.3.0/24', lambdaVariables('i'))))",
        ["10.144.3.1", "10.144.3.2", "10.144.3.3"],
    ),
    (
        "map(range(0, 3), lambda('i', cidrHost('fdad:3236:5555:3000::/52', lambdaVariables('i'))))",
        ["fdad:3236:5555:3000::1", "fdad:3236:5555:3000::2", "fdad:3236:5555:3000::3"],
    ),
    ("cidrHost('192.168.1.0/24', 253)", "192.168.1.254"),
]
COMPARISON: list[tuple[str, Any]] = [
    ("coalesce(parameters('nulls').null1, parameters('nulls').null2, parameters('nulls').string)", "default"),
    ("coalesce(parameters('nulls').null1, parameters('nulls').null2, parameters('nulls').int)", 1),
    ("coalesce(parameters('nulls').null1, parameters('nulls').object)", {"first": "default"}),
    ("coalesce(parameters('nulls').null1, parameters('nulls').array)", [1]),
    ("empty(coalesce(parameters('nulls').null1, parameters('nulls').null2))", True),
    ("equals(1, 1)", True),
    ("equals('a', 'a')", True),
    ("equals(createArray('a', 'b'), createArray('a', 'b'))", True),
    ("equals(createObject('a', 'b'), createObject('a', 'b'))", True),
    ("not(equals(1, 2))", True),
    ("greater(1, 2)", False),
    ("greater('A', 'a')", True),
    ("greaterOrEquals(1, 2)", False),
    ("greaterOrEquals('A', 'a')", True),
    ("less(1, 2)", True),
    ("less('A', 'a')", False),
    ("lessOrEquals(1, 2)", True),
    ("lessOrEquals('A', 'a')", False),
]
DATES: list[tuple[str, Any]] = [
    ("dateTimeAdd('2023-01-31 00:00:00Z', 'P1M')", "2023-03-02T00:00:00Z"),
    ("dateTimeAdd('2024-01-31 00:00:00Z', 'P1M')", "2024-03-01T00:00:00Z"),
    ("dateTimeAdd('2020-04-07 14:53:14Z', 'P3Y', 'd')", "04/07/2023"),
    ("dateTimeFromEpoch(1683040573)", "2023-05-02T15:16:13Z"),
    ("dateTimeToEpoch('2023-05-02T15:16:13Z')", 1683040573),
    ("dateTimeToEpoch(dateTimeAdd('20220502T151613Z', 'P1Y'))", 1683040573),
    ("utcNow()", "20200407T145314Z"),
    ("utcNow('d')", "04/07/2020"),
    ("utcNow('M d')", "4 7"),
    ("utcNow('u')", "2020-04-07 14:53:14Z"),
]
LAMBDAS: list[tuple[str, Any]] = [
    (
        "filter(parameters('dogs'), lambda('dog', greaterOrEquals(lambdaVariables('dog').age, 5)))",
        [GIVEN["dogs"][0], GIVEN["dogs"][3]],
    ),
    ("filter(range(0, 10), lambda('i', greater(lambdaVariables('i'), 5)))", [6, 7, 8, 9]),
    ("filter(range(0, 10), lambda('i', equals(0, mod(lambdaVariables('i'), 2))))", [0, 2, 4, 6, 8]),
    (
        "map(range(0, length(parameters('dogs'))), lambda('i', createObject('i', lambdaVariables('i'), "
        "'dog', parameters('dogs')[lambdaVariables('i')].name)))",
        [{"i": i, "dog": name} for i, name in enumerate(("Evie", "Casper", "Indy", "Kira"))],
    ),
    (f"reduce({AGES}, 0, {ADDED})", 18),
    (f"reduce({AGES}, 1, {ADDED})", 19),
    (
        "reduce(createArray(createObject('foo', 123), createObject('bar', 456), createObject('baz', 789)), "
        "createObject(), lambda('cur', 'next', union(lambdaVariables('cur'), lambdaVariables('next'))))",
        {"foo": 123, "bar": 456, "baz": 789},
    ),
    (
        "sort(parameters('dogs'), "
        "lambda('a', 'b', less(lambdaVariables('a').age, lambdaVariables('b').age)))",
        [GIVEN["dogs"][2], GIVEN["dogs"][1], GIVEN["dogs"][0], GIVEN["dogs"][3]],
    ),
    (
        "toObject(parameters('dogs'), lambda('entry', lambdaVariables('entry').name))",
        {dog["name"]: dog for dog in GIVEN["dogs"]},
    ),
    (
        "toObject(parameters('dogs'), lambda('entry', lambdaVariables('entry').name), "
        "lambda('entry', lambdaVariables('entry').age))",
        {"Evie": 5, "Casper": 3, "Indy": 2, "Kira": 8},
    ),
]
LOGIC_AND_NUMBERS: list[tuple[str, Any]] = [
    ("and(bool('true'), bool('false'))", False),
    ("or(bool('true'), bool('false'))", True),
    ("not(bool('true'))", False),
    ("bool('false')", False),
    ("bool(1)", True),
    ("bool(0)", False),
    ("if(equals('a', 'a'), 'yes', 'no')", "yes"),
    ("if(equals('a', 'b'), 'yes', 'no')", "no"),
    ("if(equals('a', 'a'), json('{\"test\": \"value1\"}'), json('null'))", {"test": "value1"}),
    ("add(5, 3)", 8),
    ("div(8, 3)", 2),
    ("float('3.0')", 3.0),
    ("float(3)", 3.0),
    ("int('4')", 4),
    ("mod(7, 3)", 1),
    ("mul(5, 3)", 15),
    ("sub(7, 3)", 4),
]
OBJECTS: list[tuple[str, Any]] = [
    (
        "createObject('intProp', 1, 'stringProp', 'abc', 'boolProp', true(), 'arrayProp', "
        "createArray('a', 'b', 'c'), 'objectProp', createObject('key1', 'value1'))",
        {
            "intProp": 1,
            "stringProp": "abc",
            "boolProp": True,
            "arrayProp": ["a", "b", "c"],
            "objectProp": {"key1": "value1"},
        },
    ),
    ("empty(createObject())", True),
    (
        "map(items(parameters('entities')), lambda('e', lambdaVariables('e').value.displayName))",
        ["Example item 1", "Example item 2"],
    ),
    ("items(parameters('entities'))[0].key", "item001"),
    ("empty(json('null'))", True),
    ("json('{''a'': ''b''}')", {"a": "b"}),
    ("json('\"test\"')", "test"),
    ("json('''test''')", "test"),
    ("json('true')", True),
    ("json('3')", 3),
    ("json('[1,2,3]')", [1, 2, 3]),
    ("json(concat('{\"a\": \"', 'demo value', '\"}'))", {"a": "demo value"}),
    ("empty(null())", True),
    ("union(parameters('abc'), parameters('later'))", GIVEN["later"]),
    (
        "union(parameters('deep1'), parameters('deep2'))",
        {
            "property": {"one": "a", "two": "b", "three": "c2", "four": "d", "five": "e"},
            "nestedArray": [3, 4],
        },
    ),
    ("union(parameters('lists1'), parameters('lists2'))", [["one", "two"], ["three"], ["four", "two"]]),
]
RESOURCES: list[tuple[str, Any]] = [
    (
        "resourceId('Microsoft.SQL/servers/databases', 'serverName', 'databaseName')",
        "/subscriptions/sub/resourceGroups/rg/providers/Microsoft.SQL/servers/serverName/databases/"
        "databaseName",
    ),
    (
        "resourceId('Microsoft.ServiceBus/namespaces/queues/authorizationRules', 'n', 'q', 'a')",
        "/subscriptions/sub/resourceGroups/rg/providers/Microsoft.ServiceBus/namespaces/n/queues/q/"
        "authorizationRules/a",
    ),
    ("pickZones('Microsoft.Compute', 'virtualMachines', 'northcentralus')", []),
]
TEXTS: list[tuple[str, Any]] = [
    ("base64('one, two, three')", "b25lLCB0d28sIHRocmVl"),
    ("base64ToString(base64('one, two, three'))", "one, two, three"),
    ("base64ToJson(base64(parameters('quoted')))", {"one": "a", "two": "b"}),
    ("concat('prefix', '-', 'x')", "prefix-x"),
    ("dataUri('Hello')", "data:text/plain;charset=utf8;base64,SGVsbG8="),
    ("dataUriToString('data:;base64,SGVsbG8sIFdvcmxkIQ==')", "Hello, World!"),
    ("startsWith('abcdef', 'ab')", True),
    ("startsWith('abcdef', 'A')", True),
    ("startsWith('abcdef', 'e')", False),
    ("endsWith('abcdef', 'ef')", True),
    ("endsWith('abcdef', 'F')", True),
    ("endsWith('abcdef', 'e')", False),
    ("indexOf('test', 't')", 0),
    ("lastIndexOf('test', 't')", 3),
    ("indexOf('abcdef', 'CD')", 2),
    ("lastIndexOf('abcdef', 'AB')", 0),
    ("indexOf('abcdef', 'z')", -1),
    ("join(parameters('words'), ',')", "one,two,three"),
    ("padLeft('123', 10, '0')", "0000000123"),
    ("replace('123-123-1234', '-', '')", "1231231234"),
    ("replace('123-123-1234', '1234', 'xxxx')", "123-123-xxxx"),
    ("split('one,two,three', ',')", ["one", "two", "three"]),
    ("split('one;two,three', createArray(',', ';'))", ["one", "two", "three"]),
    (
        "string(createObject('valueA', 10, 'valueB', 'Example Text'))",
        '{"valueA":10,"valueB":"Example Text"}',
    ),
    ("string(createArray('a', 'b', 'c'))", '["a","b","c"]'),
    ("string(5)", "5"),
    ("substring('one two three', 4, 3)", "two"),
    ("toLower('One Two Three')", "one two three"),
    ("toUpper('One Two Three')", "ONE TWO THREE"),
    ("trim('    one two three   ')", "one two three"),
    ("uri('http://contoso.org/firstpath/azuredeploy.json', 'a.sh')", "http://contoso.org/firstpath/a.sh"),
    (
        "uri('http://contoso.org/firstpath/azuredeploy.json/', 'a.sh')",
        "http://contoso.org/firstpath/azuredeploy.json/a.sh",
    ),
    (
        "uri('http://contoso.com/resources/', 'nested/azuredeploy.json')",
        "http://contoso.com/resources/nested/azuredeploy.json",
    ),
    (
        "uriComponentToString(uriComponent('http://contoso.com/resources/nested/azuredeploy.json'))",
        "http://contoso.com/resources/nested/azuredeploy.json",
    ),
    (
        "buildUri(createObject('scheme', 'https', 'host', 'mystorage.blob.core.windows.net', 'port', 8080, "
        "'path', '/templates/nestedTemplate.json', 'query', '?st=2025-05-09'))",
        "https://mystorage.blob.core.windows.net:8080/templates/nestedTemplate.json?st=2025-05-09",
    ),
]
EXAMPLES = [
    *ARRAYS,
    *ADDRESSES,
    *COMPARISON,
    *DATES,
    *LAMBDAS,
    *LOGIC_AND_NUMBERS,
    *OBJECTS,
    *RESOURCES,
    *TEXTS,
]
SEEN = replace(SCOPE, parameters=known(GIVEN, "parameter"))


@pytest.mark.parametrize(("text", "expected"), EXAMPLES)
def test_an_example_of_the_reference_has_its_result(text: str, expected: Any) -> None:
    found = evaluate(f"[{text}]", SEEN)
    assert found == expected and type(found) is type(expected)


def test_a_part_beyond_the_end_is_refused_as_the_reference_says() -> None:
    with pytest.raises(ExpressionError) as raised:
        evaluate("[substring('1234567890', 0, 11)]", SCOPE)
    said = (
        "The index and length parameters must refer to a location within the string. The index parameter: "
        "'0', the length parameter: '11', the length of the string parameter: '10'."
    )
    assert said in raised.value.message


def test_fail_ends_what_nothing_before_it_decides() -> None:
    one, other = "tryGet(parameters('object'), 'name')", "tryGet(parameters('object'), 'id')"
    with pytest.raises(ExpressionError, match="neither"):
        evaluate(f"[coalesce({one}, {other}, fail('neither'))]", SCOPE)
    assert evaluate("[if(not(equals(2, 0)), div(4, 2), fail('x cannot be zero'))]", SCOPE) == 2
