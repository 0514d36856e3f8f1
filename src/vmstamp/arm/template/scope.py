"""What an expression can see: parameters, variables, loops, and the place that is deployed to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol

from vmstamp.arm.resource import Json
from vmstamp.arm.template.expressions import Node
from vmstamp.arm.template.faults import Deferred, ExpressionError, NotFound

MAXIMUM_DEPTH = 24  # user functions and lambdas within each other; ours
BUDGET = 20_000_000  # steps of one deployment's expressions: calls, items and characters made


class Lazy:
    """Values by name (in which case does not count), each made when it is first asked for.

    Safe to share between threads. A value that needs itself is an error.
    """

    def __init__(self, names: Iterable[str], make: Callable[[str], Any], noun: str) -> None:
        self._names = {name.lower(): name for name in names}
        self._make = make
        self._noun = noun
        self._made: dict[str, Any] = {}
        self._making: list[str] = []
        self._lock = threading.RLock()

    def get(self, name: str) -> Any:
        key = name.lower()
        with self._lock:
            if key in self._made:
                return self._made[key]
            if key not in self._names:
                raise NotFound(
                    f"The template {self._noun} '{name}' is not found. Please see "
                    f"https://aka.ms/arm-syntax-{self._noun}s for usage details."
                )
            if key in self._making:
                cycle = " -> ".join([*self._making[self._making.index(key) :], key])
                raise ExpressionError(
                    f"The template {self._noun} '{self._names[key]}' cannot reference itself: a cycle was "
                    "detected "
                    f"('{cycle}')"
                )
            self._making.append(key)
            try:
                self._made[key] = self._make(self._names[key])
            finally:
                self._making.pop()
            return self._made[key]


def known(values: Mapping[str, Any], noun: str) -> Lazy:
    """Values that are there already."""
    spelled = {name.lower(): value for name, value in values.items()}
    return Lazy(values, lambda name: spelled[name.lower()], noun)


class Budget:
    """How much evaluation one deployment may cost; a template of a page can ask for years."""

    def __init__(self, steps: int = BUDGET) -> None:
        self._left = steps

    def spend(self, steps: int) -> None:
        self._left -= steps
        if self._left < 0:
            raise ExpressionError(
                "The template's expressions exceed the limit of what one deployment may evaluate"
            )


class Runtime(Protocol):
    """What the deployed resources are: for `reference` and the functions whose names begin with `list`."""

    def reference(self, name: str, api_version: str, full: bool) -> Any:
        """The properties of a resource by its id, name or symbol, or with `full` the whole of it."""

    def references(self, symbol: str, full: bool) -> list[Any]:
        """The same of every resource of a loop."""

    def information(self, symbol: str) -> Json:
        """What is known of a resource before it is there: its id, name, type, apiVersion."""

    def list_action(self, name: str, id: str, api_version: str, body: Any) -> Any:
        """What a POST of the action gives."""


class BeforeDeployment:
    """The runtime while nothing is deployed: whatever is asked of it is put off."""

    def __init__(self, information: Callable[[str], Json] | None = None) -> None:
        self._information = information

    def reference(self, name: str, api_version: str, full: bool) -> Any:
        raise Deferred("reference")

    def references(self, symbol: str, full: bool) -> list[Any]:
        raise Deferred("references")

    def information(self, symbol: str) -> Json:
        if self._information is None:
            raise Deferred("resourceInfo")
        return self._information(symbol)

    def list_action(self, name: str, id: str, api_version: str, body: Any) -> Any:
        raise Deferred(name)


@dataclass(frozen=True)
class Place:
    """Where a template is deployed: the documents that `subscription()` and its like give.

    `group` is None at the subscription's scope; `providers` gives what `providers(namespace)` shows.
    """

    subscription: Json
    tenant: Json
    deployer: Json
    group: Json | None
    deployment: Json
    environment: Json
    providers: Callable[[str], Json]

    @property
    def subscription_id(self) -> str:
        return str(self.subscription["subscriptionId"])

    @property
    def group_name(self) -> str:
        return str(self.group["name"]) if self.group else ""


@dataclass(frozen=True)
class UserFunction:
    """A function of the template's own: it sees its parameters and nothing else of the template."""

    name: str  # with its namespace
    parameters: tuple[str, ...]
    value: Any


@dataclass(frozen=True)
class Scope:
    """Everything that an expression can name."""

    place: Place
    parameters: Lazy
    variables: Lazy
    functions: Mapping[str, UserFunction] = field(default_factory=dict)  # by name in lower case
    runtime: Runtime = field(default_factory=BeforeDeployment)
    budget: Budget = field(default_factory=Budget)
    loops: Mapping[str, int] = field(default_factory=dict)  # by name; '' is a resource's own loop
    lambdas: Mapping[str, Any] = field(default_factory=dict)
    now: datetime | None = None  # set where utcNow() and newGuid() may stand: in defaults of parameters
    partial: bool = False  # what is put off stays in the document as its expression
    put_off: Callable[[Node, Scope], None] = lambda node, scope: None  # is told of each such expression
    depth: int = 0  # of user functions and lambdas within each other


def find_loop(loops: Mapping[str, int], name: str) -> int:
    """The index of a loop, or of the resource's own (else the innermost) for ''. Raises ExpressionError."""
    if not name and loops:
        return loops[""] if "" in loops else list(loops.values())[-1]
    found = {known.lower(): index for known, index in loops.items()}.get(name.lower()) if name else None
    if found is None:
        raise ExpressionError(
            "The template function 'copyIndex' is not expected at this location. The function can only be "
            "used in "
            "a resource with copy specified. Please see https://aka.ms/arm-copy for usage details."
        )
    return found


def text_arguments(name: str, values: Sequence[Any]) -> list[str]:
    if not all(isinstance(value, str) for value in values):
        raise ExpressionError(f"The template language function '{name}' expects its parameters to be strings")
    return list(values)


def deeper(scope: Scope) -> Scope:
    """The scope within a user function or a lambda. Raises ExpressionError when there are too many."""
    if scope.depth >= MAXIMUM_DEPTH:
        raise ExpressionError(
            f"The template's functions call each other more than '{MAXIMUM_DEPTH}' levels deep"
        )
    return replace(scope, depth=scope.depth + 1)
