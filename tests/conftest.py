"""Options of all tests."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--azure",
        action="store_true",
        help="Run the tests of clouds against Azure itself, as who is signed in. What they make costs "
        "a little and is deleted at the end. VMSTAMP_CLOUD, _SUBSCRIPTION and _LOCATION say where.",
    )
