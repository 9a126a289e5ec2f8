"""Settings of the connection to Kafka."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr

from forebay.stream.config.section import DAY_MS, Section
from forebay.stream.config.values import Command, Name, Path, Servers, Text


class KafkaSection(Section):
    """Connection to the Kafka cluster, and membership in the consumer group."""

    bootstrap_servers: Servers = Field(default="localhost:9092", description="Brokers to connect to first.")
    client_id: Text = Field(
        default="forebay", description="The client name that brokers show in their logs and metrics."
    )
    group_id: Text = Field(
        default="forebay",
        description="The consumer group. Workers with the same group share the partitions of the input topics.",
    )
    group_instance_id: Name | None = Field(
        default=None,
        description="Static membership: a unique, stable name for each worker, such as the pod name in a StatefulSet."
        " A short restart then causes no rebalance.",
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        default="PLAINTEXT",
        description="SSL: encrypt with TLS. SASL_: authenticate.",
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "GSSAPI"] | None = Field(
        default=None, description="How to authenticate. Required if security_protocol begins with SASL_."
    )
    sasl_username: Text | None = Field(default=None, description="User name for PLAIN and SCRAM.")
    sasl_password: SecretStr | None = Field(
        default=None,
        description="Password for PLAIN and SCRAM. Prefer the environment variable FOREBAY_KAFKA__SASL_PASSWORD to a "
        "file.",
    )
    sasl_oauth_token_command: Command | None = Field(
        default=None,
        repr=False,
        description='OAUTHBEARER: a command that prints the token, or {"token": "...", "expires_at": seconds since '
        "1970}. It is run without a shell.",
    )
    sasl_oauth_token_timeout_ms: int = Field(
        default=10_000, ge=100, le=300_000, description="OAUTHBEARER: time limit for the token command."
    )
    sasl_kerberos_service_name: Text = Field(
        default="kafka", description="GSSAPI: the service name in the brokers' Kerberos principal."
    )
    sasl_kerberos_domain_name: Text | None = Field(
        default=None,
        description="GSSAPI: the host name in the brokers' Kerberos principal. Default: the broker's host name.",
    )
    ssl_cafile: Path | None = Field(
        default=None,
        description="File with the CA certificates (PEM) that verify the brokers. Default: the system's certificates.",
    )
    ssl_certfile: Path | None = Field(default=None, description="Mutual TLS: file with the client certificate (PEM).")
    ssl_keyfile: Path | None = Field(
        default=None, description="Mutual TLS: file with the private key (PEM), if ssl_certfile does not contain it."
    )
    ssl_password: SecretStr | None = Field(default=None, description="Mutual TLS: the password of the private key.")
    ssl_check_hostname: bool = Field(
        default=True, description="Require that the broker's certificate names the host that the worker connects to."
    )
    session_timeout_ms: int = Field(
        default=30_000,
        ge=1_000,
        le=1_800_000,
        description="A worker that sends no heartbeat for this long loses its partitions.",
    )
    heartbeat_interval_ms: int = Field(default=3_000, ge=100, le=600_000, description="Time between two heartbeats.")
    rebalance_timeout_ms: int = Field(
        default=60_000,
        ge=1_000,
        le=DAY_MS,
        description="How long a rebalance waits for all workers to rejoin the group.",
    )
    max_poll_interval_ms: int = Field(
        default=300_000, ge=1_000, le=DAY_MS, description="A worker that does not poll for this long leaves the group."
    )
    request_timeout_ms: int = Field(
        default=30_000, ge=1_000, le=3_600_000, description="Time limit for one request to a broker."
    )
    connect_timeout_ms: int = Field(
        default=0,
        ge=0,
        le=DAY_MS,
        description="How long a starting worker retries while the cluster does not answer. 0: it stops with an error.",
    )
    metadata_max_age_ms: int = Field(
        default=300_000,
        ge=100,
        le=DAY_MS,
        description="How often to refresh the cluster's metadata. Topics that are created, deleted or extended are "
        "noticed after at most this long.",
    )
