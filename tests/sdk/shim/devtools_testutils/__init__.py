"""What the SDK's tests import from Microsoft's unpublished test tools, for a live run against our server.

Nothing is recorded or played back: the decorators for it leave a test as it is.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from typing import Any, TypeVar

from .fake_credentials import FakeTokenCredential

__all__ = [
    "EnvironmentVariableLoader",
    "EnvironmentVariableOptions",
    "FakeTokenCredential",
    "ResponseCallback",
    "RetryCounter",
    "add_body_regex_sanitizer",
    "add_general_regex_sanitizer",
    "add_header_regex_sanitizer",
    "add_oauth_response_sanitizer",
    "add_uri_regex_sanitizer",
    "is_live",
    "recorded_by_proxy",
    "set_custom_default_matcher",
]

Test = TypeVar("Test", bound=Callable[..., Any])


def is_live() -> bool:
    return True


def recorded_by_proxy(test: Test) -> Test:
    return test


def _ignore(*_: Any, **__: Any) -> None:
    """Recordings have secrets to be removed and requests to be matched; a live run has none."""


add_body_regex_sanitizer = _ignore
add_general_regex_sanitizer = _ignore
add_header_regex_sanitizer = _ignore
add_oauth_response_sanitizer = _ignore
add_uri_regex_sanitizer = _ignore
set_custom_default_matcher = _ignore


class EnvironmentVariableOptions:
    def __init__(self, *, hide_secrets: list[str]) -> None:
        self.hide_secrets = hide_secrets


class Secret:
    """A value of the environment that pytest must not print."""

    def __init__(self, secret: str) -> None:
        self.secret = secret

    def __repr__(self) -> str:
        return "Secret(...)"


class EnvironmentVariableLoader:
    """Decorates a test: what it names is handed to the test, from the environment."""

    def __init__(self, directory: str, *, options: EnvironmentVariableOptions, **fakes: str) -> None:
        """`fakes` has the names; its values are for recordings."""
        self._names = list(fakes)
        self._secrets = frozenset(options.hide_secrets)

    def __call__(self, test: Callable[..., Any]) -> Callable[..., Any]:
        """`test` is handed those of the names that it takes."""
        parameters = inspect.signature(test).parameters
        takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
        names = [name for name in self._names if takes_any or name in parameters]

        @functools.wraps(test)
        def run(*arguments: Any, **named: Any) -> Any:
            return test(*arguments, **{name: self._load(name) for name in names}, **named)

        return run

    def _load(self, name: str) -> str | Secret:
        value = os.environ[name.upper()]
        return Secret(value) if name in self._secrets else value


class ResponseCallback:
    """A hook on raw responses that makes of one status another."""

    def __init__(self, status: int | None = None, new_status: int | None = None) -> None:
        self.status = status
        self.new_status = new_status
        self.first = True
        self.count = 0

    def override_first_status(self, response: Any) -> None:
        if self.first and response.http_response.status_code == self.status:
            response.http_response.status_code = self.new_status
            self.first = False

    def override_status(self, response: Any) -> None:
        if response.http_response.status_code == self.status:
            response.http_response.status_code = self.new_status
        self.count += 1


class RetryCounter:
    """A hook that counts retries."""

    def __init__(self) -> None:
        self.count = 0

    def simple_count(self, retry_context: Any) -> None:
        self.count += 1
