"""The settings of the admin HTTP."""

from __future__ import annotations

from typing import Final

from pydantic import Field

from stream.config.section import DAY_MS, Section
from stream.config.values import Host, Hosts, Path, Token, WebUrl

_GIB: Final = 1 << 30


class AdminSection(Section):
    """HTTP beside the worker: probes, metrics, status, the live page."""

    enabled: bool = Field(default=True, description="whether to serve it")
    host: Host = Field(
        default="127.0.0.1", description="address to listen on; 0.0.0.0: all, and then better with a token"
    )
    port: int = Field(default=8080, ge=0, le=65_535, description="0: any that is free")
    port_retries: int = Field(
        default=20, ge=0, le=1_000, description="where the port is taken, so many after it are tried; 0: only that one"
    )
    advertised_url: WebUrl | None = Field(
        repr=False,
        default=None,
        description="where others reach it, such as https://pod.example:8080; default: from host and port, and of "
        "0.0.0.0 the address that leads to the cluster",
    )
    token: Token | None = Field(
        default=None,
        description="who has it (Authorization: Bearer ...) may see and do more than probe; better given as "
        "FOREBAY_ADMIN__TOKEN than in a file; it must not be empty",
    )
    allowed_hosts: Hosts = Field(
        default=(),
        description="host names under which it is asked, besides addresses, localhost, host and that of advertised_url: "
        "a Service's or a proxy's (.example.com: all that end so); others are refused, against pages of other sites",
    )
    tls_cert_file: Path | None = Field(default=None, description="HTTPS: the certificate (PEM), with its chain")
    tls_key_file: Path | None = Field(default=None, description="HTTPS: its key (PEM)")
    max_body_bytes: int = Field(default=1_048_576, ge=1_024, le=_GIB, description="a larger request is refused")
    request_timeout_ms: int = Field(default=5_000, ge=10, le=600_000, description="for one request")
    max_connections: int = Field(
        default=128, ge=8, le=65_536, description="at once; of more the one that has been idle the longest is closed"
    )
    idle_timeout_ms: int = Field(
        default=15_000, ge=10, le=3_600_000, description="a connection without a whole request for so long is closed"
    )
    stuck_after_ms: int = Field(
        default=120_000,
        ge=20_000,
        le=DAY_MS,
        description="/healthz fails where work stands still so long although cluster and model are well",
    )
