"""Blob URLs taken apart, and the SDK's errors in our words."""

import pytest
from azure.core.exceptions import ServiceRequestError

from vmstamp.errors import TransferError
from vmstamp.transfer.blobs import BlobAddress, explain, parse_blob_url, without_sas


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (
            "http://127.0.0.1:10000/acct/vhds/a.vhd",
            BlobAddress("http://127.0.0.1:10000/acct", "acct", "vhds", "a.vhd"),
        ),
        (
            "https://acct.blob.core.windows.net/vhds/dir/a.vhd?sv=1&sig=x",
            BlobAddress("https://acct.blob.core.windows.net", "acct", "vhds", "dir/a.vhd"),
        ),
    ],
)
def test_both_styles_of_url_are_taken_apart(url: str, expected: BlobAddress) -> None:
    assert parse_blob_url(url) == expected


@pytest.mark.parametrize(
    "url", ["", "a.vhd", "ftp://h/a/b/c", "http://127.0.0.1:1/acct/vhds", "https://a.blob.x/only"]
)
def test_what_is_not_a_blob_url_is_refused(url: str) -> None:
    with pytest.raises(TransferError, match="not a blob URL"):
        parse_blob_url(url)


def test_an_error_never_shows_the_sas() -> None:
    url = "http://127.0.0.1:1/acct/vhds/a.vhd?sv=1&sig=SECRET"
    error = explain(ServiceRequestError("connection refused"), "uploading to", url)
    assert "SECRET" not in str(error)
    assert without_sas(url) in str(error)
    assert "vmstamp status" in error.hint
