"""The settings of the admin HTTP."""

from __future__ import annotations

from typing import Final

from pydantic import Field

from forebay.stream.config.section import DAY_MS, Section
from forebay.stream.config.values import Host, Hosts, Path, Token, WebUrl

_GIB: Final = 1 << 30


class AdminSection(Section):
    """HTTP beside the worker: probes, metrics, status, the live page."""

    enabled: bool = Field(default=True, description="whether to serve it")
    host: Host = Field(
        default="127.0.0.1", description="address to listen on; 0.0.0.0: all, for which a token is recommended"
    )
    port: int = Field(default=8080, ge=0, le=65_535, description="port to listen on; 0: any free one")
    port_retries: int = Field(
        default=20,
        ge=0,
        le=1_000,
        description="number of following ports to try if the port is taken; 0: only that one",
    )
    advertised_url: WebUrl | None = Field(
        repr=False,
        default=None,
        description="URL under which others reach it, such as https://pod.example:8080; default: from host and port; for "
        "0.0.0.0 the address from which the cluster is reached",
    )
    token: Token | None = Field(
        default=None,
        description="required for everything but the probes (Authorization: Bearer ...); better set as "
        "FOREBAY_ADMIN__TOKEN than in a file; must not be empty",
    )
    allowed_hosts: Hosts = Field(
        default=(),
        description="further host names under which requests are accepted, such as a Service's or a proxy's (.example.com: "
        "all that end so); IP addresses, localhost, host and that of advertised_url always are",
    )
    tls_cert_file: Path | None = Field(default=None, description="HTTPS: the certificate (PEM), with its chain")
    tls_key_file: Path | None = Field(default=None, description="HTTPS: its key (PEM)")
    max_body_bytes: int = Field(default=1_048_576, ge=1_024, le=_GIB, description="larger requests are refused")
    request_timeout_ms: int = Field(default=5_000, ge=10, le=600_000, description="limit for one request")
    max_connections: int = Field(
        default=128,
        ge=8,
        le=65_536,
        description="maximum number of connections; beyond it the one that has been idle the longest is closed",
    )
    idle_timeout_ms: int = Field(
        default=15_000,
        ge=10,
        le=3_600_000,
        description="a connection that sends no whole request for this long is closed",
    )
    stuck_after_ms: int = Field(
        default=120_000,
        ge=20_000,
        le=DAY_MS,
        description="/healthz fails if work makes no progress for this long although cluster and model are well",
    )
