"""By which address others reach what listens here."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from typing import Final

_ANY_PORT: Final = 9


def build_advertised_url(host: str, port: int, *, tls: bool, bootstrap_servers: str) -> str:
    """The URL. Where all addresses are listened on, the one from which packets to the cluster go; sends none."""
    address = _towards(bootstrap_servers) if is_unspecified(host) else host
    named = f"[{address}]" if ":" in address else address
    return f"{'https' if tls else 'http'}://{named}:{port}"


def is_unspecified(host: str) -> bool:
    """Whether a host stands for all addresses."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _towards(bootstrap_servers: str) -> str:
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
