"""What is wrong with a template, in Azure's words."""

from __future__ import annotations

from vmstamp.arm.shape import Json
from vmstamp.errors import AzureError, VmstampError

HELP_FUNCTIONS = "Please see https://aka.ms/arm-functions for usage details."
HELP_SYNTAX = "Please see https://aka.ms/arm-syntax for usage details."
HELP_RESOURCES = "Please see https://aka.ms/arm-syntax-resources for usage details."
HELP_COPY = "Please see https://aka.ms/arm-resource-loops for usage details."


class ExpressionError(VmstampError):
    """An expression cannot be parsed or evaluated; the message is Azure's sentence without a full stop."""


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
        f"Deployment template validation failed: '{message}'.",
        additional_info=[{"type": "TemplateViolation", "info": info}],
    )


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
        f"Deployment template parse failed: '{why}'.",
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
