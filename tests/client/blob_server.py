"""A Blob service in a process of its own, for tests that kill it: python blob_server.py ROOT DESCRIPTOR

Serves the store below ROOT, after its recovery, on the listening socket that it inherits as DESCRIPTOR.
"""

import socket
import sys
from pathlib import Path

import uvicorn

from vmstamp.blob.rest import app
from vmstamp.blob.store import BlobStore
from vmstamp.db import Database


def main() -> None:
    root, descriptor = Path(sys.argv[1]), int(sys.argv[2])
    store = BlobStore(Database(root / "stamp.db"), root / "content")
    store.recover()
    config = uvicorn.Config(app(store), http="h11", log_level="warning", lifespan="off", ws="none")
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=descriptor)])


if __name__ == "__main__":
    main()
