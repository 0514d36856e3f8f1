"""Rules of templates: their expressions, what they are given and what they tell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import requests

from tests.client.arm.parity.row import Row, ask
from tests.client.arm.parity.rows_deployments import DEPLOYMENT
from tests.client.arm.parity.rows_templates import HELP, NONE, failed, invalid, resources, sent, template

TITLE: Final = "Values of templates"


def ended(text: str) -> Callable[[Any], requests.Response]:
    """The deployment of a template that was taken, once it has ended."""

    def send(arm: Any) -> requests.Response:
        sent(text)(arm)
        return ask(arm, "GET", DEPLOYMENT)

    return send


def output(kind: str, value: str) -> str:
    return template(
        '  "resources": [],', f'  "outputs": {{ "told": {{ "type": "{kind}", "value": "{value}" }} }}'
    )


def _output_fault(message: str) -> Callable[[requests.Response], bool]:
    code = "DeploymentOutputEvaluationFailed"

    def holds(reply: requests.Response) -> bool:
        properties = reply.json()["properties"]
        error = properties["error"]
        whole = f"The template output 'told' is not valid: {message}."
        said = (
            "Unable to evaluate template outputs: 'told'. Please see error details and deployment "
            "operations. Please see https://aka.ms/arm-common-errors for usage details."
        )
        return bool(
            (properties["provisioningState"], error["code"], error["message"]) == ("Failed", code, said)
            and error["details"] == [{"code": code, "message": whole, "target": "told"}]
        )

    return holds


ROWS: Final = (
    invalid(
        "an expression without its last bracket",
        "I",
        resources("\"name\": \"[concat('a', uniqueString('b')]\""),
        "Deployment template language expression evaluation failed: 'Unable to parse language expression "
        "'concat('a', uniqueString('b')': expected token 'RightParenthesis' and actual 'EndOfData'.'. "
        + HELP,
        NONE,
    ),
    invalid(
        "an expression that is empty",
        "I",
        resources('"name": "[]"'),
        "Deployment template language expression evaluation failed: 'Unable to parse language expression '': "
        "expected token 'Identifier' and actual 'EndOfData'.'. " + HELP,
        NONE,
    ),
    invalid(
        "an expression with a text that does not end",
        "I",
        resources('"name": "[concat(\'a)]"'),
        "Deployment template language expression evaluation failed: 'The language expression 'concat('a)' is "
        "not valid: the string constant at position '7' is not terminated. String constants must be enclosed "
        "within a pair of single quotes.'. " + HELP,
        NONE,
    ),
    invalid(
        "an expression with a character of no meaning",
        "I",
        resources('"name": "[ { ]"'),
        "Deployment template language expression evaluation failed: 'The language expression ' { ' is not "
        "valid: the string character '{' at position '1' is not expected.'. " + HELP,
        NONE,
    ),
    invalid(
        "an expression with a number of more than 32 bits",
        "I",
        resources('"name": "[dataUri(2147483648)]"'),
        "Deployment template language expression evaluation failed: 'The language expression "
        "'dataUri(2147483648)' is not valid: the value '2147483648' at position '8' cannot be converted to "
        "number.'. " + HELP,
        NONE,
    ),
    invalid(
        "a section that templates do not have",
        "I",
        template('  "color": 1,', '  "resources": []'),
        "Deployment template parse failed: 'Could not find member 'color' on object of type 'Template'. Path "
        "'color', line 4, position 10.'.",
        (4, 10, "properties.template.color"),
    ),
    invalid(
        "a parameter without a value",
        "I",
        template('  "parameters": { "p": { "type": "string" } },', '  "resources": []'),
        failed(
            "The value for the template parameter 'p' at line '4' and column '24' is not provided. Please "
            "see https://aka.ms/arm-create-parameter-file for usage details."
        ),
        (4, 24, "properties.template.parameters.p"),
    ),
    invalid(
        "a parameter's value of another type",
        "I",
        template('  "parameters": { "p": { "type": "string" } },', '  "resources": []'),
        failed(
            "Template parameter JToken type is not valid. Expected 'String, Uri'. Actual 'Integer'. Please "
            "see https://aka.ms/arm-create-parameter-file for usage details."
        ),
        (4, 24, "properties.template.parameters.p"),
        p=1,
    ),
    invalid(
        "a parameter's value that is not allowed",
        "D",
        template(
            '  "parameters": { "p": { "type": "string", "allowedValues": [ "a", "b" ] } },',
            '  "resources": []',
        ),
        failed(
            "The provided value 'badSKU' for the template parameter 'p' at line '4' and column '24' is not "
            "valid. The parameter value is not part of the allowed value(s): 'a,b'."
        ),
        (4, 24, "properties.template.parameters.p"),
        p="badSKU",
    ),
    invalid(
        "a value for a parameter that is not declared",
        "I",
        template('  "parameters": { "p": { "type": "string" } },', '  "resources": []'),
        failed(
            "The following parameters were supplied, but do not correspond to any parameters defined in the "
            "template: 'q'. The parameters defined in the template are: 'p'. Please see "
            "https://aka.ms/arm-pass-parameter-values for usage details."
        ),
        NONE,
        p="x",
        q="y",
    ),
    Row(
        "an output that is null",
        "I",
        ended(output("int", "[first(createArray())]")),
        200,
        holds=_output_fault(
            "Template output JToken type is not valid. Expected 'Integer'. Actual 'Null'.Please see "
            "https://aka.ms/arm-syntax-outputs for usage details."
        ),
    ),
    Row(
        "an output beyond an array's end",
        "I",
        ended(output("string", "[createArray()[1]]")),
        200,
        holds=_output_fault("The language expression property array index '1' is out of bounds."),
    ),
    Row(
        "an output of a parameter that is not there",
        "I",
        ended(output("string", "[parameters('name')]")),
        200,
        holds=_output_fault(
            "The template parameter 'name' is not found. Please see https://aka.ms/arm-syntax-parameters for "
            "usage details."
        ),
    ),
    Row(
        "an output of a function without its argument",
        "I",
        ended(output("string", "[base64()]")),
        200,
        holds=_output_fault(f"The template language function 'base64' must have only one parameter. {HELP}"),
    ),
)
