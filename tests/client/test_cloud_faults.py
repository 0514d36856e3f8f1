"""What goes wrong on the way to a cloud: it is busy, unavailable, a token is over in the middle of things."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client.cloud_door import FakeCloud, Fault, fake_guests
from vmstamp.cli.images import IMAGES
from vmstamp.cli.managed_disks import DISKS
from vmstamp.cli.vms import VMS

MIB = 1024 * 1024
AT_ONCE = ("x-ms-retry-after-ms", "10")


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeCloud]:
    with fake_guests(tmp_path_factory.mktemp("cloud-faults")) as found:
        yield found


@pytest.fixture(autouse=True)
def no_faults_left(cloud: FakeCloud) -> Iterator[None]:
    yield
    cloud.faults.coming.clear()


@pytest.fixture(scope="module")
def disk(cloud: FakeCloud) -> Path:
    path = cloud.door.root / "disk.raw"
    with path.open("wb") as file:
        file.truncate(24 * MIB)
        file.seek(MIB)
        file.write(b"data" * 1000)
    return path


@pytest.fixture(scope="module")
def url(cloud: FakeCloud, disk: Path) -> str:
    return str(cloud.door.json("upload", disk, "web.vhd")["url"])


@pytest.mark.parametrize(
    "fault",
    [
        Fault("PUT", "/images/web", 429, "SubscriptionRequestsThrottled", AT_ONCE),
        Fault("PUT", "/images/web", 503, "ServiceUnavailable", AT_ONCE),
        Fault("GET", "/images/web", 503, "ServiceUnavailable"),
    ],
    ids=["429", "503", "503 without a time"],
)
def test_a_busy_service_is_asked_again(cloud: FakeCloud, url: str, fault: Fault) -> None:
    cloud.faults.coming += [fault, fault]
    cloud.door("image", "create", "web", "--source", url, "--generation", "2")
    assert cloud.faults.coming == []
    cloud.door("image", "delete", "web")


@pytest.mark.parametrize(("status", "code"), [(429, "TooManyRequests"), (503, "ServiceUnavailable")])
def test_a_service_that_stays_busy_is_told_and_what_was_made(
    cloud: FakeCloud, disk: Path, status: int, code: str
) -> None:
    cloud.faults.coming += [Fault("PUT", "/images/busy", status, code, AT_ONCE)] * 12
    url = cloud.door.json("upload", disk, f"busy-{status}.vhd")["url"]
    error = cloud.door.error("image", "create", "busy", "--source", url, "--generation", "2")
    assert (error["code"], error["message"]) == (code, f"{code}: {code}, by the tests.")
    assert "then the same command again" in error["hint"]
    assert cloud.door.find(IMAGES, "busy") is None


def test_a_token_that_is_over_in_the_middle_of_an_upload_is_renewed(cloud: FakeCloud, disk: Path) -> None:
    expired = "ExpiredAuthenticationToken"
    cloud.faults.coming += [
        Fault("POST", "/disks/renewed/beginGetAccess", 401, expired),
        Fault("POST", "/disks/renewed/endGetAccess", 401, expired),
    ]
    assert cloud.door.json("upload", disk, "--as", "disk", "renewed")["upload"]["sent"] > 0
    assert cloud.faults.coming == []
    found = cloud.door.find(DISKS, "renewed")
    assert found is not None and found["properties"]["diskState"] == "Unattached"


def test_an_upload_whose_sign_in_ended_is_told_and_goes_on(cloud: FakeCloud, disk: Path) -> None:
    over = Fault("POST", "/disks/over/endGetAccess", 401, "ExpiredAuthenticationToken")
    cloud.faults.coming += [over] * 8
    error = cloud.door.error("upload", disk, "--as", "disk", "over")
    assert error["code"] == "ExpiredAuthenticationToken"
    assert error["hint"] == "az login, then the same command again"
    assert any("left: managed disk over (storage by GiB-month)" in line for line in error["left"])
    cloud.faults.coming.clear()
    cloud.door("upload", disk, "--as", "disk", "over")
    found = cloud.door.find(DISKS, "over")
    assert found is not None and found["properties"]["diskState"] == "Unattached"


@pytest.mark.parametrize(
    ("status", "code", "hint"),
    [
        (403, "AuthorizationFailed", "ask for a role there"),
        (409, "SkuNotAvailable", "another --size or --location"),
        (409, "MissingSubscriptionRegistration", "az provider register"),
    ],
)
def test_a_refusal_has_azures_code_and_a_mend(
    cloud: FakeCloud, url: str, status: int, code: str, hint: str
) -> None:
    cloud.faults.coming.append(Fault("PUT", "/images/refused", status, code))
    error = cloud.door.error("image", "create", "refused", "--source", url, "--generation", "2")
    assert error["code"] == code and hint in error["hint"]
    assert "left" not in error


@pytest.mark.parametrize(
    ("words", "instead"),
    [
        (("subscription", "create", "dev"), "az account alias"),
        (("subscription", "delete", "dev"), "az account alias"),
        (("image", "build", "tiny", "--publish"), "vmstamp image create"),
        (("azcopy", "--", "list"), "az login"),
        (("env", "--shell", "fish"), "az login"),
    ],
    ids=" ".join,
)
def test_what_only_a_stamp_has_is_refused(cloud: FakeCloud, words: tuple[str, ...], instead: str) -> None:
    said = cloud.door(*words, status=1).stderr.decode()
    assert "is of a stamp only" in said and instead in said


def test_subscriptions_are_listed_and_meant_by_name(cloud: FakeCloud) -> None:
    found = cloud.door.json("subscription", "list")
    assert len(found) == 1
    name = found[0]["displayName"]
    assert cloud.door.json("status", "--subscription", name)["subscription"] == found[0]["subscriptionId"]


def test_a_console_is_followed_until_the_vm_stops(cloud: FakeCloud, url: str) -> None:
    cloud.door("image", "create", "talks", "--source", url, "--generation", "2")
    cloud.door("vm", "create", "talks", "--image", "talks")
    cloud.door("vm", "stop", "talks")
    assert cloud.door("vm", "log", "talks", "--follow").text == "Linux version 6.1\nlogin: "
    assert cloud.door.error("vm", "log", "talks", "--follow", status=2)["code"] == "Usage"
    assert cloud.door.find(VMS, "talks") is not None
