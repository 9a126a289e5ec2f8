"""Free ports for brokers."""

from __future__ import annotations

import contextlib
import socket


def free_ports(count: int) -> list[int]:
    """`count` different ports that were free a moment ago, below the range for outgoing connections.

    A broker that is stopped must find its port free when it comes back; from the ephemeral range a client's
    own connection may have taken it in between.
    """
    with contextlib.ExitStack() as held:
        ports: list[int] = []
        for port in range(_first_candidate(), 32000):
            if len(ports) == count:
                return ports
            sock = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                sock.bind(("127.0.0.1", port))
                ports.append(port)
    raise RuntimeError(f"no {count} free ports below 32000")


def _first_candidate() -> int:
    # Sessions side by side should not all look from the same place.
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return 20000 + int(sock.getsockname()[1]) % 10000
