"""Shapes of request bodies."""

from __future__ import annotations

from typing import Any

import pytest

from vmstamp.arm.shape import KEEP, READ_ONLY, OneOf, Only, clean, merged, tags
from vmstamp.errors import AzureError

SHAPE = {
    "size": int,
    "name": str,
    "on": bool,
    "kind": OneOf("Linux", "Windows"),
    "feature": Only(False),
    "state": READ_ONLY,
    "free": KEEP,
    "disks": [{"lun": int}],
}


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"SIZE": 1, "Name": "x"}, {"size": 1, "name": "x"}),
        ({"size": "12", "on": "True"}, {"size": 12, "on": True}),
        ({"kind": "linux"}, {"kind": "Linux"}),
        ({"size": None, "state": {"x": 1}, "unknown": None}, {}),
        ({"unknown": [], "other": {}}, {}),
        ({"free": {"a": None, "b": [1]}}, {"free": {"b": [1]}}),
        ({"disks": [{"LUN": 1}, None]}, {"disks": [{"lun": 1}]}),
        ({"feature": False}, {"feature": False}),
    ],
)
def test_body_is_spelled_and_cleaned(given: dict[str, Any], found: dict[str, Any]) -> None:
    assert clean(given, SHAPE) == found


@pytest.mark.parametrize(
    ("given", "code", "part"),
    [
        ({"size": "x"}, "InvalidRequestContent", "Path 'size'"),
        ({"size": True}, "InvalidRequestContent", "Path 'size'"),
        ({"name": 5}, "InvalidRequestContent", "Path 'name'"),
        ({"kind": "Plan9"}, "InvalidParameter", "Allowed values are 'Linux', 'Windows'"),
        ({"feature": True}, "NotSupportedByStamp", "The value 'true' of property 'feature'"),
        ({"feature": 0}, "NotSupportedByStamp", "The value '0' of property 'feature'"),
        ({"disks": [{"lun": 0, "speed": 3}]}, "NotSupportedByStamp", "disks[0].speed"),
        ({"disks": {}}, "InvalidRequestContent", "Path 'disks'"),
        ([], "InvalidRequestContent", "object"),
    ],
)
def test_what_a_shape_does_not_take_is_named(given: Any, code: str, part: str) -> None:
    with pytest.raises(AzureError) as caught:
        clean(given, SHAPE)
    assert caught.value.code == code and part in caught.value.message


def test_wrong_value_of_a_text_is_not_repeated() -> None:
    with pytest.raises(AzureError) as caught:
        clean({"name": ["secret"]}, SHAPE)
    assert "secret" not in caught.value.message


def test_patch_is_merged_without_case() -> None:
    base = {"a": {"b": 1, "c": 2}, "d": [1], "e": 1}
    assert merged(base, {"A": {"B": 3}, "d": [2], "e": None}) == {"a": {"b": 3, "c": 2}, "d": [2]}


def test_tags_are_texts() -> None:
    assert tags({"tags": {"a": "b"}}) == {"a": "b"}
    with pytest.raises(AzureError):
        tags({"tags": {"a": 1}})
    with pytest.raises(AzureError):
        tags({"tags": {str(i): "" for i in range(51)}})
