"""What is wrong with a template, in Azure's words."""

from __future__ import annotations

from vmstamp.arm.shape import Json
from vmstamp.errors import AzureError, VmstampError

HELP_FUNCTIONS = "Please see https://aka.ms/arm-functions for usage details."
HELP_SYNTAX = "Please see https://aka.ms/arm-syntax for usage details."
HELP_RESOURCES = "Please see https://aka.ms/arm-syntax-resources for usage details."
HELP_PARAMETERS = "Please see https://aka.ms/arm-pass-parameter-values for usage details."
HELP_COPY = "Please see https://aka.ms/arm-resource-loops for usage details."


class ExpressionError(VmstampError):
    """An expression cannot be parsed or evaluated; the message is Azure's sentence."""

    def __init__(self, message: str) -> None:
        super().__init__(message if message.endswith(".") else f"{message}.")


class SectionError(ExpressionError):
    """A fault of the template's own: a variable, a loop, a name that is not there.

    Azure tells it as it is, not as the fault of the resource whose expression led to it. `place` and `path`
    are where it stands, when that is known better than by whom the expression belongs to.
    """

    def __init__(self, message: str, place: tuple[int, int] = (0, 0), path: str = "") -> None:
        super().__init__(message)
        self.place = place
        self.path = path


class Deferred(Exception):
    """An expression asks for what exists only while the deployment runs: `reference`, `list*`."""


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


def section_fault(error: SectionError, place: tuple[int, int], path: str) -> AzureError:
    """400 InvalidTemplate for a fault that is told as it is; `place` and `path` of who asked for it."""
    line, column = error.place if error.place != (0, 0) else place
    return invalid_template(error.message, line=line, column=column, path=error.path or path)


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


def language_failure(what: str, error: Exception, at: tuple[int, int] = (0, 0), path: str = "") -> AzureError:
    """400 InvalidTemplate for an expression of `what` (a resource with its id, an output)."""
    line, column = at
    why = error.message if isinstance(error, VmstampError) else str(error)
    return AzureError(
        400,
        "InvalidTemplate",
        f"Unable to process template language expressions for {what} at line '{line}' and column '{column}'. "
        f"'{why}'",
        additional_info=[
            {
                "type": "TemplateViolation",
                "info": _place(line, column, path),
            }
        ],
    )
