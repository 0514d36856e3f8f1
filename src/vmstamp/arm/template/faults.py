"""What is wrong with a template, in Azure's words."""

from __future__ import annotations

from vmstamp.arm.resource import Json
from vmstamp.errors import AzureError, VmstampError

HELP_FUNCTIONS = "Please see https://aka.ms/arm-functions for usage details."
HELP_SYNTAX = "Please see https://aka.ms/arm-syntax for usage details."
HELP_RESOURCES = "Please see https://aka.ms/arm-syntax-resources for usage details."
HELP_COPY = "Please see https://aka.ms/arm-resource-loops for usage details."


class ExpressionError(VmstampError):
    """An expression cannot be parsed or evaluated; the message is Azure's sentence."""

    def __init__(self, message: str) -> None:
        super().__init__(message if message.endswith(".") else f"{message}.")


class SyntaxFault(ExpressionError):
    """A text is no expression of the language."""


class SectionError(ExpressionError):
    """A fault of the template's own, a variable or a loop: told as it is, whatever resource led to it.

    `place` and `path` are where it stands.
    """

    def __init__(self, message: str, place: tuple[int, int] = (0, 0), path: str = "") -> None:
        super().__init__(message)
        self.place = place
        self.path = path


class NotFound(ExpressionError):
    """A parameter or variable that is not there: told as it is, but for what stands in a resource's body."""


class Deferred(Exception):
    """An expression asks for what exists only while the deployment runs, by `function`: reference, list*."""

    def __init__(self, function: str) -> None:
        super().__init__(function)
        self.function = function

    @property
    def message(self) -> str:
        """What Azure says where that is not to be."""
        return f"The template function '{self.function}' is not expected at this location. {HELP_FUNCTIONS}"


def invalid_template(message: str, *, line: int = 0, column: int = 0, path: str = "") -> AzureError:
    """400 InvalidTemplate: the template itself, or what it was given, cannot be deployed.

    `line` and `column` count from 1; 0 where the template was not sent as text.
    `path` is within the template.
    """
    info = _place(line, column, path)
    return AzureError(
        400,
        "InvalidTemplate",
        f"Deployment template validation failed: '{message if message.endswith('.') else message + '.'}'.",
        additional_info=[{"type": "TemplateViolation", "info": info}],
    )


def told_apart(error: Exception) -> AzureError | None:
    """What Azure says of a fault without a word on whose expression led to it; None of other faults."""
    if isinstance(error, SyntaxFault):
        return AzureError(
            400,
            "InvalidTemplate",
            f"Deployment template language expression evaluation failed: '{error.message}'. {HELP_FUNCTIONS}",
            additional_info=[{"type": "TemplateViolation", "info": _place(0, 0, "")}],
        )
    if isinstance(error, SectionError):
        line, column = error.place
        return invalid_template(error.message, line=line, column=column, path=error.path)
    return None


def _place(line: int, column: int, path: str) -> Json:
    """Where in the request: the template is a part of it."""
    return {
        "lineNumber": line,
        "linePosition": column,
        "path": f"properties.template.{path}" if path else "",
    }


def unparsable_template(why: str, *, line: int = 0, column: int = 0, path: str = "") -> AzureError:
    """400 InvalidTemplate: the text is no template at all."""
    info = _place(line, column, path)
    return AzureError(
        400,
        "InvalidTemplate",
        f"Deployment template parse failed: '{why if why.endswith('.') else why + '.'}'.",
        additional_info=[{"type": "TemplateViolation", "info": info}],
    )


def language_failure(what: str, error: ExpressionError, at: tuple[int, int] = (0, 0)) -> AzureError:
    """400 InvalidTemplate for an expression in the body of `what`: a resource with its id."""
    line, column = at
    return told_apart(error) or AzureError(
        400,
        "InvalidTemplate",
        f"Unable to process template language expressions for {what} at line '{line}' and column '{column}'. "
        f"'{error.message}'",
        additional_info=[{"type": "TemplateViolation", "info": _place(line, column, "")}],
    )
