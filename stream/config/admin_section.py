"""Settings of the admin API."""

from __future__ import annotations

from typing import Final

from pydantic import Field

from forebay.stream.config.section import DAY_MS, Section
from forebay.stream.config.values import Host, Hosts, Path, Token, WebUrl

_GIB: Final = 1 << 30


class AdminSection(Section):
    """The HTTP interface of a worker or aggregator: probes, metrics, status and the live page."""

    enabled: bool = Field(default=True, description="Serve the admin API.")
    host: Host = Field(
        default="127.0.0.1", description="Address to listen on. 0.0.0.0: all addresses; set a token in that case."
    )
    port: int = Field(default=8080, ge=0, le=65_535, description="Port to listen on. 0: any free port.")
    port_retries: int = Field(
        default=20,
        ge=0,
        le=1_000,
        description="If the port is taken, try this many of the following ports. 0: none.",
    )
    advertised_url: WebUrl | None = Field(
        repr=False,
        default=None,
        description="URL under which other machines reach the admin API, such as https://pod.example:8080. Default: "
        "built from host and port; for 0.0.0.0 with the address that reaches the cluster.",
    )
    token: Token | None = Field(
        default=None,
        description="Token that every request except the probes must carry (Authorization: Bearer ...). Prefer the "
        "environment variable FOREBAY_ADMIN__TOKEN to a file.",
    )
    allowed_hosts: Hosts = Field(
        default=(),
        description="Additional host names under which requests are accepted, such as a Service's or a proxy's. "
        ".example.com: all names with this ending. IP addresses, localhost, admin.host and the host of "
        "advertised_url are always accepted.",
    )
    tls_cert_file: Path | None = Field(
        default=None, description="HTTPS: file with the certificate and its chain (PEM)."
    )
    tls_key_file: Path | None = Field(default=None, description="HTTPS: file with the private key (PEM).")
    max_body_bytes: int = Field(default=1_048_576, ge=1_024, le=_GIB, description="Larger requests are refused.")
    request_timeout_ms: int = Field(default=5_000, ge=10, le=600_000, description="Time limit for one request.")
    max_connections: int = Field(
        default=128,
        ge=8,
        le=65_536,
        description="Maximum number of connections. Beyond it, the connection that has been idle longest is closed.",
    )
    idle_timeout_ms: int = Field(
        default=15_000,
        ge=10,
        le=3_600_000,
        description="A connection that sends no complete request for this long is closed.",
    )
    stuck_after_ms: int = Field(
        default=120_000,
        ge=20_000,
        le=DAY_MS,
        description="/healthz fails if work makes no progress for this long although the cluster and the model are "
        "healthy.",
    )
