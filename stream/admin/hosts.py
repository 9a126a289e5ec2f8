"""Host names in headers, URLs and settings. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Final

_HOST_HEADER: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]{1,255})(?::[0-9]{1,5})?", re.ASCII)


def host_of(header: str) -> str | None:
    """Return the normalized host of a Host header, without the port; None if it is malformed."""
    match = _HOST_HEADER.fullmatch(header)
    return None if match is None else normal_host(match[1])


def normal_host(host: str) -> str:
    """Return a host in the form for comparisons: in lower case, without brackets and final dot."""
    return host.strip("[]").removesuffix(".").lower()


def is_address(host: str) -> bool:
    """Return whether a host is a literal IP address."""
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Return whether a host, in the form of a URL or a setting, is this machine's loopback."""
    if normal_host(host) == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class AllowedHosts:
    """The hosts for which requests are answered: all addresses, the names of the loopback, and `names`.

    A page of another site can reach the server by a DNS name that its owner points at our address (DNS rebinding), but not
    by an address. So all addresses are allowed, but not all names. A name with a leading dot, such as `.example.com`, stands
    for all names that end with it.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names: set[str] = set()
        self._suffixes: tuple[str, ...] = ()
        for name in names:
            self.add(name)

    def add(self, name: str) -> None:
        """Allow one more name."""
        name = normal_host(name)
        if name.startswith("."):
            self._suffixes += (name,)
        else:
            self._names.add(name)

    def __contains__(self, host: str) -> bool:
        """Return whether a host, in the form that `host_of` returns, is allowed."""
        return is_address(host) or is_loopback(host) or self.names(host)

    def names(self, host: str) -> bool:
        """Return whether a host is one of the names, rather than an address."""
        return host in self._names or host.endswith(self._suffixes)
