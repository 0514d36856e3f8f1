"""The base of the SDK's tests for storage, for a live run."""

from __future__ import annotations

import hashlib
import logging
import math
import os
import random
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from io import StringIO
from types import TracebackType
from typing import Any

from .credentials import AsyncLiveCredential, LiveCredential

__all__ = [
    "GenericTestProxyParametrize1",
    "GenericTestProxyParametrize2",
    "LogCaptured",
    "StorageRecordedTestCase",
]

SUFFIX = "core.windows.net"


class GenericTestProxyParametrize1:
    """Decorates a test with one parameter of pytest's: there is nothing to do."""

    def __call__(self, test: Callable[..., Any]) -> Callable[..., Any]:
        return test


class GenericTestProxyParametrize2(GenericTestProxyParametrize1):
    """The same with two parameters."""


class StorageRecordedTestCase:
    """What tests ask of their class. pytest makes a new instance for each test."""

    is_live = True
    is_playback = False

    @property
    def _test(self) -> str:
        return os.environ["PYTEST_CURRENT_TEST"].rsplit(" ", 1)[0]

    def get_resource_name(self, name: str) -> str:
        """The same name whenever this test asks, another one for any other test."""
        return name + hashlib.sha256(self._test.encode()).hexdigest()[:8]

    def get_random_bytes(self, size: int) -> bytes:
        return random.Random(hashlib.sha256(self._test.encode()).digest()).randbytes(size)

    def get_random_text_data(self, size: int) -> str:
        """Text of `size` characters or a few more, each one byte in UTF-8."""
        source = random.Random(self._test)
        words: list[str] = []
        while len("".join(words)) < size:
            words.append(source.choice(("hello ", "world ", "python ")))
        return "".join(words)

    def account_url(self, account: str, storage_type: str) -> str:
        return f"https://{account}.{storage_type.lower()}.{SUFFIX}"

    def connection_string(self, account: str, key: str) -> str:
        return (
            f"DefaultEndpointsProtocol=https;AccountName={account};AccountKey={key};EndpointSuffix={SUFFIX}"
        )

    def generate_sas(self, sign: Callable[..., str], *arguments: Any, **named: Any) -> str:
        named.pop("fake_value", None)
        return sign(*arguments, **named)

    def generate_fake_sas_token(self) -> str:
        return "sp=r&st=2020-01-01T00:00:00Z&se=2020-01-02T00:00:00Z&sv=2021-06-08&sr=c&sig=ZmFrZQ%3D%3D"

    def get_credential(
        self, client: type | None = None, is_async: bool = False, **_: Any
    ) -> LiveCredential | AsyncLiveCredential:
        return AsyncLiveCredential() if is_async else LiveCredential()

    def get_settings_value(self, name: str) -> str:
        return os.environ.get(f"AZURE_{name}") or os.environ[name]

    def get_datetime_variable(self, variables: dict[str, str], name: str, value: datetime) -> datetime:
        variables[name] = value.isoformat()
        return value

    def assert_upload_progress(
        self, size: int, chunk: int, progress: list[tuple[int, int]], unknown_size: bool = False
    ) -> None:
        """`progress`: bytes sent so far and in all, after each request of an upload in chunks."""
        assert len(progress) == math.ceil(size / chunk)
        _assert_steps(progress, size, chunk, None if unknown_size else size)

    def assert_download_progress(
        self, size: int, chunk: int, first: int, progress: list[tuple[int, int]]
    ) -> None:
        """The same of a download: `first` bytes with its first request, then chunks, at the same time.

        A test gives a `size` of its own when one request is enough, which is then all that can be told.
        """
        assert len(progress) == 1 + math.ceil(max(0, size - first) / chunk)
        assert size <= first or progress[0][0] == first
        _assert_steps(
            [(current - first, total) for current, total in progress[1:]], size - first, chunk, size
        )

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def assertNamedItemInContainer(self, items: Iterable[Any], name: str, message: str = "") -> None:
        assert name in [_name(item) for item in items], message


def _assert_steps(progress: list[tuple[int, int]], size: int, chunk: int, total: int | None) -> None:
    """Requests may be under way at the same time, so that two may count the same bytes."""
    assert {current % chunk for current, _ in progress} <= {0, size % chunk}
    assert all(said == total for _, said in progress)


def _name(item: Any) -> Any:
    return item if isinstance(item, str) else item.name


class LogCaptured:
    """Collects what the SDK logs, of every level."""

    def __init__(self, test_case: object = None) -> None:
        self._stream = StringIO()
        self._handler = logging.StreamHandler(self._stream)
        self._handler.setFormatter(logging.Formatter("%(asctime)s %(name)-20s %(levelname)-5s %(message)s"))
        self._logger = logging.getLogger("azure.storage")
        self._level = self._logger.level

    def __enter__(self) -> StringIO:
        self._logger.addHandler(self._handler)
        self._logger.setLevel(logging.DEBUG)
        return self._stream

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._logger.removeHandler(self._handler)
        self._logger.setLevel(self._level)
