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
    """Return different ports that were free just now, below the ephemeral range.

    A stopped broker must find its port free when it restarts. A client's own connection could take a port of the ephemeral
    range in between. Each of several test processes has its own share of the ports: a free port may belong to a broker that
    another process has stopped for a while.
    """
    lowest, highest = _share(os.environ.get("PYTEST_XDIST_WORKER", ""))
    with contextlib.ExitStack() as sockets:
        ports: list[int] = []
        for port in _ports_from_varying_start(lowest, highest):
            if len(ports) == count:
                return ports
            sock = sockets.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                sock.bind(("127.0.0.1", port))
                ports.append(port)
    raise RuntimeError(f"no {count} free ports from {lowest} to {highest}")


def _share(process: str) -> tuple[int, int]:
    """Return the first port of a process, and the one after its last. process: "gw0", "gw1", ..., or "" for only one."""
    number = process.removeprefix("gw")
    if not number.isdigit():
        return _LOWEST, _HIGHEST
    width = (_HIGHEST - _LOWEST) // _SHARES
    lowest = _LOWEST + int(number) % _SHARES * width
    return lowest, lowest + width


def _ports_from_varying_start(lowest: int, highest: int) -> Iterator[int]:
    """Yield each port once, from a start that differs between sessions and between calls.

    The ports that an earlier call returned may not be bound yet.
    """
    start = lowest + (os.getpid() * _APART + next(_TURN) * _STEP) % (highest - lowest)
    yield from range(start, highest)
    yield from range(lowest, start)
