"""The base of the SDK's asynchronous tests for storage."""

from . import GenericTestProxyParametrize1, GenericTestProxyParametrize2, StorageRecordedTestCase

__all__ = ["AsyncStorageRecordedTestCase", "GenericTestProxyParametrize1", "GenericTestProxyParametrize2"]


class AsyncStorageRecordedTestCase(StorageRecordedTestCase):
    """Its tests are coroutines; all else is the same."""
