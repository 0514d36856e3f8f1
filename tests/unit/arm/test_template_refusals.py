"""What functions say of arguments that they do not take, as the service was seen to say it."""

import pytest

from tests.unit.arm.expression_words import SCOPE
from vmstamp.arm.template.evaluate import evaluate
from vmstamp.arm.template.faults import ExpressionError

# What the service was seen to answer, but for the addresses of help, which have moved since.
SAID: list[tuple[str, str]] = [
    ("base64()", "The template language function 'base64' must have only one parameter."),
    (
        "base64(createArray(''))",
        "The template language function 'base64' expects its parameter to be of type 'String'. The provided "
        "value is of type 'Array'.",
    ),
    (
        "base64ToString('one', 'two')",
        "Unable to evaluate template language function 'base64ToString': function requires 1 argument(s) "
        "while 2 were provided.",
    ),
    (
        "base64ToString(100)",
        "The template language function 'base64ToString' expects its parameter to be a string. The provided "
        "value is of type 'Integer'.",
    ),
    (
        "base64ToString('YWJj@')",
        "The template language function 'base64ToString' was invoked with a parameter that is not valid. The "
        "value cannot be decoded from base64 representation.",
    ),
    (
        "concat()",
        "Unable to evaluate template language function 'concat'. At least one parameter should be provided.",
    ),
    (
        "concat(createArray('hello', 100), 200)",
        "The provided parameters for language function 'concat' are invalid. Either all or none of the "
        "parameters must be an array.",
    ),
    (
        "dataUriToString('invalid datauri')",
        "The template language function 'dataUriToString' expects its parameter to be formatted as a valid "
        "data URI. The provided value 'invalid datauri' was not formatted correctly.",
    ),
    (
        "dataUriToString(concat(dataUri('abc'), '@'))",
        "The template language function 'dataUriToString' was invoked with a parameter that is not valid. "
        "The value cannot be converted to the target type.",
    ),
    (
        "dateTimeAdd(dateTimeFromEpoch(1680224438), 'PTASDIONS1D')",
        "The template function 'dateTimeAdd' has an invalid parameter. The second parameter 'PTASDIONS1D' is "
        "not a valid ISO8601 Duration string.",
    ),
    (
        "empty(100)",
        "The template function 'empty' expects its parameter to be an object, an array, or a string. The "
        "provided value is of type 'Integer'.",
    ),
    (
        "endsWith('one', 100)",
        "The template language function 'endsWith' expects its parameters to be of type string and string. "
        "The provided value is of type 'String' and 'Integer'.",
    ),
    (
        "first(100)",
        "The template language function 'first' expects its parameter be an array or a string. The provided "
        "value is of type 'Integer'.",
    ),
    (
        "format('->{123}<-', 123)",
        "Unable to evaluate language function 'format': the format is invalid: 'Index (zero based) must be "
        "greater than or equal to zero and less than the size of the argument list.'.",
    ),
    (
        "indexOf(100, 200)",
        "The template language function 'indexOf' expects its parameters to be of type string and string. "
        "The provided value is of type 'Integer' and 'Integer'.",
    ),
    (
        "int('asdf')",
        "The template language function 'int' cannot convert provided value 'asdf' to integer value.",
    ),
    (
        "length('one', 'two')",
        "The template language function 'length' expects exactly one parameter: an array, object, or a "
        "string the length of which is returned. The function was invoked with '2' parameters.",
    ),
    (
        "padLeft()",
        "Unable to evaluate template language function 'padLeft': function requires minimum two and maximum "
        "three arguments while '0' was provided. The syntax is padLeft(string, totalWidth [, paddingChar]).",
    ),
    (
        "padLeft(createArray(''), 10, '0')",
        "Unable to evaluate template language function 'padLeft': the first parameter is invalid. The source "
        "string must be a String or integer type, while 'Array' was provided. The syntax is padLeft(string, "
        "totalWidth [, paddingChar]).",
    ),
    (
        "padLeft(100, 200)",
        "Unable to evaluate template language function 'padLeft': the second parameter is invalid. Total "
        "width must be a positive integer value and not greater than '16', while '200' was provided. The "
        "syntax is padLeft(string, totalWidth [, paddingChar]).",
    ),
    (
        "padLeft(10, 15, 30)",
        "Unable to evaluate template language function 'padLeft': the third parameter is invalid. The "
        "padding character must be a string type, while 'Integer' was provided. The syntax is "
        "padLeft(string, totalWidth [, paddingChar]).",
    ),
    (
        "padLeft(10, 15, 'abc')",
        "Unable to evaluate template language function 'padLeft': the third parameter is invalid. The "
        "padding character must be a single character, while 'abc' was provided. The syntax is "
        "padLeft(string, totalWidth [, paddingChar]).",
    ),
    ("split('one')", "The template language function 'split' expects exactly '2' parameters."),
    (
        "split(100, ',')",
        "The template language function 'split' expects its first parameter to be of type 'String'. The "
        "provided value is of type 'Integer'.",
    ),
    (
        "split('one,two;three', createArray(100, 200))",
        "The template language function 'split' expects its second parameter to be of type 'String or Array "
        "of Strings'. The provided value is of type 'Integer'.",
    ),
    (
        "substring('one', 200, 300, 400)",
        "The template language function 'substring' expects at least two parameters and up to three "
        "parameters: a string, a start index and optionally a length.",
    ),
    (
        "substring('one two three', -1, 3)",
        "Unable to evaluate the template language function 'substring'. The index parameter cannot be less "
        "than zero. The index: '-1'.",
    ),
    (
        "substring('one two three', 99, 3)",
        "Unable to evaluate the template language function 'substring'. The index parameter cannot be larger "
        "than the length of the string. The index parameter: '99', the length of the string parameter: '13'.",
    ),
    (
        "substring('one two three', 3, -1)",
        "Unable to evaluate the template language function 'substring'. The length parameter cannot be less "
        "than zero. The length parameter: '-1'.",
    ),
    (
        "substring('one', 1, 3)",
        "Unable to evaluate the template language function 'substring'. The index and length parameters must "
        "refer to a location within the string. The index parameter: '1', the length parameter: '3', the "
        "length of the string parameter: '3'.",
    ),
    (
        "toObject(createArray('a'))",
        "Unable to evaluate template language function 'toObject': function requires between 2 and 3 "
        "argument(s) while 1 were provided.",
    ),
    (
        "uri('github.com', 'Azure/bicep')",
        "The template language function 'uri' expects its first argument to be a uri string. The provided "
        "value is 'github.com'.",
    ),
]


@pytest.mark.parametrize(("text", "said"), SAID)
def test_a_function_refuses_as_the_service_was_seen_to(text: str, said: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        evaluate(f"[{text}]", SCOPE)
    found, _, help = caught.value.message.partition(" Please see ")
    assert found == said
    assert not help or help.endswith(".")
