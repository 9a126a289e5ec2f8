"""The URL at which other machines reach the admin API."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from typing import Final

_ANY_PORT: Final = 9


def build_advertised_url(host: str, port: int, *, tls: bool, bootstrap_servers: str) -> str:
    """Return the URL. If the host stands for all addresses, use the source address of packets to the cluster; sends none."""
    address = _source_address(bootstrap_servers) if is_unspecified(host) else host
    url_host = f"[{address}]" if ":" in address else address
    return f"{'https' if tls else 'http'}://{url_host}:{port}"


def is_unspecified(host: str) -> bool:
    """Return whether a host stands for all addresses."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _source_address(bootstrap_servers: str) -> str:
    cluster = bootstrap_servers.split(",")[0].strip()
    name = cluster.rpartition(":")[0] if not cluster.endswith("]") else cluster
    with contextlib.suppress(OSError):
        family, kind, protocol, _, address = socket.getaddrinfo(
            name.strip("[]") or cluster, _ANY_PORT, type=socket.SOCK_DGRAM
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.connect(address)
            return str(probe.getsockname()[0])
    return socket.gethostname()
