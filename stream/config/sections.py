"""Every setting: its name, type, range, default and what it is for. Units are in the names.

One frozen model a section; a component takes its own section and nothing else.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr

from stream.config.admin_section import AdminSection as AdminSection
from stream.config.alert_rule import AlertRules
from stream.config.section import DAY_MS
from stream.config.section import Section as Section
from stream.config.values import (
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
from stream.config.window_section import WindowSection as WindowSection

_GIB = 1 << 30


class KafkaSection(Section):
    """The cluster, how to reach it, and this worker's place in its group."""

    bootstrap_servers: Servers = Field(default="localhost:9092", description="brokers to ask first")
    client_id: Text = Field(default="forebay", description="the name under which the brokers see the worker")
    group_id: Text = Field(default="forebay", description="workers with the same group share the input's partitions")
    group_instance_id: Name | None = Field(
        default=None, description="static membership: a name of its own for each worker, for a StatefulSet"
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        default="PLAINTEXT", description="SSL encrypts (TLS), SASL_ adds a login"
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "GSSAPI"] | None = Field(
        default=None, description="how to log in, with security_protocol SASL_..."
    )
    sasl_username: Text | None = Field(default=None, description="for PLAIN and SCRAM")
    sasl_password: SecretStr | None = Field(
        default=None, description="for PLAIN and SCRAM; better given as FOREBAY_KAFKA__SASL_PASSWORD than in a file"
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
        default=None, description="certificates (PEM) to trust the brokers by; without it those of the system"
    )
    ssl_certfile: Path | None = Field(default=None, description="mutual TLS: the client's certificate (PEM)")
    ssl_keyfile: Path | None = Field(default=None, description="mutual TLS: its key, where it is not in ssl_certfile")
    ssl_password: SecretStr | None = Field(default=None, description="mutual TLS: the key's password")
    ssl_check_hostname: bool = Field(default=True, description="whether the broker's certificate must name its host")
    session_timeout_ms: int = Field(
        default=30_000, ge=1_000, le=1_800_000, description="a worker that is silent this long loses its partitions"
    )
    heartbeat_interval_ms: int = Field(default=3_000, ge=100, le=600_000, description="between two signs of life")
    rebalance_timeout_ms: int = Field(
        default=60_000, ge=1_000, le=DAY_MS, description="how long the group waits for all to rejoin"
    )
    max_poll_interval_ms: int = Field(
        default=300_000, ge=1_000, le=DAY_MS, description="a worker that reads nothing for so long leaves the group"
    )
    request_timeout_ms: int = Field(default=30_000, ge=1_000, le=3_600_000, description="for one request to a broker")
    connect_timeout_ms: int = Field(
        default=0,
        ge=0,
        le=DAY_MS,
        description="how long a worker that starts waits for a cluster that does not answer; 0: it stops with the reason",
    )
    metadata_max_age_ms: int = Field(
        default=300_000, ge=100, le=DAY_MS, description="topics that come, go or grow are noticed after this long"
    )


class InputSection(Section):
    """What is read."""

    topics: Topics = Field(
        default=("features",), description="topics of feature events (topics.prefix goes before each)"
    )
    auto_offset_reset: Literal["earliest", "latest", "none"] = Field(
        default="earliest",
        description="where a partition begins for which the group has no position; none: refuse to start",
    )
    from_timestamp: Moment | None = Field(
        default=None, description="begin at this moment instead, where the group has no position"
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
        default=1_048_576, ge=1_024, le=_GIB, description="most that one request brings of one partition"
    )


class BatchSection(Section):
    """Micro-batches: one is closed at whichever bound is met first."""

    max_batch_size: int = Field(default=4096, ge=1, le=65_536, description="most events in one call of the model")
    max_batch_bytes: int = Field(default=4_194_304, ge=1, le=_GIB, description="most bytes of events in one call")
    max_queue_delay_ms: int = Field(
        default=2, ge=0, le=60_000, description="how long the first event of a batch may wait for more"
    )


class ModelSection(Section):
    """The model that serves."""

    repository: Path = Field(default="models", description="directory that holds name/version/manifest.json")
    name: ModelName = Field(default="default", description="the model's name there")
    version: int | None = Field(default=None, ge=1, le=999_999_999, description="its version; without it the highest")
    device: Device = Field(default="auto", description="where it runs; auto takes a GPU where there is one")
    threads: int = Field(
        default=1, ge=1, le=1_024, description="CPU threads of one call; for more speed run more workers"
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
        description="most bytes of one record; larger predictions fail their event",
    )


class DeliverySection(Section):
    """What is promised, and for how long it is tried."""

    processing_guarantee: Literal["exactly_once", "at_least_once"] = Field(
        default="exactly_once",
        description="exactly_once: outputs and positions in one transaction; at_least_once: a crash may publish again",
    )
    transactional_id_prefix: Name = Field(
        default="forebay", description="a worker's transactional id is prefix-group_id-instance_id"
    )
    instance_id: Name | None = Field(
        default=None,
        description="this worker's own, such as its pod's name: a restart then ends what it left open; default: a new one",
    )
    transaction_timeout_ms: int = Field(
        default=10_000,
        ge=1_000,
        le=900_000,
        description="the cluster aborts what a killed worker left open after this long; readers wait till then",
    )
    commit_timeout_ms: int = Field(
        default=10_000, ge=100, le=DAY_MS, description="for one commit, all its steps together"
    )
    drain_timeout_ms: int = Field(
        default=20_000, ge=100, le=DAY_MS, description="for finishing what was begun at SIGTERM"
    )
    revoke_timeout_ms: int = Field(
        default=10_000, ge=0, le=DAY_MS, description="for finishing what was begun when partitions are taken away"
    )
    retry_backoff_ms: int = Field(
        default=100, ge=1, le=DAY_MS, description="before the second try of whatever failed; doubled each time"
    )
    retry_backoff_max_ms: int = Field(default=5_000, ge=1, le=DAY_MS, description="the longest wait between two tries")


class BreakerSection(Section):
    """When to let go of a model or a cluster that fails, and for how long: reading pauses meanwhile, nothing is lost."""

    failure_threshold: int = Field(default=5, ge=1, le=1_000_000, description="open after so many failures in a row")
    reset_timeout_ms: int = Field(
        default=30_000, ge=1, le=DAY_MS, description="then try with one, after this long, whether it works again"
    )


class LimitsSection(Section):
    """How much may be under way at once, at any of which reading pauses, and how many dead letters are too many."""

    max_in_flight_events: int = Field(
        default=32_768, ge=1, le=16_777_216, description="events read and not yet committed"
    )
    max_in_flight_bytes: int = Field(default=67_108_864, ge=1, le=64 * _GIB, description="their bytes")
    max_in_flight_batches: int = Field(default=32, ge=2, le=65_536, description="micro-batches that they make")
    max_dead_letter_ratio: float = Field(
        default=0.9, gt=0, le=1, description="more dead letters among the last events stop the worker; 1: never"
    )
    dead_letter_window_events: int = Field(
        default=10_000, ge=1, le=1_000_000_000, description="how many of the last events that ratio is of"
    )
    max_dead_letters_in_a_row: int | None = Field(
        default=None, ge=1, le=1_000_000_000, description="more of them without a prediction between stop the worker"
    )


class AggregateSection(Section):
    """The aggregator (`forebay aggregate`): windows of outcomes over all workers, and alerts."""

    group_id: Name | None = Field(
        default=None, description="aggregators with the same group share the deltas; default: kafka.group_id-aggregate"
    )
    emit_interval_ms: int = Field(
        default=1_000, ge=100, le=60_000, description="between two updates, and two looks at the alert rules"
    )
    final_after_ms: int = Field(
        default=60_000, ge=0, le=DAY_MS, description="so long after its end a window is called final"
    )
    closed_after_ms: int = Field(
        default=3_600_000,
        ge=60_000,
        le=7 * DAY_MS,
        description="so long after its end it is removed; what comes later is counted as late",
    )
    max_batch_size: int = Field(default=500, ge=1, le=10_000, description="most deltas that are written together")
    confirm_timeout_ms: int = Field(
        default=30_000, ge=1_000, le=600_000, description="a write that takes longer stops the aggregator"
    )
    webhook_url: WebhookUrl | None = Field(
        default=None,
        repr=False,
        description="alerts are sent there too, as JSON by POST; better given as FOREBAY_AGGREGATE__WEBHOOK_URL than in a file",
    )
    webhook_timeout_ms: int = Field(default=5_000, ge=100, le=60_000, description="for one attempt")
    webhook_attempts: int = Field(
        default=5, ge=1, le=100, description="attempts for one alert, with longer and longer waits"
    )
    alerts: AlertRules = Field(default=(), description="when to raise an alert")


class TopicsSection(Section):
    """How `forebay topics create` makes the topics."""

    prefix: Prefix = Field(default="", description="goes before the name of each topic")
    partitions: int = Field(
        default=4, ge=1, le=100_000, description="partitions of each topic whose number the catalogue leaves open"
    )
    replication_factor: int = Field(
        default=1, ge=1, le=32, description="copies of each partition; 3 on a production cluster"
    )


class LogSection(Section):
    """What the worker says on standard error."""

    level: LogLevels = Field(
        default="info", description="the least severe that is logged; FOREBAY_LOG is another name for it"
    )
    format: Literal["auto", "text", "json"] = Field(
        default="auto", description="auto is text on a terminal and JSON lines elsewhere"
    )


class TelemetrySection(Section):
    """Where traces, metrics and log lines go by OTLP. The Prometheus page of the admin server needs nothing of this."""

    service_name: Text | None = Field(
        default=None,
        description="the name under which a collector sees the worker; without it OTEL_SERVICE_NAME, or forebay",
    )
    otlp_endpoint: WebUrl | None = Field(
        default=None,
        repr=False,
        description="collector to send to (OTLP over HTTP), such as http://localhost:4318; without it that of "
        "OTEL_EXPORTER_OTLP_ENDPOINT, and without either nothing is sent",
    )
    otlp_headers: SecretStr | None = Field(
        default=None, description="headers for the collector, such as a login: name=value, with commas between"
    )
    traces: bool = Field(default=True, description="whether traces are sent, where there is a collector")
    trace_sample_ratio: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description="of micro-batches without a sampled event so many are traced; others always",
    )
    metrics: bool = Field(default=True, description="whether metrics are sent, where there is a collector")
    metrics_interval_ms: int = Field(default=15_000, ge=1_000, le=3_600_000, description="between two such sendings")
    logs: bool = Field(default=False, description="whether log lines are sent, where there is a collector")
    export_timeout_ms: int = Field(
        default=10_000, ge=100, le=600_000, description="for one sending; what the collector does not take is dropped"
    )


class Settings(Section):
    """All of it. `load_settings` also checks the sections against each other."""

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
