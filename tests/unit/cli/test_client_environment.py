"""`vmstamp env`: the variables for Azure's clients, and how a shell gets its own back."""

import configparser
import dataclasses
import json
from pathlib import Path

import pytest

from tests.unit.cli.test_cli_flows import ENDPOINT
from vmstamp.cli import client_environment as clients
from vmstamp.paths import Home
from vmstamp.run import run

ENDPOINT_HERE = dataclasses.replace(
    ENDPOINT, arm="https://127.0.0.1:8443", blob_https="https://127.0.0.1:8444", client_secret="it's secret"
)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "ho me")
    home.make()
    return home


def in_shell(lines: list[str], environ: dict[str, str]) -> dict[str, str]:
    """The environment after the lines, run by a shell that has nothing else."""
    script = "\n".join([*lines, "exec env -0"])
    done = run(["env", "-i", *(f"{key}={value}" for key, value in environ.items()), "sh", "-ec", script])
    pairs = (entry.partition("=") for entry in done.text.split("\0") if entry)
    return {key: value for key, _, value in pairs if key not in ("PWD", "_", "SHLVL")}


@pytest.mark.parametrize(
    "before",
    [
        {"PATH": "/usr/bin:/bin"},
        {
            "PATH": "/usr/bin:/bin",
            "AZURE_CONFIG_DIR": "/my/own 'az'",
            "HTTPS_PROXY": "http://p:1",
            "NO_PROXY": "a,b",
        },
    ],
)
def test_a_shell_gets_back_what_it_had_also_when_it_was_set_twice(home: Home, before: dict[str, str]) -> None:
    found = clients.variables(ENDPOINT_HERE, home, before)
    once = in_shell(list(clients.setting(found, home, before)), before)
    assert once["AZURE_CONFIG_DIR"] == str(home.azure) and once["AZURE_CLIENT_SECRET"] == "it's secret"
    assert clients.variables(ENDPOINT_HERE, home, once) == found
    twice = in_shell(list(clients.setting(found, home, once)), once)
    assert twice == once
    assert in_shell(list(clients.undoing(twice)), twice) == before
    assert list(clients.undoing(before)) == []


def test_fish_is_told_in_its_own_words(home: Home) -> None:
    before = {"AZURE_CONFIG_DIR": "/my/own 'az' \\ x"}
    found = clients.variables(ENDPOINT_HERE, home, before)
    lines = list(clients.setting(found, home, before, clients.FISH))
    assert r"set -gx VMSTAMP_SAVED_AZURE_CONFIG_DIR '/my/own \'az\' \\ x'" in lines
    assert r"set -gx AZURE_CLIENT_SECRET 'it\'s secret'" in lines
    environ = {"VMSTAMP_ENV": "x", "VMSTAMP_SAVED_AZURE_CONFIG_DIR": "/old"}
    undone = list(clients.undoing(environ, clients.FISH))
    assert undone[0] == "set -gx AZURE_CONFIG_DIR '/old'; set -e VMSTAMP_SAVED_AZURE_CONFIG_DIR"
    assert undone[-1] == "set -e VMSTAMP_ENV"


def test_a_proxy_is_not_asked_for_the_stamp(home: Home) -> None:
    found = clients.variables(ENDPOINT_HERE, home, {"https_proxy": "http://p:1", "no_proxy": "corp"})
    assert found["NO_PROXY"].split(",") == ["corp", "127.0.0.1", "localhost", ".localhost"]
    assert "NO_PROXY" not in clients.variables(ENDPOINT_HERE, home, {})


def test_the_files_are_what_az_reads_and_for_the_owner_alone(home: Home, tmp_path: Path) -> None:
    authority, corporate = tmp_path / "ca.pem", tmp_path / "corporate.pem"
    authority.write_text("OURS\n")
    corporate.write_text("THEIRS")
    endpoint = dataclasses.replace(ENDPOINT_HERE, ca=authority)
    clients.write_files(endpoint, home, {"REQUESTS_CA_BUNDLE": str(corporate)})
    assert home.bundle.read_text() == "THEIRS\nOURS\n"
    clouds, config = configparser.ConfigParser(), configparser.ConfigParser()
    clouds.read(home.azure / "clouds.config")
    config.read(home.azure / "config")
    cloud = clouds[config["cloud"]["name"]]
    assert cloud["endpoint_active_directory"] == "https://127.0.0.1:8443/adfs"
    assert cloud["suffix_storage_endpoint"] == "localhost:8444"
    secret = json.loads((home.azure / "service_principal_entries.json").read_text())[0]
    assert secret == {"client_id": "c", "tenant": "t", "client_secret": "it's secret"}
    assert {path.stat().st_mode & 0o777 for path in (*home.azure.iterdir(), home.bundle)} == {0o600}

    clients.write_files(endpoint, home, {})
    assert home.bundle.read_text().count("BEGIN CERTIFICATE") > 50
