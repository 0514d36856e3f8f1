"""Types of a template's own as bicep compiles them: variants of an object, tuples."""

from typing import Any

import pytest

from tests.unit.arm.template_words import document, opened, resource
from vmstamp.arm.template.reader import read
from vmstamp.errors import AzureError

TEXT = """\
{
  "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
  "languageVersion": "2.0",
  "contentVersion": "1.0.0.0",
  "definitions": {
    "cat": {
      "type": "object",
      "properties": {
        "kind": { "type": "string", "allowedValues": [ "cat" ] },
        "lives": { "type": "int", "minValue": 1 }
      },
      "additionalProperties": false
    },
    "dog": {
      "type": "object",
      "properties": { "kind": { "type": "string" }, "chip": { "type": "securestring" } }
    },
    "pet": {
      "type": "object",
      "discriminator": {
        "propertyName": "kind",
        "mapping": { "cat": { "$ref": "#/definitions/cat" }, "dog": { "$ref": "#/definitions/dog" } }
      }
    },
    "tree": {
      "type": "object",
      "discriminator": { "propertyName": "kind", "mapping": { "tree": { "$ref": "#/definitions/tree" } } }
    },
    "pair": { "type": "array", "prefixItems": [ { "type": "string" }, { "type": "int" } ], "items": false },
    "open": { "type": "array", "prefixItems": [ { "type": "string" } ], "items": { "type": "int" } }
  },
  "parameters": {
    "pets": { "type": "array", "items": { "$ref": "#/definitions/pet" }, "defaultValue": [] },
    "pair": { "$ref": "#/definitions/pair", "defaultValue": [ "a", 1 ] },
    "open": { "$ref": "#/definitions/open", "defaultValue": [ "a" ] },
    "tree": { "$ref": "#/definitions/tree", "defaultValue": { "kind": "tree" } }
  },
  "resources": {}
}
"""


@pytest.mark.parametrize(
    "given",
    [
        {"pets": [{"kind": "cat", "lives": 9}, {"kind": "dog", "chip": "x", "age": 3}]},
        {"pair": ["b", 2]},
        {"open": ["b", 2, 3]},
    ],
)
def test_a_value_of_its_type_is_taken(given: dict[str, Any]) -> None:
    values = opened(read(TEXT), given).given.values
    assert {name: values[name] for name in given} == given


@pytest.mark.parametrize(
    ("given", "line", "said"),
    [
        (
            {"pets": [{"lives": 1}]},
            33,
            "at 'pets[0]' at line '33' and column '13' is not valid. The property",
        ),
        (
            {"pets": [{"kind": "fish"}]},
            33,
            "The provided value 'fish' for the template parameter 'pets' at 'pets[0].kind' at line '33' and "
            "column '13' is not valid. The parameter value is not part of the allowed value(s): 'cat,dog'.",
        ),
        ({"pets": [{"kind": "cat", "lives": 0}]}, 33, "The value should be greater than or equal to '1'"),
        ({"pets": [{"kind": "cat", "lives": 1, "x": 1}]}, 33, "The property 'x' is not allowed"),
        ({"pets": [{"kind": "dog", "chip": 1}]}, 33, "Expected a value of type 'String', but received"),
        ({"pair": ["a"]}, 34, "Length of the value should be greater than or equal to '2'"),
        ({"pair": ["a", 1, 2]}, 34, "Length of the value should be less than or equal to '2'"),
        ({"pair": [1, "a"]}, 34, "at 'pair[0]' at line '34'"),
        ({"open": ["a", "b"]}, 35, "at 'open[1]' at line '35'"),
    ],
)
def test_a_value_of_another_type_is_refused_with_its_place(
    given: dict[str, Any], line: int, said: str
) -> None:
    with pytest.raises(AzureError) as raised:
        opened(read(TEXT), given)
    assert raised.value.code == "InvalidTemplate" and said in raised.value.message
    (more,) = raised.value.additional_info
    assert more["info"]["lineNumber"] == line
    assert more["info"]["path"] == f"properties.template.parameters.{next(iter(given))}"


def test_a_secret_in_one_variant_makes_the_whole_secure() -> None:
    given = opened(read(TEXT)).given
    assert "pets" in given.secure and "pair" not in given.secure


def test_a_profile_of_api_versions_is_refused_by_name() -> None:
    bare = {name: value for name, value in resource("a").items() if name != "apiVersion"}
    assert opened(document((resource("a"),), apiProfile="2019-03-01-hybrid")).graph.steps
    with pytest.raises(AzureError, match="'apiProfile'") as raised:
        opened(document((bare,), apiProfile="2019-03-01-hybrid"))
    assert raised.value.code == "NotSupportedByStamp"
