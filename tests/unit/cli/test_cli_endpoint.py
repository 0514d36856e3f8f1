"""stamp.json: read, believed only when its process is ours."""

import json
import os
from pathlib import Path

import pytest

from vmstamp.cli.endpoint import find_endpoint, get_endpoint, is_ours, parse_endpoint
from vmstamp.errors import StampError
from vmstamp.paths import Home

DOCUMENT = {
    "pid": 1,
    "started": "2026-01-02T03:04:05Z",
    "arm": "https://127.0.0.1:8443/",
    "blob": "http://127.0.0.1:10000",
    "blob_https": "https://127.0.0.1:10001",
    "ca": "/h/certs/ca.pem",
    "subscription": "11111111-0000-0000-0000-000000000000",
    "tenant": "22222222-0000-0000-0000-000000000000",
    "client_id": "c",
    "client_secret": "SECRET",
    "location": "local",
    "accelerator": {"name": "tcg", "reason": "KVM: no"},
    "version": "0.1.0",
}


def test_the_document_is_read_and_its_secret_is_not_shown() -> None:
    endpoint = parse_endpoint(DOCUMENT)
    assert endpoint.arm == "https://127.0.0.1:8443"
    assert endpoint.accelerator == "tcg"
    assert "SECRET" not in repr(endpoint)


def test_no_file_means_no_stamp(tmp_path: Path) -> None:
    assert find_endpoint(Home(tmp_path)) is None


def test_the_file_of_a_dead_server_means_no_stamp(tmp_path: Path) -> None:
    (tmp_path / "stamp.json").write_text(json.dumps({**DOCUMENT, "pid": 2**22 + 1}))
    assert find_endpoint(Home(tmp_path)) is None


def test_another_process_under_the_pid_is_not_the_server(tmp_path: Path) -> None:
    (tmp_path / "stamp.json").write_text(json.dumps({**DOCUMENT, "pid": os.getpid()}))
    assert not is_ours(os.getpid(), Home(tmp_path))
    with pytest.raises(StampError, match="not running") as caught:
        get_endpoint(Home(tmp_path))
    assert "vmstamp up" in caught.value.hint


def test_a_garbled_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "stamp.json").write_text("{")
    with pytest.raises(StampError, match=r"stamp\.json: not JSON"):
        find_endpoint(Home(tmp_path))
