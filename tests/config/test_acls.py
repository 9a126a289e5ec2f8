"""Least privilege: each role works with exactly what `forebay acls` lists, and reports each missing permission."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import orjson
import pytest
from aiokafka import TopicPartition
from confluent_kafka.admin import AclOperation, ResourcePatternType, ResourceType

from forebay.schemas.errors import BrokerError
from forebay.stream.aggregate.topics import create_aggregator_topics
from forebay.stream.config.load import load_settings
from forebay.stream.config.sections import Settings
from forebay.stream.evaluate.topics import create_evaluator_topics
from forebay.stream.kafka.cluster.acl_check import require
from forebay.stream.kafka.cluster.acls import Acl, Role, required_acls
from forebay.stream.kafka.cluster.topics import create_topics
from tests.brokers.clients import consumer, producer, read, send_batch
from tests.brokers.secure import PASSWORD, SecureKafka
from tests.worker.harness import WorkerProcess

# The fixture declares that Apache Kafka is needed; the broker that these tests start uses the same JAR files.
pytestmark = [pytest.mark.usefixtures("kafka_cluster"), pytest.mark.slow, pytest.mark.timeout(600)]

PATIENCE_S = 120.0
"""The limit for several processes that run in turn on a possibly busy machine."""

# The window is much longer than an aggregator takes to start on a busy machine: later it would not find the event in it.
RULE = [{"name": "any", "count": 1, "window_s": 1800}]
GROUP = "acl"
KINDS = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "transactional-id": ResourceType.TRANSACTIONAL_ID,
}


def environment(kafka: SecureKafka, user: str, prefix: str) -> dict[str, str]:
    """Return the settings of a user who logs in with SCRAM, as environment variables."""
    return {
        "FOREBAY_KAFKA__BOOTSTRAP_SERVERS": f"127.0.0.1:{kafka.ports['SASL_PLAINTEXT']}",
        "FOREBAY_KAFKA__SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "FOREBAY_KAFKA__SASL_MECHANISM": "SCRAM-SHA-256",
        "FOREBAY_KAFKA__SASL_USERNAME": user,
        "FOREBAY_KAFKA__SASL_PASSWORD": PASSWORD,
        "FOREBAY_KAFKA__GROUP_ID": GROUP,
        "FOREBAY_TOPICS__PREFIX": prefix,
        "FOREBAY_TOPICS__PARTITIONS": "1",
        "FOREBAY_AGGREGATE__ALERTS": json.dumps(RULE),
        "FOREBAY_ROLLOUTS__ENABLED": "true",
        "FOREBAY_EVALUATE__ENABLED": "true",
    }


def settings_of(environ: Mapping[str, str]) -> Settings:
    return load_settings(None, environ).settings


def allow(kafka: SecureKafka, user: str, *acls: Acl) -> None:
    kafka.add_user(user)
    rules = [
        (
            KINDS[acl.resource],
            acl.name,
            AclOperation[acl.operation],
            ResourcePatternType.PREFIXED if acl.prefixed else ResourcePatternType.LITERAL,
        )
        for acl in acls
    ]
    if rules:
        kafka.allow(user, *rules)


async def make_topics(kafka: SecureKafka, prefix: str) -> None:
    by_nobody = settings_of(environment(kafka, "nobody", prefix))
    settings = by_nobody.model_copy(update={"kafka": kafka.section("PLAINTEXT")})
    await create_topics(settings)
    await create_aggregator_topics(settings, dry_run=False)
    await create_evaluator_topics(settings, dry_run=False)


def start_worker(kafka: SecureKafka, folder: Path, user: str, prefix: str) -> WorkerProcess:
    names = settings_of(environment(kafka, user, prefix)).kafka
    section = names.model_dump(exclude_none=True, mode="json") | {"sasl_password": PASSWORD}
    settings = {"kafka": section, "topics": {"prefix": prefix, "partitions": 1}, "log": {"format": "text"}}
    return WorkerProcess(
        folder, len(list(folder.iterdir())), {"models": [{"mode": "echo"}], "settings": settings, "failpoints": {}}
    )


def forebay(environ: Mapping[str, str], *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "forebay", *arguments],
        env={**os.environ, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


async def test_each_role_with_its_own_and_no_more(secure: SecureKafka, tmp_path: Path) -> None:
    prefix = "roles."
    await make_topics(secure, prefix)
    settings = settings_of(environment(secure, "nobody", prefix))
    for role in Role:
        allow(secure, f"{role.value}-user", *required_acls(role, settings))
    values = [orjson.dumps({"id": str(n), "timestamp": 1_790_000_000_000, "features": [n, 1, 2, 3]}) for n in range(20)]
    async with producer(secure.bootstrap) as client:
        await send_batch(client, TopicPartition(f"{prefix}features", 0), [*values, b"garbage"])

    worker = start_worker(secure, tmp_path, "worker-user", prefix)
    aggregator = forebay(environment(secure, "aggregator-user", prefix), "aggregate")
    evaluator = forebay(environment(secure, "evaluator-user", prefix) | {"FOREBAY_ADMIN__PORT": "0"}, "evaluate")
    try:
        async with consumer(secure.bootstrap, f"{prefix}predictions") as reader:
            assert len(await read(reader, 20, timeout_s=PATIENCE_S)) == 20
        async with consumer(secure.bootstrap, f"{prefix}dead-letters") as reader:
            assert len(await read(reader, 1, timeout_s=PATIENCE_S)) == 1
            replayed = forebay(environment(secure, "dlq-replay-user", prefix), "dlq", "replay", "--yes", "--json")
            said, _ = await asyncio.to_thread(replayed.communicate, timeout=PATIENCE_S)
            assert json.loads(said)["replayed"] == 1
            assert len(await read(reader, 1, timeout_s=PATIENCE_S)) == 1  # which is still garbage
        async with consumer(secure.bootstrap, f"{prefix}alerts") as reader:
            try:
                alerts = await read(reader, 1, timeout_s=PATIENCE_S)
            except TimeoutError as error:
                aggregator.kill()
                error.add_note(f"the aggregator said:\n{(aggregator.communicate()[0])}")
                raise
            assert json.loads(alerts[0].value)["status"] == "firing"
        assert await worker.stop() == 0, worker.log
        aggregator.terminate()
        counted, _ = await asyncio.to_thread(aggregator.communicate, timeout=PATIENCE_S)
        assert aggregator.returncode == 0, counted
        async with consumer(secure.bootstrap, f"{prefix}quality") as reader:
            assert await read(reader, 1, timeout_s=PATIENCE_S)
        evaluator.terminate()
        evaluated, _ = await asyncio.to_thread(evaluator.communicate, timeout=PATIENCE_S)
        assert evaluator.returncode == 0 and "20 predictions counted" in evaluated, evaluated
    finally:
        worker.kill()
        aggregator.kill()
        evaluator.kill()
    assert "22 events committed = 20 predicted + 2 rejected" in worker.log
    for log in (worker.log, counted, evaluated):
        assert "Traceback" not in log and "ERROR" not in log and "not allowed" not in log, log


ALL = [
    (role, acl)
    for role in Role
    for acl in required_acls(
        role, Settings.model_validate_json(json.dumps({"aggregate": {"alerts": RULE}, "rollouts": {"enabled": True}}))
    )
]


@pytest.mark.parametrize(("role", "acl"), ALL, ids=[f"{role.value}: {acl}" for role, acl in ALL])
async def test_what_is_missing_is_named(
    secure: SecureKafka, role: Role, acl: Acl, caplog: pytest.LogCaptureFixture
) -> None:
    await made_once(secure)
    user = f"without-{ALL.index((role, acl))}"
    settings = settings_of(environment(secure, user, ""))
    wanted = required_acls(role, settings)
    group = acl.name if acl.resource == "topic" else acl.name.replace("forebay", GROUP)
    lacking = [own for own in wanted if (own.operation, own.resource, own.name) != (acl.operation, acl.resource, group)]
    if acl.resource == "transactional-id":
        return  # without access to the cluster: see the next test
    assert len(lacking) == len(wanted) - 1
    allow(secure, user, *lacking)
    missing = f"{acl.operation} on the {acl.resource} {group}"
    if acl.operation == "DESCRIBE_CONFIGS":
        await require(role, settings)
        assert [record.getMessage().split(";")[0] for record in caplog.records] == [f"not allowed: {missing}"]
        return
    with pytest.raises(BrokerError) as caught:
        await require(role, settings)
    assert caught.value.message == f"not allowed: {missing}"
    assert f"forebay acls {role.value}" in (caught.value.remedy or "")


async def made_once(kafka: SecureKafka) -> None:
    await make_topics(kafka, "")


async def test_no_role_starts_without(secure: SecureKafka, tmp_path: Path) -> None:
    """Every command exits with status 1 and one line that names the missing permission."""
    await made_once(secure)
    cases: list[tuple[str, subprocess.Popen[str]]] = []
    workers: list[tuple[str, WorkerProcess]] = []
    for number, (role, at, report) in enumerate(
        [
            (Role.WORKER, ("group", "READ"), "not allowed: READ on the group acl"),
            (Role.WORKER, ("transactional-id", "WRITE"), "not allowed: WRITE on the transactional-id forebay-acl-"),
            (Role.AGGREGATOR, ("alerts", "WRITE"), "not allowed: WRITE on the topic alerts"),
            (Role.EVALUATOR, ("quality", "WRITE"), "not allowed: WRITE on the topic quality"),
            (Role.REPLAY, ("features", "WRITE"), "not allowed: WRITE on the topic features"),
        ]
    ):
        user = f"refused-{number}"
        environ = environment(secure, user, "")
        own = required_acls(role, settings_of(environ))
        lacking = [acl for acl in own if acl.operation != at[1] or at[0] not in (acl.resource, acl.name)]
        assert len(lacking) == len(own) - 1
        allow(secure, user, *lacking)
        match role:
            case Role.WORKER:
                workers.append((report, start_worker(secure, tmp_path, user, "")))
            case Role.AGGREGATOR:
                cases.append((report, forebay(environ, "aggregate")))
            case Role.EVALUATOR:
                cases.append((report, forebay(environ, "evaluate")))
            case Role.REPLAY:
                cases.append((report, forebay(environ, "dlq", "replay", "--yes")))
    for report, worker in workers:
        assert await worker.ended(PATIENCE_S) == 1
        assert report in worker.log and "Traceback" not in worker.log, worker.log
    for report, process in cases:
        said, _ = await asyncio.to_thread(process.communicate, timeout=PATIENCE_S)
        assert process.returncode == 1
        assert report in said and "Traceback" not in said, said
