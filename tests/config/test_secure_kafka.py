"""Every way to be let in, against a real Kafka that asks for it, and how being kept out is told."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from schemas.errors import BrokerError
from stream.config.sections import DeliverySection, KafkaSection, Settings, TopicsSection
from stream.kafka.client import client_options
from stream.kafka.reach import reach
from stream.kafka.topics import create_topics
from stream.preflight import Check, Status, check_cluster
from tests.brokers.apache import ApacheKafka
from tests.brokers.clients import consumer, producer, read, send_batch
from tests.brokers.jars import cache_folder, fetch_jars, find_java
from tests.brokers.ports import free_ports
from tests.worker.harness import WorkerProcess

# By its fixture a test tells what it needs; this one's own broker is made of the same jars.
pytestmark = [pytest.mark.usefixtures("kafka_cluster"), pytest.mark.slow]

CERTIFICATES = Path(__file__).parent / "certificates"
PASSWORD = "hunter2"
LISTENERS = ("SASL_PLAINTEXT", "SASL_SSL", "SSL")
SCRAM = {"SCRAM-SHA-256": ScramMechanism.SCRAM_SHA_256, "SCRAM-SHA-512": ScramMechanism.SCRAM_SHA_512}
TIMEOUT_S = 10.0


class SecureKafka(ApacheKafka):
    """One broker with a listener for each security protocol; alice may do all, others what they are allowed."""

    def __init__(self, folder: Path) -> None:
        java, _ = find_java(os.environ)
        super().__init__(fetch_jars(cache_folder(os.environ)), folder, java=java)
        self.ports = dict(zip(LISTENERS, free_ports(len(LISTENERS)), strict=True))

    def section(self, protocol: str, **more: object) -> KafkaSection:
        """Settings for the listener of that protocol."""
        servers = self.bootstrap if protocol == "PLAINTEXT" else f"127.0.0.1:{self.ports[protocol]}"
        tls = {"ssl_cafile": str(CERTIFICATES / "ca.pem")} if protocol.endswith("SSL") else {}
        return KafkaSection.model_validate({"bootstrap_servers": servers, "security_protocol": protocol, **tls, **more})

    def _write_properties(self, node: Any) -> None:
        super()._write_properties(node)
        plain = f"PLAINTEXT://127.0.0.1:{node.port}"
        secure = ",".join(f"{name}://127.0.0.1:{port}" for name, port in self.ports.items())
        properties = {
            "listeners": f"{plain},CONTROLLER://127.0.0.1:{node.controller_port},{secure}",
            "advertised.listeners": f"{plain},{secure}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,"
            + ",".join(f"{name}:{name}" for name in LISTENERS),
            "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
            "ssl.keystore.type": "PKCS12",
            "ssl.keystore.location": str(CERTIFICATES / "broker.p12"),
            "ssl.keystore.password": PASSWORD,
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(CERTIFICATES / "ca.pem"),
            "listener.name.ssl.ssl.client.auth": "required",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "transaction.max.timeout.ms": "60000",
            "super.users": "User:ANONYMOUS;User:alice;User:CN=client",
        }
        security = "org.apache.kafka.common.security"
        for name in ("sasl_plaintext", "sasl_ssl"):
            logins = {
                "plain": f'{security}.plain.PlainLoginModule required user_alice="{PASSWORD}" user_bob="{PASSWORD}" '
                f'user_carol="{PASSWORD}";',
                "scram-sha-256": f"{security}.scram.ScramLoginModule required;",
                "scram-sha-512": f"{security}.scram.ScramLoginModule required;",
                "oauthbearer": f"{security}.oauthbearer.OAuthBearerLoginModule required "
                'unsecuredLoginStringClaim_sub="broker";',
            }
            for mechanism, login in logins.items():
                properties[f"listener.name.{name}.{mechanism}.sasl.jaas.config"] = login
        with (node.folder / "server.properties").open("a") as file:
            file.writelines(f"{key}={value}\n" for key, value in properties.items())


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafka]:
    kafka = SecureKafka(tmp_path_factory.mktemp("secure") / "nodes")
    try:
        kafka.start()
        admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
        for mechanism in SCRAM.values():
            credential = UserScramCredentialUpsertion("alice", ScramCredentialInfo(mechanism, 4096), PASSWORD.encode())
            _finish(admin.alter_user_scram_credentials([credential]))
        for prefix in ("", "bob."):
            settings = Settings(kafka=kafka.section("PLAINTEXT"), topics=TopicsSection(prefix=prefix))
            made = asyncio.run(create_topics(settings))
            assert {each.status for each in made} == {"created"}
        yield kafka
    finally:
        kafka.remove()


def _finish(futures: dict[Any, Any]) -> None:
    for future in futures.values():
        future.result(30)


def login(mechanism: str, user: str = "alice", password: str = PASSWORD) -> dict[str, object]:
    return {"sasl_mechanism": mechanism, "sasl_username": user, "sasl_password": password}


def token_command(lifetime_s: float = 600) -> str:
    """Prints an unsigned token for alice, which a broker without keys accepts."""

    def part(claims: dict[str, object]) -> str:
        return base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")

    now_s = int(time.time())
    token = f"{part({'alg': 'none'})}.{part({'sub': 'alice', 'iat': now_s, 'exp': now_s + lifetime_s})}."
    return shlex.join([sys.executable, "-S", "-c", f"print({token!r})"])


def way(name: str) -> tuple[str, dict[str, object]]:
    """Protocol and settings of a way to be let in."""
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
async def test_who_is_let_in_can_write_and_read(secure: SecureKafka, name: str) -> None:
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
async def test_who_is_let_in_passes_the_check(secure: SecureKafka, name: str) -> None:
    protocol, more = way(name)
    checks = await checks_of(Settings(kafka=secure.section(protocol, **more)))
    assert {name: check.status for name, check in checks.items()} == {
        "broker": Status.OK,
        "topics": Status.OK,
        "aggregator": Status.WARNING,  # its topics are not there
        "input": Status.OK,
        "output": Status.OK,
        "group": Status.OK,
        "transactions": Status.OK,
    }, checks


@pytest.mark.parametrize(
    ("protocol", "more", "kind", "told"),
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
async def test_who_is_kept_out_learns_why(
    secure: SecureKafka, protocol: str, more: dict[str, object], kind: str, told: str
) -> None:
    with pytest.raises(BrokerError) as caught:
        async with reach(secure.section(protocol, **more), timeout_s=TIMEOUT_S):
            pass
    assert (caught.value.kind, told in caught.value.message) == (kind, True), caught.value.message
    assert caught.value.remedy
    assert "wrong" not in caught.value.message


@pytest.mark.parametrize(("spoken", "listener"), [("PLAINTEXT", "SASL_SSL"), ("SSL", "SASL_PLAINTEXT")])
async def test_a_port_that_speaks_something_else(secure: SecureKafka, spoken: str, listener: str) -> None:
    kafka = secure.section(spoken).model_copy(update={"bootstrap_servers": f"127.0.0.1:{secure.ports[listener]}"})
    with pytest.raises(BrokerError, match="cannot reach Kafka") as caught:
        async with reach(kafka, timeout_s=3):
            pass
    remedy = caught.value.remedy or ""
    assert "kafka.security_protocol" in remedy or "speaks TLS" in remedy


async def test_what_is_not_allowed_is_told(secure: SecureKafka) -> None:
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
    assert checks["transactions"].detail == "not allowed: forebay-bobs-check as a transactional id"
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
    allow(secure, ResourceType.TRANSACTIONAL_ID, "forebay-bobs-", AclOperation.WRITE, ResourcePatternType.PREFIXED)
    checks = await checks_of(settings)
    assert {checks[name].status for name in ("input", "output", "group", "transactions")} == {Status.OK}
    assert checks["transactions"].detail == "forebay-bobs-*: may be used as transactional ids"


async def test_a_transaction_time_out_beyond_the_brokers(secure: SecureKafka) -> None:
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
    await check_cluster(settings, timeout_s=TIMEOUT_S, tell=checks.append)
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
    binding = AclBinding(kind, name, pattern, f"User:{user}", "*", operation, AclPermissionType.ALLOW)
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})  # by a name: with the last one it stops at once
    _finish(admin.create_acls([binding]))


async def test_a_worker_that_is_allowed_what_it_needs_and_no_more(secure: SecureKafka, tmp_path: Path) -> None:
    """The list in docs/guarantees.md, for a user who may do nothing else."""
    for topic in ("predictions", "dead-letters", "outcome-deltas"):
        allow(secure, ResourceType.TOPIC, f"carol.{topic}", AclOperation.WRITE, user="carol")
    allow(secure, ResourceType.TOPIC, "carol.features", AclOperation.READ, user="carol")
    allow(
        secure, ResourceType.TOPIC, "carol.", AclOperation.DESCRIBE_CONFIGS, ResourcePatternType.PREFIXED, user="carol"
    )
    allow(secure, ResourceType.GROUP, "carols", AclOperation.READ, user="carol")
    ids = (ResourceType.TRANSACTIONAL_ID, "forebay-carols-")
    allow(secure, *ids, AclOperation.WRITE, ResourcePatternType.PREFIXED, user="carol")
    topics = TopicsSection(prefix="carol.", partitions=1)
    await create_topics(Settings(kafka=secure.section("PLAINTEXT"), topics=topics))
    values = [orjson.dumps({"id": str(n), "timestamp": 1_790_000_000_000, "features": [n, 1, 2, 3]}) for n in range(20)]
    async with producer(secure.bootstrap) as client:
        await send_batch(client, TopicPartition("carol.features", 0), [*values, b"garbage"])
    kafka = {"bootstrap_servers": f"127.0.0.1:{secure.ports['SASL_PLAINTEXT']}", "security_protocol": "SASL_PLAINTEXT"}
    kafka |= {"group_id": "carols", **login("PLAIN", user="carol")}
    settings = {"kafka": kafka, "topics": {"prefix": "carol."}}
    worker = WorkerProcess(tmp_path, 0, {"mode": "echo", "settings": settings, "failpoints": {}})
    try:
        async with consumer(secure.bootstrap, "carol.predictions") as reader:
            assert len(await read(reader, 20)) == 20
        assert await worker.stop() == 0, worker.log
    finally:
        worker.kill()
    assert "21 events committed = 20 predicted + 1 rejected" in worker.log
    assert "Traceback" not in worker.log and "ERROR" not in worker.log, worker.log
