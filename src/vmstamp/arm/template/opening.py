"""Deployments opened: a request understood, its template checked, the deployments within it looked into.

Nothing is stored or made here.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace

from vmstamp.arm.catalog import Clock
from vmstamp.arm.engine import Engine
from vmstamp.arm.faults import UNSUPPORTED
from vmstamp.arm.resource import Json
from vmstamp.arm.template import preflight
from vmstamp.arm.template.documents import group_document
from vmstamp.arm.template.faults import ExpressionError, invalid_template
from vmstamp.arm.template.opened import Opened, Setting, open_template
from vmstamp.arm.template.places import Places
from vmstamp.arm.template.request import Asked, Fetch, read_request
from vmstamp.arm.template.scope import Scope
from vmstamp.arm.template.secrets import secrets_of, unsaid
from vmstamp.arm.template.spec import Spec
from vmstamp.arm.template.step import GROUPS, Step, is_inner
from vmstamp.arm.types import Request
from vmstamp.errors import AzureError
from vmstamp.resource_id import ResourceId

MAXIMUM_NESTING = 8  # deployments within each other; ours
NESTED_COST = 20_000  # of the budget for each of them: a link to itself in a loop has no end


class Opening:
    """Opens deployments. `fetch` reads linked templates. Safe to share between threads."""

    def __init__(self, engine: Engine, clock: Clock, fetch: Fetch, places: Places) -> None:
        self._engine = engine
        self._clock = clock
        self.fetch = fetch
        self.places = places

    def open(self, id: ResourceId, request: Request, *, to_run: bool = False) -> Spec:
        """Understand a request and check all that can be checked now. Raises AzureError; stores nothing.

        One that is `to_run` and asks for nothing worse than what the stamp does not offer is accepted, and
        fails before it makes anything: az shows how a deployment failed, and of a refusal too little.
        """
        asked = read_request(request.body, self.fetch)
        if id.group:
            self._engine.get_group(id)
        else:
            self._check_subscription_scope(id.name, asked)
        home = ResourceId(id.subscription, id.group)
        now = self._clock()
        url = asked.link["uri"] if asked.link else ""
        place = self.places.of(id, asked, request.base)
        with unsaid(secrets_of(asked.template, asked.values)):
            opened = open_template(asked.template, asked.values, Setting(place, home, now))
            spec = Spec(id, asked, opened, request.base, str(uuid.uuid4()), now, url=url)
            whole = (opened, *self.nested_of(spec))
            problems = [one for part in whole for one in preflight.find_problems(self._engine, part)]
            if not problems:
                return spec
            refusal = preflight.invalid_deployment(id.name, spec.correlation, problems)
            if to_run and all(one.code == UNSUPPORTED for one in problems):
                return replace(spec, refusal=refusal)
            raise refusal

    def _check_subscription_scope(self, name: str, asked: Asked) -> None:
        """Raises AzureError: a deployment to a subscription has a region and is incremental."""
        if asked.mode == "Complete":
            raise invalid_template(
                "The deployment mode 'Complete' is not supported for a deployment to the subscription's scope"
            )
        if not asked.location:
            raise AzureError(
                400,
                "InvalidDeployment",
                f"The 'location' property must be specified for '{name}'. Please see "
                "https://aka.ms/arm-deployment-subscription for usage details.",
            )
        region = self._engine.locations.normalize(asked.location)
        if not self._engine.locations.known(region):
            raise AzureError(
                400,
                "LocationNotAvailableForDeployment",
                f"The provided location '{asked.location}' is not available for deployment. List of "
                f"available regions is '{','.join(self._engine.locations.names())}'.",
            )

    def _open_for_preflight(self, parent: Spec, step: Step, made: Mapping[str, Json]) -> Spec | None:
        """A nested deployment as far as it can be looked into before its parent runs.

        `made` are the documents of the groups that will be there by then, by their keys.
        """
        body = step.preview or {}
        known = {k: v for k, v in body.get("properties", {}).items() if k != "template"}
        if preflight.is_open(known):
            return None
        group = ResourceId(step.id.subscription, step.id.group)
        if step.id.group and group.key not in made and not self._engine.catalog.find(group):
            return None
        return self.open_nested(parent, step, body, step.scope, made.get(group.key))

    def nested_of(self, spec: Spec, made: dict[str, Json] | None = None) -> list[Opened]:
        """The deployments nested in one, at any depth, as far as they can be looked into beforehand.

        `made` are the groups that deployments around it make; its own are added.
        """
        groups = {} if made is None else made
        groups.update(self._groups_of(spec))
        found: list[Opened] = []
        waiting = [step for step in spec.opened.graph.steps if step.is_deployment]
        while waiting:
            later: list[Step] = []
            for step in waiting:
                if inner := self._open_for_preflight(spec, step, groups):
                    found += [inner.opened, *self.nested_of(inner, groups)]
                else:
                    later.append(step)
            if len(later) == len(waiting):
                break
            waiting = later  # one that was opened may make another's group
        return found

    def _groups_of(self, spec: Spec) -> dict[str, Json]:
        """The groups that a deployment makes anew, by their keys."""
        found: dict[str, Json] = {}
        for step in spec.opened.graph.steps:
            location = (step.preview or {}).get("location")
            if step.kind.lower() != GROUPS or step.existing or preflight.is_open(location):
                continue
            if self._engine.catalog.find(step.id) is None:
                region = self._engine.locations.normalize(str(location))
                found[step.id.key] = {**(group_document(step.id, None) or {}), "location": region}
        return found

    def _check_tenant(self, parent: ResourceId, nested: ResourceId) -> None:
        """A deployment may go to every subscription of its tenant. Raises 403, and 404 when there is none."""
        subscriptions = self._engine.subscriptions
        tenant, other = (subscriptions.get(id.subscription).document["tenantId"] for id in (parent, nested))
        if tenant != other:
            raise AzureError(
                403,
                "LinkedAuthorizationFailed",
                "The client has permission to perform action 'Microsoft.Resources/deployments/write' on "
                f"scope '{parent}', however the current tenant '{tenant}' is not authorized to access linked "
                f"subscription '{nested.subscription}'.",
            )

    def open_nested(
        self, parent: Spec, step: Step, body: Json, scope: Scope, group: Json | None = None
    ) -> Spec:
        """A step that is a deployment; `body` is evaluated but for its template. Raises AzureError.

        `group` is the document of its group when that is not there yet.
        """
        if parent.nesting >= MAXIMUM_NESTING:
            raise invalid_template(f"Deployments are nested more than '{MAXIMUM_NESTING}' levels deep")
        try:
            parent.opened.scope.budget.spend(NESTED_COST)
        except ExpressionError as error:
            raise invalid_template(error.message) from error
        asked = read_request(body, self.fetch, parent.url)
        if asked.mode == "Complete":
            raise invalid_template(
                "The deployment mode 'Complete' is not supported for nested deployments. Please see "
                "https://aka.ms/arm-deployment-modes for usage details."
            )
        self._check_tenant(parent.id, step.id)
        if not step.id.group:
            self._check_subscription_scope(step.id.name, asked)
        home = ResourceId(step.id.subscription, step.id.group)
        outer = None if is_inner(step.body.get("properties") or {}) else scope
        now = self._clock()
        place = self.places.of(step.id, asked, parent.base)
        place = place if group is None else replace(place, group=group)
        setting = Setting(place, home, now, outer, parent.opened.scope.budget)
        secrets = (*secrets_of(asked.template, asked.values), *parent.secrets)
        with unsaid(secrets):
            opened = open_template(asked.template, asked.values, setting)
        url = asked.link["uri"] if asked.link else parent.url
        level = parent.nesting + 1
        above = () if outer is None else (parent.opened.graph, *parent.above)
        return Spec(
            step.id,
            asked,
            opened,
            parent.base,
            parent.correlation,
            now,
            level,
            url,
            parent.secrets,
            above,
        )
