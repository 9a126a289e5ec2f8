"""Every way to log in, against a real Kafka that requires it, and the errors of failed logins."""

from __future__ import annotations

import base64
import json
import shlex
import sys
import time

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from confluent_kafka.admin import (
    AclOperation,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from forebay.schemas.errors import BrokerError
from forebay.stream.config.sections import DeliverySection, Settings, TopicsSection
from forebay.stream.kafka.client import client_options
from forebay.stream.kafka.cluster.bootstrap import bootstrap_connection
from forebay.stream.preflight import Check, Status, check_cluster
from tests.brokers.secure import CERTIFICATES, PASSWORD, SCRAM, SecureKafka, login

# The fixture declares that Apache Kafka is needed; the broker that these tests start uses the same JAR files.
pytestmark = [pytest.mark.usefixtures("kafka_cluster"), pytest.mark.slow]

TIMEOUT_S = 10.0


def token_command(lifetime_s: float = 600) -> str:
    """A command that prints an unsigned token for alice, which a broker without keys accepts."""

    def part(claims: dict[str, object]) -> str:
        return base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")

    now_s = int(time.time())
    token = f"{part({'alg': 'none'})}.{part({'sub': 'alice', 'iat': now_s, 'exp': now_s + lifetime_s})}."
    return shlex.join([sys.executable, "-S", "-c", f"print({token!r})"])


def way(name: str) -> tuple[str, dict[str, object]]:
    """The protocol and settings of a way to log in."""
    protocol, _, mechanism = name.partition("/")
    if mechanism == "OAUTHBEARER":
        return protocol, {"sasl_mechanism": mechanism, "sasl_oauth_token_command": token_command()}
    if protocol == "SSL":
        return protocol, {
            "ssl_certfile": str(CERTIFICATES / "client.pem"),
            "ssl_keyfile": str(CERTIFICATES / "client-key.pem"),
            "ssl_password": PASSWORD,
        }
    return protocol, login(mechanism) if mechanism else {}


WAYS = [
    "PLAINTEXT",
    "SSL",
    *(
        f"{protocol}/{mechanism}"
        for protocol in ("SASL_PLAINTEXT", "SASL_SSL")
        for mechanism in ("PLAIN", *SCRAM, "OAUTHBEARER")
    ),
]


@pytest.mark.parametrize("name", WAYS)
async def test_a_logged_in_client_can_write_and_read(secure: SecureKafka, name: str) -> None:
    protocol, more = way(name)
    kafka = secure.section(protocol, **more)
    payload = name.encode()
    producer = AIOKafkaProducer(**client_options(kafka))
    await producer.start()
    try:
        sent = await producer.send_and_wait("features", payload, partition=0)
    finally:
        await producer.stop()
    consumer = AIOKafkaConsumer(
        "features", **client_options(kafka), group_id=f"read {name}", auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        while (record := await consumer.getone()).offset != sent.offset or record.partition != 0:
            pass
        assert record.value == payload
    finally:
        await consumer.stop()


@pytest.mark.parametrize("name", WAYS)
async def test_a_logged_in_client_passes_the_check(secure: SecureKafka, name: str) -> None:
    protocol, more = way(name)
    checks = await checks_of(Settings(kafka=secure.section(protocol, **more)))
    assert {name: check.status for name, check in checks.items()} == {
        "broker": Status.OK,
        "topics": Status.OK,
        "aggregator": Status.OK,
        "input": Status.OK,
        "output": Status.OK,
        "group": Status.OK,
        "transactions": Status.OK,
    }, checks


@pytest.mark.parametrize(
    ("protocol", "more", "kind", "report"),
    [
        ("SASL_PLAINTEXT", login("PLAIN", password="wrong"), "authentication", "the login was refused"),
        ("SASL_SSL", login("SCRAM-SHA-256", password="wrong"), "authentication", "the login was refused"),
        ("SASL_SSL", login("SCRAM-SHA-512", user="nobody"), "authentication", "the login was refused"),
        ("SSL", {}, "tls", "TLS failed"),
        ("SSL", {"ssl_cafile": None}, "tls", "its certificate is not trusted"),
        (
            "SASL_SSL",
            {"sasl_mechanism": "OAUTHBEARER", "sasl_oauth_token_command": "sh -c 'echo no door >&2; exit 3'"},
            "token",
            "ended with status 3: no door",
        ),
    ],
)
async def test_a_failed_login_shows_its_reason(
    secure: SecureKafka, protocol: str, more: dict[str, object], kind: str, report: str
) -> None:
    with pytest.raises(BrokerError) as caught:
        async with bootstrap_connection(secure.section(protocol, **more), timeout_s=TIMEOUT_S):
            pass
    assert (caught.value.kind, report in caught.value.message) == (kind, True), caught.value.message
    assert caught.value.remedy
    assert "wrong" not in caught.value.message


@pytest.mark.parametrize(("spoken", "listener"), [("PLAINTEXT", "SASL_SSL"), ("SSL", "SASL_PLAINTEXT")])
async def test_a_listener_with_another_protocol(secure: SecureKafka, spoken: str, listener: str) -> None:
    kafka = secure.section(spoken).model_copy(update={"bootstrap_servers": f"127.0.0.1:{secure.ports[listener]}"})
    with pytest.raises(BrokerError, match="cannot reach Kafka") as caught:
        async with bootstrap_connection(kafka, timeout_s=3):
            pass
    remedy = caught.value.remedy or ""
    assert "kafka.security_protocol" in remedy or "speaks TLS" in remedy


async def test_missing_permissions_are_reported(secure: SecureKafka) -> None:
    settings = Settings(
        kafka=secure.section("SASL_PLAINTEXT", **login("PLAIN", user="bob"), group_id="bobs"),
        topics=TopicsSection(prefix="bob."),
    )
    checks = await checks_of(settings)
    assert checks["broker"].status is Status.OK
    assert checks["topics"].status is Status.FAILED
    assert checks["input"].problems == ("bob.features: TopicAuthorizationFailed",)
    assert len(checks["output"].problems) == 3
    assert checks["group"].status is Status.FAILED
    assert checks["transactions"].detail == "not allowed: WRITE on the transactional-id forebay-bobs-check"
    assert "at_least_once" in (checks["transactions"].remedy or "")

    allow(secure, ResourceType.TOPIC, "bob.features", AclOperation.DESCRIBE)
    allow(secure, ResourceType.TOPIC, "bob.predictions", AclOperation.WRITE)
    allow(secure, ResourceType.TOPIC, "bob.dead-letters", AclOperation.READ)
    allow(secure, ResourceType.GROUP, "bobs", AclOperation.DESCRIBE)
    checks = await checks_of(settings)
    assert checks["input"].problems == ("bob.features: not allowed: READ",)
    assert checks["output"].problems == (
        "bob.dead-letters: not allowed: WRITE",
        "bob.outcome-deltas: TopicAuthorizationFailed",
    )
    assert checks["group"].detail == "bobs: not allowed: READ"

    allow(secure, ResourceType.TOPIC, "bob.features", AclOperation.READ)
    allow(secure, ResourceType.TOPIC, "bob.dead-letters", AclOperation.WRITE)
    allow(secure, ResourceType.TOPIC, "bob.outcome-deltas", AclOperation.WRITE)
    allow(secure, ResourceType.GROUP, "bobs", AclOperation.READ)
    allow(
        secure,
        ResourceType.TRANSACTIONAL_ID,
        name="forebay-bobs-",
        operation=AclOperation.WRITE,
        pattern=ResourcePatternType.PREFIXED,
    )
    checks = await checks_of(settings)
    assert {checks[name].status for name in ("input", "output", "group", "transactions")} == {Status.OK}
    assert checks["transactions"].detail == "forebay-bobs-*: may be used as transactional ids"


async def test_a_transaction_timeout_beyond_the_limit_of_the_brokers(secure: SecureKafka) -> None:
    delivery = DeliverySection(transaction_timeout_ms=60_001)
    checks = await checks_of(Settings(kafka=secure.section("PLAINTEXT"), delivery=delivery))
    assert checks["transactions"].status is Status.FAILED
    assert "transaction.max.timeout.ms" in (checks["transactions"].remedy or "")


async def test_the_check_creates_neither_topics_nor_group(secure: SecureKafka) -> None:
    admin = AdminClient({"bootstrap.servers": secure.bootstrap})
    settings = Settings(
        kafka=secure.section("PLAINTEXT", group_id="never seen"), topics=TopicsSection(prefix="unmade.")
    )
    checks = await checks_of(settings)
    assert checks["topics"].status is Status.FAILED
    assert checks["input"].status is Status.SKIPPED
    assert checks["group"].status is Status.OK
    assert not [topic for topic in admin.list_topics(timeout=10).topics if topic.startswith("unmade.")]
    groups = admin.list_consumer_groups().result(10).valid
    assert "never seen" not in [group.group_id for group in groups]


async def checks_of(settings: Settings) -> dict[str, Check]:
    checks: list[Check] = []
    await check_cluster(settings, timeout_s=TIMEOUT_S, on_check=checks.append)
    return {check.name: check for check in checks}


def allow(
    kafka: SecureKafka,
    kind: ResourceType,
    name: str,
    operation: AclOperation,
    pattern: ResourcePatternType = ResourcePatternType.LITERAL,
    *,
    user: str = "bob",
) -> None:
    kafka.allow(user, (kind, name, operation, pattern))
