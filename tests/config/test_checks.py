"""Rules between settings: a broken rule is reported under the key that one would change."""

from __future__ import annotations

from pathlib import Path

import pytest

from forebay.schemas.errors import ConfigError
from forebay.schemas.topics import ALL_TOPICS
from forebay.stream.config.load import load_settings

SASL = {"kafka.security_protocol": "SASL_SSL"}
LOGIN = {"kafka.sasl_username": "me", "kafka.sasl_password": "hunter2"}


def report(overrides: dict[str, object]) -> list[tuple[str, str]]:
    """Return the (key, message) of every problem."""
    try:
        load_settings(None, {}, overrides)
    except ConfigError as error:
        return [(problem.split(" = ")[0], problem.split("): ", 1)[1]) for problem in error.problems]
    return []


@pytest.mark.parametrize(
    ("overrides", "key", "other"),
    [
        ({"kafka.heartbeat_interval_ms": 15_000}, "kafka.heartbeat_interval_ms", "kafka.session_timeout_ms (30000)"),
        ({"delivery.revoke_timeout_ms": 60_000}, "delivery.revoke_timeout_ms", "kafka.rebalance_timeout_ms (60000)"),
        (
            {"delivery.commit_timeout_ms": 20_001, "delivery.transaction_timeout_ms": 30_000},
            "delivery.commit_timeout_ms",
            "delivery.drain_timeout_ms (20000)",
        ),
        (
            {"delivery.commit_timeout_ms": 10_001},
            "delivery.commit_timeout_ms",
            "delivery.transaction_timeout_ms (10000)",
        ),
        (
            {"input.isolation_level": "read_uncommitted"},
            "input.isolation_level",
            "delivery.processing_guarantee exactly_once",
        ),
        ({"input.fetch_max_wait_ms": 30_000}, "input.fetch_max_wait_ms", "kafka.request_timeout_ms (30000)"),
        ({"limits.max_in_flight_events": 4095}, "limits.max_in_flight_events", "batch.max_batch_size (4096)"),
        ({"limits.max_in_flight_bytes": 4_194_303}, "limits.max_in_flight_bytes", "batch.max_batch_bytes (4194304)"),
        ({"batch.max_batch_bytes": 1_048_575}, "batch.max_batch_bytes", "input.max_event_bytes (1048576)"),
        (
            {"input.max_partition_fetch_bytes": 1_048_575},
            "input.max_partition_fetch_bytes",
            "input.max_event_bytes (1048576)",
        ),
        (
            {"model.instances": 3, "limits.max_in_flight_batches": 5},
            "limits.max_in_flight_batches",
            "twice model.instances (3)",
        ),
        ({"topics.prefix": "p" * 200, "input.topics": "t" * 50}, "input.topics", "topics.prefix"),
        ({"input.duplicate_window_ms": 1}, "input.duplicate_window_ms", "requires input.duplicate_window_events"),
        (
            {"input.duplicate_window_events": 1, "window.kind": "tumbling", "window.size_ms": 1000},
            "input.duplicate_window_events",
            "must be 0 with window.kind tumbling",
        ),
    ],
)
def test_times_and_sizes(overrides: dict[str, object], key: str, other: str) -> None:
    ((found, rule),) = report(overrides)
    assert found == key
    assert other in rule


def test_at_least_once_asks_for_neither() -> None:
    assert not report(
        {
            "delivery.processing_guarantee": "at_least_once",
            "delivery.commit_timeout_ms": 15_000,
            "input.isolation_level": "read_uncommitted",
        }
    )


def test_the_bounds_themselves_are_allowed() -> None:
    assert not report(
        {
            "kafka.heartbeat_interval_ms": 14_999,
            "delivery.revoke_timeout_ms": 59_999,
            "delivery.commit_timeout_ms": 20_000,
            "delivery.transaction_timeout_ms": 20_000,
            "input.fetch_max_wait_ms": 29_999,
            "limits.max_in_flight_events": 4096,
            "limits.max_in_flight_bytes": 4_194_304,
            "batch.max_batch_bytes": 4_194_304,
            "topics.prefix": "p" * 200,
            "input.topics": "t" * 49,
        }
    )


@pytest.mark.parametrize(
    ("overrides", "key", "rule"),
    [
        ({"evaluate.labels_topic": "predictions"}, "evaluate.labels_topic", "Forebay writes to this topic"),
        (
            {"evaluate.enabled": True, "input.topics": "features,labels"},
            "evaluate.labels_topic",
            "must not be in input.topics",
        ),
        ({"topics.prefix": "p" * 200, "evaluate.labels_topic": "t" * 50}, "evaluate.labels_topic", "topics.prefix"),
        ({"evaluate.group_id": "forebay"}, "evaluate.group_id", "must differ from kafka.group_id"),
        ({"evaluate.group_id": "forebay-aggregate"}, "evaluate.group_id", "group of the aggregators"),
        ({"rollouts.quality_metric": "log_loss"}, "rollouts.quality_metric", "needs evaluate.enabled"),
        ({"rollouts.guard_rails": "brier"}, "rollouts.guard_rails", "needs rollouts.quality_metric"),
        (
            {"evaluate.enabled": True, "rollouts.quality_metric": "mae", "rollouts.guard_rails": "mse,mae"},
            "rollouts.guard_rails",
            "must not repeat rollouts.quality_metric",
        ),
        ({"rollouts.guard_rails": "auc"}, "rollouts.guard_rails", "of accuracy, log_loss, brier, mae, mse"),
        ({"output.format": "avro"}, "schema_registry.urls", "set with output.format avro"),
        ({"drift.alarm": 0.05}, "drift.alarm", "at least drift.warn (0.1)"),
        ({"edge.reports": True}, "edge.reports", "needs admin.enabled and admin.token"),
        (
            {"edge.reports": True, "admin.token": "a-secret-of-devices", "worker.processes": 2},
            "edge.reports",
            "needs a worker of one process",
        ),
        ({"drift.ignored_columns": "a,,b"}, "drift.ignored_columns", "names of features"),
        ({"evaluate.slices": "a,b,c,d,e"}, "evaluate.slices", "a list of at most 4 different names"),
        ({"evaluate.slices": "a,a"}, "evaluate.slices", "a list of at most 4 different names"),
        ({"evaluate.slices": ["a=b"]}, "evaluate.slices", "without '='"),
        ({"evaluate.join_by": "offset"}, "evaluate.join_by", '"id", "position" or "key_and_time"'),
        ({"evaluate.horizon_s": 0}, "evaluate.horizon_s", "a whole number from 1 to 2592000"),
    ],
)
def test_labels_have_a_topic_and_a_group_of_their_own(overrides: dict[str, object], key: str, rule: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(None, {}, overrides)
    (problem,) = caught.value.problems
    assert problem.startswith(f"{key} = ") and rule in problem


def test_a_topic_named_labels_can_be_an_input_while_the_evaluator_is_off() -> None:
    assert not report({"input.topics": "labels"})


@pytest.mark.parametrize("topic", [spec.name for spec in ALL_TOPICS if spec.name not in ("features", "labels")])
def test_what_the_worker_writes_it_does_not_read(topic: str) -> None:
    ((key, rule),) = report({"input.topics": f"features,{topic}"})
    assert key == "input.topics"
    assert topic in rule


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"kafka.security_protocol": "SSL"},
        {**SASL, **LOGIN, "kafka.sasl_mechanism": "PLAIN"},
        {**SASL, **LOGIN, "kafka.sasl_mechanism": "SCRAM-SHA-256"},
        {**SASL, **LOGIN, "kafka.sasl_mechanism": "SCRAM-SHA-512", "kafka.security_protocol": "SASL_PLAINTEXT"},
        {**SASL, "kafka.sasl_mechanism": "OAUTHBEARER", "kafka.sasl_oauth_token_command": "get-token --for 'us all'"},
        {**SASL, "kafka.sasl_mechanism": "GSSAPI"},
        {"kafka.security_protocol": "SSL", "kafka.ssl_check_hostname": "false"},
    ],
)
def test_ways_to_log_in(overrides: dict[str, object]) -> None:
    assert report(overrides) == []


@pytest.mark.parametrize(
    ("overrides", "keys"),
    [
        (SASL, {"kafka.sasl_mechanism"}),
        ({**SASL, "kafka.sasl_mechanism": "PLAIN"}, {"kafka.sasl_username", "kafka.sasl_password"}),
        ({**SASL, **LOGIN, "kafka.sasl_mechanism": "PLAIN", "kafka.sasl_password": ""}, {"kafka.sasl_password"}),
        ({**LOGIN, "kafka.sasl_mechanism": "PLAIN"}, {"kafka.security_protocol"}),
        (LOGIN, {"kafka.sasl_username", "kafka.sasl_password"}),
        ({**SASL, "kafka.sasl_mechanism": "OAUTHBEARER"}, {"kafka.sasl_oauth_token_command"}),
        ({**SASL, "kafka.sasl_mechanism": "GSSAPI", "kafka.sasl_username": "me"}, {"kafka.sasl_username"}),
        ({"kafka.ssl_check_hostname": "false"}, {"kafka.ssl_check_hostname"}),
        ({"kafka.security_protocol": "SSL", "kafka.ssl_cafile": "/none/ca.pem"}, {"kafka.ssl_cafile"}),
        ({"kafka.security_protocol": "SSL", "kafka.ssl_password": "x"}, {"kafka.ssl_certfile"}),
        ({**SASL, "kafka.sasl_mechanism": "PLAIN", **LOGIN, "kafka.sasl_oauth_token_command": "x"},
         {"kafka.sasl_oauth_token_command"}),
        ({"kafka.sasl_oauth_token_command": "say 'it"}, {"kafka.sasl_oauth_token_command"}),
    ],
)  # fmt: skip
def test_ways_to_be_kept_out(overrides: dict[str, object], keys: set[str]) -> None:
    found = report(overrides)
    assert {key for key, _ in found} == keys
    assert "hunter2" not in str(found)


def test_tls_files_must_exist_and_be_used(tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    key.write_text("key")
    assert {key for key, _ in report({"kafka.security_protocol": "SSL", "kafka.ssl_keyfile": str(key)})} == {
        "kafka.ssl_certfile"
    }
    assert report({"kafka.ssl_certfile": str(key)}) == [
        ("kafka.ssl_certfile", "requires kafka.security_protocol SSL or SASL_SSL")
    ]
    assert (
        report({"kafka.security_protocol": "SSL", "kafka.ssl_certfile": str(key), "kafka.ssl_keyfile": str(key)}) == []
    )


REGISTRY = {"schema_registry.urls": "http://a:8081,http://b:8081/apis/ccompat/v7"}
BASIC = {"schema_registry.username": "me", "schema_registry.password": "hunter2"}


@pytest.mark.parametrize(
    ("overrides", "keys"),
    [
        (REGISTRY, set()),
        ({**REGISTRY, **BASIC}, set()),
        ({**REGISTRY, "schema_registry.bearer_token": "hunter2", "schema_registry.subjects": "a-value,b-value"}, set()),
        ({"schema_registry.subjects": "a-value"}, {"schema_registry.urls"}),
        ({**REGISTRY, "schema_registry.password": "hunter2"}, {"schema_registry.username"}),
        ({**REGISTRY, **BASIC, "schema_registry.bearer_token": "hunter2"}, {"schema_registry.username"}),
        ({**REGISTRY, "schema_registry.bearer_token": "hunter2 "}, {"schema_registry.bearer_token"}),
        ({**REGISTRY, **BASIC, "schema_registry.username": "a:b"}, {"schema_registry.username"}),
        ({**REGISTRY, "schema_registry.retry_backoff_ms": 20_000}, {"schema_registry.retry_backoff_ms"}),
        ({**REGISTRY, "schema_registry.ssl_cafile": "/none/ca.pem"}, {"schema_registry.ssl_cafile"}),
        ({**REGISTRY, "schema_registry.ssl_password": "hunter2"}, {"schema_registry.ssl_certfile"}),
        ({"schema_registry.urls": "registry:8081"}, {"schema_registry.urls"}),
        ({"schema_registry.urls": "http://:8081"}, {"schema_registry.urls"}),
        ({**REGISTRY, "schema_registry.subjects": "a-value,,b"}, {"schema_registry.subjects"}),
        ({**REGISTRY, "schema_registry.on_unknown_id": "skip"}, {"schema_registry.on_unknown_id"}),
    ],
)
def test_the_connection_to_a_schema_registry(overrides: dict[str, object], keys: set[str]) -> None:
    found = report(overrides)
    assert {key for key, _ in found} == keys
    assert "hunter2" not in str(found)


HOPS = {"window.kind": "hopping", "window.size_ms": 60_000, "window.hop_ms": 10_000}


@pytest.mark.parametrize(
    ("overrides", "key", "rule"),
    [
        ({"window.kind": "tumbling"}, "window.size_ms", "must be set with window.kind tumbling"),
        ({"window.kind": "session"}, "window.gap_ms", "must be set with window.kind session"),
        ({"window.size_ms": 5}, "window.size_ms", "requires window.kind tumbling or hopping"),
        (HOPS | {"window.gap_ms": 5}, "window.gap_ms", "requires window.kind session"),
        (HOPS | {"window.hop_ms": 60_001}, "window.hop_ms", "must be at most window.size_ms (60000)"),
        (HOPS | {"window.hop_ms": 59}, "window.hop_ms", "must be at least one 1000th of window.size_ms (60000)"),
        (
            {"window.kind": "session", "window.gap_ms": 10, "window.max_session_ms": 9},
            "window.gap_ms",
            "must be at most window.max_session_ms (9)",
        ),
        (HOPS | {"input.topics": "a,b"}, "input.topics", "must be a single topic with window.kind hopping"),
    ],
)
def test_windows(overrides: dict[str, object], key: str, rule: str) -> None:
    ((found, said),) = report(overrides)
    assert found == key and said.startswith(rule)
    assert report(HOPS) == []
