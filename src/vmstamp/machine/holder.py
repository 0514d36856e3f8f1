"""Holds a network namespace open and makes sockets and taps inside it.

Started as `unshare --net [--user --map-root-user] -- python holder.py FD MARK` with the standard library
alone, so that it starts in milliseconds. It answers one-word requests on the sequenced-packet socket FD
with a file descriptor, and ends when the other side is gone, however that died; the namespace ends with
its last process. A socket belongs to the namespace that it was made in: whoever gets the descriptor
binds, connects and serves it from anywhere. MARK only tells whose process this is.

Requests: `tcp`, `udp`, `tap NAME`. Replies: `ok` with a descriptor, or `error TEXT`.
"""

import fcntl
import os
import socket
import struct
import sys

TUNSETIFF = 0x400454CA  # linux/if_tun.h
IFF_TAP = 0x0002
IFF_NO_PI = 0x1000
SETTINGS = {
    # Ports below 1024 are the fabric's; the process that binds them has no capability in here.
    "/proc/sys/net/ipv4/ip_unprivileged_port_start": "0",
    "/proc/sys/net/ipv4/ip_forward": "1",
    # A guest's reply may come back another way than its request went.
    "/proc/sys/net/ipv4/conf/all/rp_filter": "0",
}


def open_tap(name: str) -> int:
    """A descriptor of the tap interface NAME, which lives as long as the descriptor."""
    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
    except OSError:
        os.close(tap)
        raise
    return tap


def answer(request: str) -> int:
    word, _, rest = request.partition(" ")
    if word == "tap":
        return open_tap(rest)
    kind = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}[word]
    return socket.socket(socket.AF_INET, kind).detach()


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    try:
        for path, value in SETTINGS.items():
            with open(path, "w") as file:  # noqa: PTH123 - pathlib would double the start-up time
                file.write(value)
        control.send(b"ok")
    except OSError as error:
        control.send(f"error {error}".encode())
        return
    while request := control.recv(256):
        try:
            descriptor = answer(request.decode())
        except (OSError, KeyError) as error:
            control.send(f"error {error}".encode())
            continue
        socket.send_fds(control, [b"ok"], [descriptor])
        os.close(descriptor)


if __name__ == "__main__":
    main()
