"""Shared by the drivers: makes connections to the fabric's addresses end at a server under test."""

import json
import socket
import sys
from typing import Any


def read_job() -> dict[str, Any]:
    """The job that the test wrote to our standard input; its `ports` are in force from here on."""
    job: dict[str, Any] = json.load(sys.stdin)
    ports: dict[str, int] = job["ports"]
    connect = socket.socket.connect

    def redirect(self: socket.socket, address: Any) -> None:
        port = ports.get(f"{address[0]}:{address[1]}")
        connect(self, ("127.0.0.1", port) if port else address)

    socket.socket.connect = redirect  # type: ignore[method-assign, assignment]
    return job


def answer(found: dict[str, Any]) -> None:
    """Hand the observations to the test: the last line of our standard output."""
    print(json.dumps(found, default=str))
