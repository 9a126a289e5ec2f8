"""Every setting: its name, type, range, default and what it is for. Units are in the names.

One frozen model a section; a component takes its own section and nothing else.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr

from forebay.stream.config.admin_section import AdminSection as AdminSection
from forebay.stream.config.alert_rule import AlertRules
from forebay.stream.config.section import DAY_MS
from forebay.stream.config.section import Section as Section
from forebay.stream.config.values import (
    Command,
    Device,
    LogLevels,
    ModelName,
    Moment,
    Name,
    Path,
    Prefix,
    Servers,
    Text,
    Topics,
    WebhookUrl,
    WebUrl,
)
from forebay.stream.config.window_section import WindowSection as WindowSection

_GIB = 1 << 30


class KafkaSection(Section):
    """The cluster, how to reach it, and this worker's place in its group."""

    bootstrap_servers: Servers = Field(default="localhost:9092", description="brokers to connect to first")
    client_id: Text = Field(default="forebay", description="the name under which the brokers see the worker")
    group_id: Text = Field(default="forebay", description="workers with the same group share the input's partitions")
    group_instance_id: Name | None = Field(
        default=None, description="static membership: a unique name for each worker, as in a StatefulSet"
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        default="PLAINTEXT", description="SSL encrypts (TLS), SASL_ adds a login"
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "GSSAPI"] | None = Field(
        default=None, description="how to log in, with security_protocol SASL_..."
    )
    sasl_username: Text | None = Field(default=None, description="for PLAIN and SCRAM")
    sasl_password: SecretStr | None = Field(
        default=None, description="for PLAIN and SCRAM; better set as FOREBAY_KAFKA__SASL_PASSWORD than in a file"
    )
    sasl_oauth_token_command: Command | None = Field(
        default=None,
        repr=False,
        description="for OAUTHBEARER: a command (run without a shell) that prints the token, "
        'or {"token": "...", "expires_at": seconds since 1970}',
    )
    sasl_oauth_token_timeout_ms: int = Field(
        default=10_000, ge=100, le=300_000, description="how long the token command may take"
    )
    sasl_kerberos_service_name: Text = Field(default="kafka", description="for GSSAPI: the brokers' service")
    sasl_kerberos_domain_name: Text | None = Field(default=None, description="for GSSAPI: instead of the broker's host")
    ssl_cafile: Path | None = Field(
        default=None, description="CA certificates (PEM) for the brokers; default: those of the system"
    )
    ssl_certfile: Path | None = Field(default=None, description="mutual TLS: the client's certificate (PEM)")
    ssl_keyfile: Path | None = Field(default=None, description="mutual TLS: its key, if it is not in ssl_certfile")
    ssl_password: SecretStr | None = Field(default=None, description="mutual TLS: the key's password")
    ssl_check_hostname: bool = Field(default=True, description="whether the broker's certificate must name its host")
    session_timeout_ms: int = Field(
        default=30_000, ge=1_000, le=1_800_000, description="a worker that is silent this long loses its partitions"
    )
    heartbeat_interval_ms: int = Field(default=3_000, ge=100, le=600_000, description="time between two heartbeats")
    rebalance_timeout_ms: int = Field(
        default=60_000, ge=1_000, le=DAY_MS, description="how long the group waits for all to rejoin"
    )
    max_poll_interval_ms: int = Field(
        default=300_000, ge=1_000, le=DAY_MS, description="a worker that does not poll for this long leaves the group"
    )
    request_timeout_ms: int = Field(
        default=30_000, ge=1_000, le=3_600_000, description="limit for one request to a broker"
    )
    connect_timeout_ms: int = Field(
        default=0,
        ge=0,
        le=DAY_MS,
        description="how long a worker that starts waits for a cluster that does not answer; 0: it stops with the reason",
    )
    metadata_max_age_ms: int = Field(
        default=300_000,
        ge=100,
        le=DAY_MS,
        description="topics that are created, deleted or grown are noticed after this long",
    )


class InputSection(Section):
    """What is read."""

    topics: Topics = Field(
        default=("features",), description="topics of feature events (topics.prefix is put in front of each)"
    )
    auto_offset_reset: Literal["earliest", "latest", "none"] = Field(
        default="earliest",
        description="where to start in a partition without a committed offset of the group; none: refuse to start",
    )
    from_timestamp: Moment | None = Field(
        default=None, description="start at this time instead, in partitions without a committed offset of the group"
    )
    max_event_bytes: int = Field(default=1_048_576, ge=1, le=_GIB, description="larger events are rejected")
    max_key_bytes: int = Field(default=32_768, ge=1, le=_GIB, description="events with longer keys are rejected")
    max_unpacked_batch_bytes: int | None = Field(
        default=None,
        ge=1,
        le=_GIB,
        description="a compressed record batch that unpacks to more is rejected as a whole; default: "
        "limits.max_in_flight_bytes",
    )
    isolation_level: Literal["read_committed", "read_uncommitted"] = Field(
        default="read_committed", description="whether to read only what transactions have committed"
    )
    fetch_min_bytes: int = Field(default=1, ge=1, le=_GIB, description="the broker waits for this much...")
    fetch_max_wait_ms: int = Field(default=500, ge=0, le=60_000, description="...or this long")
    max_partition_fetch_bytes: int = Field(
        default=1_048_576, ge=1_024, le=_GIB, description="maximum bytes that one request returns of one partition"
    )


class BatchSection(Section):
    """Micro-batches: one is closed at whichever bound is met first."""

    max_batch_size: int = Field(default=4096, ge=1, le=65_536, description="maximum number of events in one model call")
    max_batch_bytes: int = Field(
        default=4_194_304, ge=1, le=_GIB, description="maximum bytes of events in one model call"
    )
    max_queue_delay_ms: int = Field(
        default=2, ge=0, le=60_000, description="how long the first event of a batch may wait for more"
    )


class ModelSection(Section):
    """The model that serves."""

    repository: Path = Field(default="models", description="directory that holds name/version/manifest.json")
    name: ModelName = Field(default="default", description="the model's name there")
    version: int | None = Field(default=None, ge=1, le=999_999_999, description="its version; default: the highest")
    device: Device = Field(default="auto", description="where it runs; auto uses a GPU if there is one")
    threads: int = Field(
        default=1, ge=1, le=1_024, description="CPU threads of one model call; for more throughput run more workers"
    )
    call_timeout_ms: int = Field(
        default=5_000,
        ge=1,
        le=DAY_MS,
        description="a call that takes longer opens the breaker; breaker.reset_timeout_ms later it stops the worker",
    )


class OutputSection(Section):
    """What is written."""

    compression_type: Literal["none", "gzip", "snappy", "lz4", "zstd"] = Field(
        default="none", description="compression of predictions, dead letters and deltas"
    )
    max_request_size: int = Field(
        default=1_048_576,
        ge=16_384,
        le=_GIB,
        description="maximum bytes of one record; an event with a larger prediction fails",
    )


class DeliverySection(Section):
    """The processing guarantee, and the timeouts of commits."""

    processing_guarantee: Literal["exactly_once", "at_least_once"] = Field(
        default="exactly_once",
        description="exactly_once: outputs and positions in one transaction; at_least_once: a crash may publish again",
    )
    transactional_id_prefix: Name = Field(
        default="forebay", description="a worker's transactional id is prefix-group_id-instance_id"
    )
    instance_id: Name | None = Field(
        default=None,
        description="a stable name of this worker, such as its pod's: a restart then ends what it left open; default: random",
    )
    transaction_timeout_ms: int = Field(
        default=10_000,
        ge=1_000,
        le=900_000,
        description="the cluster aborts the open transaction of a killed worker after this long; readers wait until then",
    )
    commit_timeout_ms: int = Field(
        default=10_000, ge=100, le=DAY_MS, description="limit for one commit, all its steps together"
    )
    drain_timeout_ms: int = Field(
        default=20_000, ge=100, le=DAY_MS, description="limit for finishing what is in flight after SIGTERM"
    )
    revoke_timeout_ms: int = Field(
        default=10_000, ge=0, le=DAY_MS, description="limit for finishing what is in flight when partitions are revoked"
    )
    retry_backoff_ms: int = Field(
        default=100, ge=1, le=DAY_MS, description="wait before the first retry; doubled for each further one"
    )
    retry_backoff_max_ms: int = Field(default=5_000, ge=1, le=DAY_MS, description="longest wait between two retries")


class BreakerSection(Section):
    """When to stop calling a model or cluster that fails, and for how long; reading pauses meanwhile, nothing is lost."""

    failure_threshold: int = Field(
        default=5, ge=1, le=1_000_000, description="consecutive failures after which the breaker opens"
    )
    reset_timeout_ms: int = Field(
        default=30_000, ge=1, le=DAY_MS, description="an open breaker lets one attempt through after this long"
    )


class LimitsSection(Section):
    """Limits on what is in flight, at which reading pauses, and on dead letters, at which the worker stops."""

    max_in_flight_events: int = Field(
        default=32_768, ge=1, le=16_777_216, description="events that were read and are not yet committed"
    )
    max_in_flight_bytes: int = Field(default=67_108_864, ge=1, le=64 * _GIB, description="bytes of these events")
    max_in_flight_batches: int = Field(default=32, ge=2, le=65_536, description="micro-batches in flight")
    max_dead_letter_ratio: float = Field(
        default=0.9,
        gt=0,
        le=1,
        description="a larger share of dead letters among the last events stops the worker; 1: never",
    )
    dead_letter_window_events: int = Field(
        default=10_000, ge=1, le=1_000_000_000, description="number of last events over which that share is taken"
    )
    max_dead_letters_in_a_row: int | None = Field(
        default=None, ge=1, le=1_000_000_000, description="more consecutive dead letters stop the worker"
    )


class AggregateSection(Section):
    """The aggregator (`forebay aggregate`): windows of outcomes over all workers, and alerts."""

    group_id: Name | None = Field(
        default=None, description="aggregators with the same group share the deltas; default: kafka.group_id-aggregate"
    )
    emit_interval_ms: int = Field(
        default=1_000,
        ge=100,
        le=60_000,
        description="time between two updates, and between two evaluations of the alert rules",
    )
    final_after_ms: int = Field(
        default=60_000, ge=0, le=DAY_MS, description="a window is marked final this long after its end"
    )
    closed_after_ms: int = Field(
        default=3_600_000,
        ge=60_000,
        le=7 * DAY_MS,
        description="a window is removed this long after its end; what arrives later is counted as late",
    )
    max_batch_size: int = Field(default=500, ge=1, le=10_000, description="maximum number of deltas written together")
    confirm_timeout_ms: int = Field(
        default=30_000, ge=1_000, le=600_000, description="a write that takes longer stops the aggregator"
    )
    webhook_url: WebhookUrl | None = Field(
        default=None,
        repr=False,
        description="alerts are also sent there, as JSON by POST; better set as FOREBAY_AGGREGATE__WEBHOOK_URL than in a file",
    )
    webhook_timeout_ms: int = Field(default=5_000, ge=100, le=60_000, description="limit for one attempt")
    webhook_attempts: int = Field(default=5, ge=1, le=100, description="attempts per alert, with increasing waits")
    alerts: AlertRules = Field(default=(), description="when to raise an alert")


class TopicsSection(Section):
    """How `forebay topics create` makes the topics."""

    prefix: Prefix = Field(default="", description="put in front of the name of each topic")
    partitions: int = Field(
        default=4, ge=1, le=100_000, description="partitions of each topic for which the catalogue fixes no number"
    )
    replication_factor: int = Field(
        default=1, ge=1, le=32, description="replicas of each partition; 3 on a production cluster"
    )


class LogSection(Section):
    """What is logged to standard error."""

    level: LogLevels = Field(
        default="info", description="lowest severity that is logged; the environment variable FOREBAY_LOG sets it too"
    )
    format: Literal["auto", "text", "json"] = Field(
        default="auto", description="auto: text on a terminal, JSON lines elsewhere"
    )


class TelemetrySection(Section):
    """Where traces, metrics and log lines go by OTLP. The Prometheus page of the admin server is independent of it."""

    service_name: Text | None = Field(
        default=None,
        description="the name under which a collector sees the worker; default: OTEL_SERVICE_NAME, or forebay",
    )
    otlp_endpoint: WebUrl | None = Field(
        default=None,
        repr=False,
        description="collector to send to (OTLP over HTTP), such as http://localhost:4318; default: "
        "OTEL_EXPORTER_OTLP_ENDPOINT; without either nothing is sent",
    )
    otlp_headers: SecretStr | None = Field(
        default=None, description="headers for the collector, such as a login: name=value, separated by commas"
    )
    traces: bool = Field(default=True, description="whether traces are sent, if there is a collector")
    trace_sample_ratio: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description="share of the micro-batches without a sampled event that are traced; the others always are",
    )
    metrics: bool = Field(default=True, description="whether metrics are sent, if there is a collector")
    metrics_interval_ms: int = Field(
        default=15_000, ge=1_000, le=3_600_000, description="time between two exports of metrics"
    )
    logs: bool = Field(default=False, description="whether log lines are sent, if there is a collector")
    export_timeout_ms: int = Field(
        default=10_000,
        ge=100,
        le=600_000,
        description="limit for one export; what the collector does not take is dropped",
    )


class Settings(Section):
    """All settings. `load_settings` also checks the sections against each other."""

    kafka: KafkaSection = KafkaSection()
    input: InputSection = InputSection()
    batch: BatchSection = BatchSection()
    window: WindowSection = WindowSection()
    model: ModelSection = ModelSection()
    output: OutputSection = OutputSection()
    delivery: DeliverySection = DeliverySection()
    breaker: BreakerSection = BreakerSection()
    limits: LimitsSection = LimitsSection()
    aggregate: AggregateSection = AggregateSection()
    topics: TopicsSection = TopicsSection()
    admin: AdminSection = AdminSection()
    log: LogSection = LogSection()
    telemetry: TelemetrySection = TelemetrySection()


def section_types() -> dict[str, type[Section]]:
    """The sections by name, in the order in which they are shown."""
    types: dict[str, type[Section]] = {}
    for name, field in Settings.model_fields.items():
        assert isinstance(field.annotation, type) and issubclass(field.annotation, Section)
        types[name] = field.annotation
    return types
