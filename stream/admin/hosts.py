"""Hosts as they stand in headers, URLs and settings. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Final

_HOST_HEADER: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]{1,255})(?::[0-9]{1,5})?", re.ASCII)


def host_of(header: str) -> str | None:
    """Return the host of a Host header, in lower case and without brackets, port and final dot; None if it is malformed."""
    match = _HOST_HEADER.fullmatch(header)
    return None if match is None else normal_host(match[1])


def normal_host(host: str) -> str:
    """Return a host as hosts are compared: in lower case, without brackets and final dot."""
    return host.strip("[]").removesuffix(".").lower()


def is_address(host: str) -> bool:
    """Return whether a host is a literal IP address."""
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Return whether a host, as in a URL or a setting, is this machine's loopback."""
    if normal_host(host) == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class AllowedHosts:
    """The hosts for which requests are answered.

    A page of another site can reach the server by a DNS name that its owner points at our address (DNS rebinding), but not
    by an address: those are all allowed. Of names only the loopback's and `names` are; one with a dot before it, such as
    `.example.com`, stands for all names that end so.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names: set[str] = set()
        self._ends: tuple[str, ...] = ()
        for name in names:
            self.add(name)

    def add(self, name: str) -> None:
        """Allow one more."""
        name = normal_host(name)
        if name.startswith("."):
            self._ends += (name,)
        else:
            self._names.add(name)

    def __contains__(self, host: str) -> bool:
        """host: as `host_of` returns it."""
        return is_address(host) or is_loopback(host) or self.names(host)

    def names(self, host: str) -> bool:
        """Return whether it is one of the names, rather than any address."""
        return host in self._names or host.endswith(self._ends)
