"""Rules between settings, beyond the range of each one."""

from __future__ import annotations

import os
from collections.abc import Iterator

from forebay.schemas.topics import ALL_TOPICS, FEATURES, LABELS
from forebay.stream.config.access_checks import access_conflicts
from forebay.stream.config.aggregator_group import aggregator_group
from forebay.stream.config.audit_checks import audit_conflicts
from forebay.stream.config.conflict import Conflict as Conflict
from forebay.stream.config.encryption_checks import encryption_conflicts
from forebay.stream.config.model_checks import effective_key, model_conflicts
from forebay.stream.config.objective_checks import objective_conflicts
from forebay.stream.config.sections import AdminSection, KafkaSection, SchemaRegistrySection, Settings
from forebay.stream.config.trust_checks import trust_conflicts
from forebay.stream.config.values import MAX_NAME_LENGTH

_OUTPUTS = frozenset(spec.name for spec in ALL_TOPICS) - {FEATURES.name, LABELS.name}

_LABEL_FORMATS = ("auto", "json", "msgpack", "cloudevents")


def conflicts(settings: Settings) -> Iterator[Conflict]:
    """Yield every broken rule. Reads the disk only to check the files for TLS."""
    yield from _times(settings)
    yield from _sizes(settings)
    yield from model_conflicts(settings)
    yield from objective_conflicts(settings)
    yield from access_conflicts(settings)
    yield from encryption_conflicts(settings)
    yield from _aggregate(settings)
    yield from _evaluate(settings)
    yield from _quality_of_rollouts(settings)
    yield from _drift(settings)
    yield from audit_conflicts(settings)
    yield from _edge(settings)
    yield from _topics(settings)
    yield from _priorities(settings)
    yield from _topics_with_formats(settings)
    yield from _formats_with_schemas(settings)
    yield from _output_format(settings)
    yield from _login(settings.kafka)
    yield from _tls(settings.kafka)
    yield from _schema_registry(settings.schema_registry)
    yield from _admin(settings)
    yield from trust_conflicts(settings.trust)


def _times(settings: Settings) -> Iterator[Conflict]:
    kafka, delivery = settings.kafka, settings.delivery
    if kafka.heartbeat_interval_ms * 2 >= kafka.session_timeout_ms:
        yield Conflict(
            ("kafka.heartbeat_interval_ms", "kafka.session_timeout_ms"),
            f"must be less than half of kafka.session_timeout_ms ({kafka.session_timeout_ms}); a tenth is recommended",
        )
    if delivery.revoke_timeout_ms >= kafka.rebalance_timeout_ms:
        yield Conflict(
            ("delivery.revoke_timeout_ms", "kafka.rebalance_timeout_ms"),
            f"must be less than kafka.rebalance_timeout_ms ({kafka.rebalance_timeout_ms}), "
            "or the group continues without this worker",
        )
    if delivery.commit_timeout_ms > delivery.drain_timeout_ms:
        yield Conflict(
            ("delivery.commit_timeout_ms", "delivery.drain_timeout_ms"),
            f"must be at most delivery.drain_timeout_ms ({delivery.drain_timeout_ms}), which includes the last commit",
        )
    if delivery.retry_backoff_ms > delivery.retry_backoff_max_ms:
        yield Conflict(
            ("delivery.retry_backoff_ms", "delivery.retry_backoff_max_ms"),
            f"must be at most delivery.retry_backoff_max_ms ({delivery.retry_backoff_max_ms})",
        )
    if delivery.processing_guarantee == "exactly_once":
        if delivery.commit_timeout_ms > delivery.transaction_timeout_ms:
            yield Conflict(
                ("delivery.commit_timeout_ms", "delivery.transaction_timeout_ms"),
                f"must be at most delivery.transaction_timeout_ms ({delivery.transaction_timeout_ms}) with "
                "delivery.processing_guarantee exactly_once: the cluster aborts longer transactions",
            )
        if settings.input.isolation_level != "read_committed":
            yield Conflict(
                ("input.isolation_level", "delivery.processing_guarantee"),
                "must be read_committed with delivery.processing_guarantee exactly_once",
            )
    if settings.input.fetch_max_wait_ms >= kafka.request_timeout_ms:
        yield Conflict(
            ("input.fetch_max_wait_ms", "kafka.request_timeout_ms"),
            f"must be less than kafka.request_timeout_ms ({kafka.request_timeout_ms})",
        )


def _sizes(settings: Settings) -> Iterator[Conflict]:
    source, limits = settings.input, settings.limits
    event = ("input.max_event_bytes", source.max_event_bytes)
    ordered: list[tuple[str, int, str, int]] = []
    for index, served in enumerate(settings.models_to_serve()):
        size = (effective_key(settings, index, "batch.max_batch_size"), served.batch.max_batch_size)
        size_bytes = (effective_key(settings, index, "batch.max_batch_bytes"), served.batch.max_batch_bytes)
        ordered += [
            ("limits.max_in_flight_events", limits.max_in_flight_events, *size),
            ("limits.max_in_flight_bytes", limits.max_in_flight_bytes, *size_bytes),
            (*size_bytes, *event),
        ]
    ordered.append(("input.max_partition_fetch_bytes", source.max_partition_fetch_bytes, *event))
    if source.duplicate_window_ms and not source.duplicate_window_events:
        yield Conflict(
            ("input.duplicate_window_ms", "input.duplicate_window_events"),
            "requires input.duplicate_window_events, which limits the memory",
        )
    if source.max_unpacked_batch_bytes is not None:
        ordered.append(("input.max_unpacked_batch_bytes", source.max_unpacked_batch_bytes, *event))
    # Models that inherit the same setting would repeat its error.
    for larger, large, smaller, small in dict.fromkeys(ordered):
        if large < small:
            yield Conflict((larger, smaller), f"must be at least {smaller} ({small})")


def _aggregate(settings: Settings) -> Iterator[Conflict]:
    aggregate = settings.aggregate
    if aggregate.final_after_ms > aggregate.closed_after_ms:
        yield Conflict(
            ("aggregate.final_after_ms", "aggregate.closed_after_ms"),
            f"must be at most aggregate.closed_after_ms ({aggregate.closed_after_ms})",
        )
    if aggregate.group_id == settings.kafka.group_id:
        yield Conflict(
            ("aggregate.group_id", "kafka.group_id"), "must differ from kafka.group_id, the group of the workers"
        )


def _quality_of_rollouts(settings: Settings) -> Iterator[Conflict]:
    rollouts = settings.rollouts
    if rollouts.quality_metric is not None and not settings.evaluate.enabled:
        yield Conflict(
            ("rollouts.quality_metric", "evaluate.enabled"),
            "needs evaluate.enabled: quality is measured by `forebay evaluate`, from labels",
        )
    if rollouts.guard_rails and rollouts.quality_metric is None:
        yield Conflict(("rollouts.guard_rails", "rollouts.quality_metric"), "needs rollouts.quality_metric")
    if rollouts.quality_metric in rollouts.guard_rails:
        yield Conflict(("rollouts.guard_rails", "rollouts.quality_metric"), "must not repeat rollouts.quality_metric")


def _evaluate(settings: Settings) -> Iterator[Conflict]:
    labels, group_id = settings.evaluate.labels_topic, settings.evaluate.group_id
    if labels in _OUTPUTS:
        yield Conflict(("evaluate.labels_topic",), "must be the topic of your labels: Forebay writes to this topic")
    if settings.evaluate.enabled and labels in settings.input.topics:
        yield Conflict(
            ("evaluate.labels_topic", "input.topics"), "must not be in input.topics: workers would predict the labels"
        )
    if len(settings.topics.prefix) + len(labels) > MAX_NAME_LENGTH:
        yield Conflict(
            ("evaluate.labels_topic", "topics.prefix"),
            f"must be at most {MAX_NAME_LENGTH} characters, including topics.prefix",
        )
    if group_id is None:
        return
    if group_id == settings.kafka.group_id:
        yield Conflict(
            ("evaluate.group_id", "kafka.group_id"), "must differ from kafka.group_id, the group of the workers"
        )
    if group_id == aggregator_group(settings):
        yield Conflict(
            ("evaluate.group_id", "aggregate.group_id"), f"must differ from the group of the aggregators ({group_id})"
        )


def _drift(settings: Settings) -> Iterator[Conflict]:
    if settings.drift.alarm < settings.drift.warn:
        yield Conflict(
            ("drift.alarm", "drift.warn"),
            f"must be at least drift.warn ({settings.drift.warn:g}), which comes before it",
        )


def _edge(settings: Settings) -> Iterator[Conflict]:
    if not settings.edge.reports:
        return
    if not settings.admin.enabled or settings.admin.token is None:
        yield Conflict(
            ("edge.reports", "admin.token"), "needs admin.enabled and admin.token, with which devices authenticate"
        )
    if settings.worker.processes != 1:
        yield Conflict(("edge.reports", "worker.processes"), "needs a worker of one process: set worker.processes = 1")


def _topics(settings: Settings) -> Iterator[Conflict]:
    for topic in settings.input.topics:
        if topic in _OUTPUTS:
            yield Conflict(("input.topics",), f"must not contain {topic!r}: Forebay writes to this topic")
        if len(settings.topics.prefix) + len(topic) > MAX_NAME_LENGTH:
            yield Conflict(
                ("input.topics", "topics.prefix"),
                f"must be at most {MAX_NAME_LENGTH} characters each, including topics.prefix",
            )


def _priorities(settings: Settings) -> Iterator[Conflict]:
    section = settings.priorities
    for key, topics in (("high_topics", section.high_topics), ("low_topics", section.low_topics)):
        for topic in topics or ():
            if topic not in settings.input.topics:
                yield Conflict(
                    (f"priorities.{key}", "input.topics"), f"must not contain {topic!r}, which is not in input.topics"
                )
    both = sorted(set(section.high_topics or ()) & set(section.low_topics or ()))
    if both:
        yield Conflict(
            ("priorities.low_topics", "priorities.high_topics"),
            f"must not contain {both[0]!r}, which priorities.high_topics contains",
        )


def _topics_with_formats(settings: Settings) -> Iterator[Conflict]:
    source, labels = settings.input, settings.evaluate.labels_topic
    for key, topics, known in (
        ("input.formats", source.formats, (*source.topics, labels)),
        ("input.mappings", source.mappings, (*source.topics, labels)),
        ("input.reader_schemas", source.reader_schemas, source.topics),
        ("input.subjects", source.subjects, source.topics),
    ):
        for topic in topics:
            if topic not in known:
                yield Conflict(
                    (key, "input.topics"), f"must not contain {topic!r}: topics that are read are {', '.join(known)}"
                )
    if source.formats.get(labels, "auto") not in _LABEL_FORMATS:
        yield Conflict(
            ("input.formats", "evaluate.labels_topic"),
            f"must be {' or '.join(_LABEL_FORMATS)} for the labels' topic, {labels!r}",
        )
    tables = [("input.mapping", source.mapping)]
    tables += [("input.mappings", table) for topic, table in source.mappings.items() if topic != labels]
    for key, mapped in tables:
        if mapped is not None and mapped.label is not None:
            yield Conflict((key, "evaluate.labels_topic"), f"must have label only for the labels' topic, {labels!r}")


def _output_format(settings: Settings) -> Iterator[Conflict]:
    name = settings.output.format
    if name != "json" and not settings.schema_registry.urls:
        yield Conflict(
            ("schema_registry.urls", "output.format"), f"must be set with output.format {name}, whose schema it has"
        )


def _formats_with_schemas(settings: Settings) -> Iterator[Conflict]:
    if settings.schema_registry.urls:
        return
    for key, names in (("input.format", [settings.input.format]), ("input.formats", settings.input.formats.values())):
        for name in sorted({"protobuf", "json-schema"}.intersection(names)):
            yield Conflict(
                (key, "schema_registry.urls"), f"needs schema_registry.urls: only a registry has schemas of {name}"
            )


def _login(kafka: KafkaSection) -> Iterator[Conflict]:
    mechanism, logs_in = kafka.sasl_mechanism, kafka.security_protocol.startswith("SASL_")
    password = kafka.sasl_password.get_secret_value() if kafka.sasl_password else None
    if mechanism is None:
        if logs_in:
            yield Conflict(
                ("kafka.sasl_mechanism", "kafka.security_protocol"),
                f"must be set with kafka.security_protocol {kafka.security_protocol}",
            )
    elif not logs_in:
        yield Conflict(
            ("kafka.security_protocol", "kafka.sasl_mechanism"),
            f"must be SASL_SSL or SASL_PLAINTEXT with kafka.sasl_mechanism {mechanism}",
        )
    by_password = mechanism == "PLAIN" or (mechanism is not None and mechanism.startswith("SCRAM-"))
    for key, value, needed in (
        ("sasl_username", kafka.sasl_username, by_password),
        ("sasl_password", password, by_password),
        ("sasl_oauth_token_command", kafka.sasl_oauth_token_command, mechanism == "OAUTHBEARER"),
    ):
        if needed and not value:
            yield Conflict(
                (f"kafka.{key}", "kafka.sasl_mechanism"), f"must be set with kafka.sasl_mechanism {mechanism}"
            )
        elif value and not needed:
            usable = "OAUTHBEARER" if key == "sasl_oauth_token_command" else "PLAIN or SCRAM-SHA-..."
            yield Conflict((f"kafka.{key}", "kafka.sasl_mechanism"), f"requires kafka.sasl_mechanism {usable}")


def _tls(kafka: KafkaSection) -> Iterator[Conflict]:
    encrypted = kafka.security_protocol in ("SSL", "SASL_SSL")
    for key, path in (
        ("kafka.ssl_cafile", kafka.ssl_cafile),
        ("kafka.ssl_certfile", kafka.ssl_certfile),
        ("kafka.ssl_keyfile", kafka.ssl_keyfile),
    ):
        if path is None:
            continue
        if not encrypted:
            yield Conflict(
                (key, "kafka.security_protocol"),
                "requires kafka.security_protocol SSL or SASL_SSL",
            )
        yield from _readable(key, path)
    if kafka.ssl_keyfile and not kafka.ssl_certfile:
        yield Conflict(("kafka.ssl_certfile", "kafka.ssl_keyfile"), "must be set with kafka.ssl_keyfile")
    if kafka.ssl_password and not kafka.ssl_certfile:
        yield Conflict(("kafka.ssl_certfile", "kafka.ssl_password"), "must be set with kafka.ssl_password")
    if not kafka.ssl_check_hostname and not encrypted:
        yield Conflict(
            ("kafka.ssl_check_hostname", "kafka.security_protocol"),
            "requires kafka.security_protocol SSL or SASL_SSL",
        )


def _schema_registry(registry: SchemaRegistrySection) -> Iterator[Conflict]:
    if registry.subjects and not registry.urls:
        yield Conflict(
            ("schema_registry.urls", "schema_registry.subjects"), "must be set with schema_registry.subjects"
        )
    if registry.password is not None and registry.username is None:
        yield Conflict(
            ("schema_registry.username", "schema_registry.password"), "must be set with schema_registry.password"
        )
    if registry.username is not None and registry.bearer_token is not None:
        yield Conflict(
            ("schema_registry.username", "schema_registry.bearer_token"),
            "cannot be used together with schema_registry.bearer_token",
        )
    token = registry.bearer_token.get_secret_value() if registry.bearer_token else ""
    if not all("!" <= char <= "~" for char in token):
        yield Conflict(
            ("schema_registry.bearer_token",), "must be printable ASCII without spaces: it is sent in an HTTP header"
        )
    if registry.username is not None and ":" in registry.username:
        yield Conflict(("schema_registry.username",), "must not contain a colon, which ends it in basic authentication")
    if registry.retry_backoff_ms > registry.retry_backoff_max_ms:
        yield Conflict(
            ("schema_registry.retry_backoff_ms", "schema_registry.retry_backoff_max_ms"),
            f"must be at most schema_registry.retry_backoff_max_ms ({registry.retry_backoff_max_ms})",
        )
    for key, path in (
        ("schema_registry.ssl_cafile", registry.ssl_cafile),
        ("schema_registry.ssl_certfile", registry.ssl_certfile),
        ("schema_registry.ssl_keyfile", registry.ssl_keyfile),
    ):
        if path is not None:
            yield from _readable(key, path)
    for key, needs_certificate in (("ssl_keyfile", registry.ssl_keyfile), ("ssl_password", registry.ssl_password)):
        if needs_certificate and not registry.ssl_certfile:
            yield Conflict(
                ("schema_registry.ssl_certfile", f"schema_registry.{key}"), f"must be set with schema_registry.{key}"
            )


def _readable(key: str, path: str) -> Iterator[Conflict]:
    if not os.path.isfile(path):
        yield Conflict((key,), "must be an existing file (relative paths start at the working directory)")
    elif not os.access(path, os.R_OK):
        yield Conflict((key,), "must be readable by the user who runs forebay")


def _admin(settings: Settings) -> Iterator[Conflict]:
    admin, delivery, reset_ms = settings.admin, settings.delivery, settings.breaker.reset_timeout_ms
    call_ms, key = max(
        (served.model.call_timeout_ms, effective_key(settings, index, "model.call_timeout_ms"))
        for index, served in enumerate(settings.models_to_serve())
    )
    # The longest healthy waits: a commit, and a model call until it stops the worker.
    if admin.stuck_after_ms <= max(delivery.commit_timeout_ms, call_ms + reset_ms):
        yield Conflict(
            ("admin.stuck_after_ms", "delivery.commit_timeout_ms", key, "breaker.reset_timeout_ms"),
            f"must be more than delivery.commit_timeout_ms ({delivery.commit_timeout_ms}), and more than {key} "
            f"({call_ms}) plus breaker.reset_timeout_ms ({reset_ms})",
        )
    token = admin.token.get_secret_value() if admin.token else None
    if token is not None and not all("!" <= char <= "~" for char in token):
        yield Conflict(("admin.token",), "must be printable ASCII without spaces: it is sent in an HTTP header")
    yield from _admin_tls(admin)


def _admin_tls(admin: AdminSection) -> Iterator[Conflict]:
    files = (("admin.tls_cert_file", admin.tls_cert_file), ("admin.tls_key_file", admin.tls_key_file))
    for (key, path), (other, other_path) in (files, files[::-1]):
        if path is not None:
            yield from _readable(key, path)
        elif other_path is not None:
            yield Conflict((key, other), f"must be set with {other}")
