"""Free ports for brokers."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
from collections.abc import Iterator
from typing import Final

_LOWEST: Final = 20000
_HIGHEST: Final = 32000
_SHARES: Final = 6
_APART: Final = 1009
_STEP: Final = 16
_TURN: Final = itertools.count()


def free_ports(count: int) -> list[int]:
    """`count` different ports that were free a moment ago, below the range for outgoing connections.

    A broker that is stopped must find its port free when it comes back; from the ephemeral range a client's
    own connection may have taken it in between. Of several processes that share the tests, each has its own share of the
    ports: what is free may be that of a broker that another one has stopped for a while.
    """
    lowest, highest = _share(os.environ.get("PYTEST_XDIST_WORKER", ""))
    with contextlib.ExitStack() as held:
        ports: list[int] = []
        for port in _from_somewhere(lowest, highest):
            if len(ports) == count:
                return ports
            sock = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                sock.bind(("127.0.0.1", port))
                ports.append(port)
    raise RuntimeError(f"no {count} free ports from {lowest} to {highest}")


def _share(process: str) -> tuple[int, int]:
    """The first port, and the one after the last. process: "gw0", "gw1", … of several, "" of one alone."""
    number = process.removeprefix("gw")
    if not number.isdigit():
        return _LOWEST, _HIGHEST
    width = (_HIGHEST - _LOWEST) // _SHARES
    lowest = _LOWEST + int(number) % _SHARES * width
    return lowest, lowest + width


def _from_somewhere(lowest: int, highest: int) -> Iterator[int]:
    """Each of them once. Sessions side by side do not begin at the same place, nor do two calls shortly after each other: what
    the first was given may not be bound yet."""
    start = lowest + (os.getpid() * _APART + next(_TURN) * _STEP) % (highest - lowest)
    yield from range(start, highest)
    yield from range(lowest, start)
