"""Authorisation: the strings that are signed, as Microsoft documents them, and who is let in."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from azure.storage.blob import generate_account_sas, generate_blob_sas, generate_container_sas

from vmstamp.blob import auth, sas
from vmstamp.blob.records import AccessPolicy, Account, Container
from vmstamp.blob.request import Request, parse_address, parse_query
from vmstamp.errors import AzureError

NOW = datetime(2026, 5, 4, 12, 0, 0, tzinfo=UTC)
KEY1 = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
KEY2 = "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA="
ACCOUNT = Account("myaccount", KEY1, KEY2, False, NOW)
CONTAINER = Container("myaccount", "pics", '"0x1"', NOW)
HOST = "127.0.0.1:10000"


def request(method: str, path: str, query: str = "", **headers: str) -> Request:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request(method, path, parse_query(query), names, parse_address(HOST, path), query, "http", HOST)


def refused(found: Request, container: Container | None = CONTAINER, now: datetime = NOW) -> tuple[int, str]:
    with pytest.raises(AzureError) as caught:
        auth.authenticate(found, ACCOUNT, container, now)
    return caught.value.status, caught.value.code


# -- Shared Key: the example of "Authorize with Shared Key", with the account in the path as well


def test_the_string_of_a_list_request_is_the_documented_one() -> None:
    found = request(
        "GET",
        "/mycontainer",
        "comp=metadata&restype=container&timeout=20",
        x_ms_date="Fri, 26 Jun 2015 23:39:12 GMT",
        x_ms_version="2015-02-21",
    )
    assert next(iter(auth.strings_to_sign(found, "myaccount"))) == (
        "GET\n\n\n\n\n\n\n\n\n\n\n\n"
        "x-ms-date:Fri, 26 Jun 2015 23:39:12 GMT\nx-ms-version:2015-02-21\n"
        "/myaccount/mycontainer\ncomp:metadata\nrestype:container\ntimeout:20"
    )


def test_a_length_of_zero_is_signed_as_nothing_and_a_date_is_signed_once() -> None:
    found = request("PUT", "/a/b/c", "", content_length="0", date="d", x_ms_date="e", content_type="t")
    assert next(iter(auth.strings_to_sign(found, "a"))) == (
        "PUT\n\n\n\n\nt\n\n\n\n\n\n\nx-ms-date:e\n/a/a/b/c"
    )


def test_header_names_are_sorted_as_if_they_had_no_hyphens() -> None:
    found = request("PUT", "/a/b/c", "", x_ms_meta_ab="1", x_ms_meta_a_c="2", x_ms_meta_a_b="3")
    first, *_, last = auth.strings_to_sign(found, "a")
    assert "x-ms-meta-ab:1\nx-ms-meta-a-b:3\nx-ms-meta-a-c:2\n" in first
    assert "x-ms-meta-a-b:3\nx-ms-meta-a-c:2\nx-ms-meta-ab:1\n" in last


def signed_request(key: str, *, date: datetime = NOW) -> Request:
    stamp = date.strftime("%a, %d %b %Y %H:%M:%S GMT")
    plain = request("GET", "/myaccount/pics/a.jpg", "", x_ms_date=stamp, x_ms_version="2021-12-02")
    signature = sas.sign(key, next(iter(auth.strings_to_sign(plain, "myaccount"))))
    return plain._replace(headers={**plain.headers, "authorization": f"SharedKey myaccount:{signature}"})


@pytest.mark.parametrize("key", [KEY1, KEY2])
def test_either_key_may_do_all(key: str) -> None:
    assert auth.authenticate(signed_request(key), ACCOUNT, None, NOW).everything


def test_another_key_an_old_date_and_a_hidden_account_are_refused() -> None:
    assert refused(signed_request("bm9uZSBvZiB0aGVpcnM=")) == (403, "AuthenticationFailed")
    assert refused(signed_request(KEY1, date=NOW - timedelta(minutes=16))) == (403, "AuthenticationFailed")
    with pytest.raises(AzureError) as caught:
        auth.authenticate(signed_request(KEY1), replace(ACCOUNT, hidden=True), None, NOW)
    assert caught.value.code == "KeyBasedAuthenticationNotPermitted"


# -- SAS: one layout per span of versions

FIELDS = {
    "sp": "r",
    "st": "2026-05-01",
    "se": "2026-06-01",
    "si": "id",
    "sip": "10.0.0.1",
    "spr": "https",
    "sr": "bs",
    "snapshot": "snap",
    "ses": "scope",
    "rscc": "cc",
    "rscd": "cd",
    "rsce": "ce",
    "rscl": "cl",
    "rsct": "ct",
    "ss": "b",
    "srt": "sco",
}
HEAD = "r\n2026-05-01\n2026-06-01\n/blob/a/c/b\nid\n10.0.0.1\nhttps\n"
TAIL = "cc\ncd\nce\ncl\nct"


@pytest.mark.parametrize(
    ("version", "between"),
    [
        ("2015-04-05", ""),
        ("2018-03-28", ""),
        ("2018-11-09", "bs\nsnap\n"),
        ("2020-10-02", "bs\nsnap\n"),
        ("2020-12-06", "bs\nsnap\nscope\n"),
        ("2026-02-06", "bs\nsnap\nscope\n"),
    ],
)
def test_a_service_sas_signs_what_its_version_says(version: str, between: str) -> None:
    assert sas.service_string({**FIELDS, "sv": version}, "/a/c/b") == f"{HEAD}{version}\n{between}{TAIL}"


@pytest.mark.parametrize(("version", "scope"), [("2018-03-28", ""), ("2020-12-06", "scope\n")])
def test_an_account_sas_signs_what_its_version_says(version: str, scope: str) -> None:
    assert sas.account_string({**FIELDS, "sv": version}, "a") == (
        f"a\nr\nb\nsco\n2026-05-01\n2026-06-01\n10.0.0.1\nhttps\n{version}\n{scope}"
    )


def test_the_sdks_signatures_are_taken() -> None:
    end = NOW + timedelta(hours=1)
    blob = generate_blob_sas("myaccount", "pics", "a b/ü.jpg", account_key=KEY2, permission="rw", expiry=end)
    container = generate_container_sas("myaccount", "pics", account_key=KEY1, permission="rl", expiry=end)
    account = generate_account_sas("myaccount", KEY1, "co", "rl", end)
    for query, permissions in ((blob, "rw"), (container, "rl"), (account, "rl")):
        found = request("GET", "/myaccount/pics/a%20b%2F%C3%BC.jpg", query)
        assert auth.authenticate(found, ACCOUNT, CONTAINER, NOW).permissions == permissions


def make(**change: object) -> str:
    fields: dict[str, object] = {
        "permissions": "r",
        "start": None,
        "expiry": NOW + timedelta(hours=1),
        "policy": None,
    }
    return sas.make_service_sas(KEY1, "/myaccount/pics/a", "b", **{**fields, **change})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "query",
    [
        make(expiry=NOW),
        make(start=NOW + timedelta(seconds=1)),
        make(expiry=None),
        make(permissions=""),
        make(policy="unknown"),
        make().replace("sp=r", "sp=rw"),
        make().replace("sv=2021-12-02", "sv=2012-02-12"),
        make() + "&skoid=x",
    ],
)
def test_a_sas_that_is_not_good_is_refused(query: str) -> None:
    assert refused(request("GET", "/myaccount/pics/a", query)) == (403, "AuthenticationFailed")


def test_a_policy_fills_in_what_the_sas_leaves_open_and_nothing_else() -> None:
    policy = AccessPolicy("p", "rw", None, NOW + timedelta(hours=1))
    container = replace(CONTAINER, policies=(policy,))
    found = request("GET", "/myaccount/pics/a", make(permissions="", expiry=None, policy="p"))
    assert auth.authenticate(found, ACCOUNT, container, NOW).permissions == "rw"
    assert refused(found, container, NOW + timedelta(hours=2)) == (403, "AuthenticationFailed")
    twice = request("GET", "/myaccount/pics/a", make(expiry=None, policy="p"))
    assert refused(twice, container) == (403, "AuthenticationFailed")


@pytest.mark.parametrize(
    ("host", "path", "expected"),
    [
        (HOST, "/acct/vhds/a.vhd", ("acct", "vhds", "a.vhd")),
        (HOST, "/acct/vhds/d%2Fa%20b", ("acct", "vhds", "d/a b")),
        (HOST, "/acct/vhds%2Fa.vhd", ("acct", "vhds", "a.vhd")),
        (HOST, "/acct", ("acct", "", "")),
        ("acct.blob.localhost:1", "/vhds/d/a", ("acct", "vhds", "d/a")),
        ("md-0123.blob.storage.azure.net", "/disk/abcd", ("md-0123", "disk", "abcd")),
    ],
)
def test_an_address_is_in_the_path_or_in_the_host(
    host: str, path: str, expected: tuple[str, str, str]
) -> None:
    assert parse_address(host, path) == expected
