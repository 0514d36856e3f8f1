"""Resource groups through the official azure-mgmt-resource."""

from __future__ import annotations

from typing import Any

import pytest
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ResourceNotFoundError
from azure.mgmt.resource.resources import ResourceManagementClient


def error_of(caught: Any) -> Any:
    return caught.value.error


def test_group_is_created_listed_tagged_and_deleted(arm: Any) -> None:
    client = arm.resources
    made = client.resource_groups.create_or_update("rg1", {"location": "West Europe", "tags": {"a": "1"}})
    assert (made.name, made.location) == ("rg1", "westeurope")
    assert made.properties.provisioning_state == "Succeeded"
    assert client.resource_groups.check_existence("RG1")
    assert client.resource_groups.update("rg1", {"tags": {"b": "2"}}).tags == {"b": "2"}
    assert [group.name for group in client.resource_groups.list()] == ["rg", "rg1"]
    client.resource_groups.begin_delete("rg1").result(30)
    assert not client.resource_groups.check_existence("rg1")


def test_absent_group_is_named(arm: Any) -> None:
    with pytest.raises(ResourceNotFoundError) as caught:
        arm.resources.resource_groups.get("nothing")
    assert error_of(caught).code == "ResourceGroupNotFound"
    assert error_of(caught).message == "Resource group 'nothing' could not be found."


def test_group_stays_in_its_location(arm: Any) -> None:
    client = arm.resources
    client.resource_groups.create_or_update("rg1", {"location": "westeurope"})
    with pytest.raises(HttpResponseError) as caught:
        client.resource_groups.create_or_update("rg1", {"location": "eastus"})
    assert error_of(caught).code == "InvalidResourceGroupLocation"


def test_unknown_location_is_refused_with_the_known_ones(arm: Any) -> None:
    with pytest.raises(HttpResponseError) as caught:
        arm.resources.resource_groups.create_or_update("rg1", {"location": "atlantis"})
    assert error_of(caught).code == "LocationNotAvailableForResourceGroup"
    assert "westeurope" in error_of(caught).message


def test_wrong_token_is_refused_with_a_challenge(arm: Any, static_token: Any) -> None:
    client = arm.client(ResourceManagementClient, static_token("another token"))
    with pytest.raises(ClientAuthenticationError) as caught:
        client.resource_groups.get("rg1")
    response: Any = caught.value.response
    assert response.headers["WWW-Authenticate"].startswith("Bearer authorization_uri=")
