"""Workers whose events have schemas of a registry, which is unreachable for a while, over the embedded broker."""

from __future__ import annotations

import json
from typing import Any

import pytest

from forebay.stream.schema_registry.framing import frame
from tests.brokers.resolve import Broker
from tests.eventually import eventually
from tests.registry.stub import stub_registry
from tests.worker.harness import WorkerGroup, WorkerProcess, kinds, total

SCHEMA = {"type": "object", "properties": {"features": {"type": "array"}}, "required": ["id", "features"]}


@pytest.fixture
def broker(embedded_broker: Broker) -> Broker:
    return embedded_broker


def registry(url: str, **more: Any) -> dict[str, Any]:
    return {"urls": [url], "retry_backoff_ms": 50, "retry_backoff_max_ms": 200, **more}


async def waits(worker: WorkerProcess) -> list[str]:
    return list((await worker.status())["health"].get("waiting_for_schemas", ()))


async def test_new_schemas_wait_while_the_registry_is_down_and_known_ones_do_not(worker_group: WorkerGroup) -> None:
    await worker_group.create()
    async with stub_registry() as stub:
        first = stub.add("features-value", json.dumps(SCHEMA), "JSON").id
        await worker_group.publish(200, prefix=frame(first, b""))
        worker = worker_group.start(schema_registry=registry(stub.url))
        await worker_group.settled()

        stub.failures[""] = 503
        await worker_group.publish(200, prefix=frame(first, b""))
        await worker_group.settled()  # the schema is known
        second = first + 1
        await worker_group.publish(20, prefix=frame(second, b""))
        await worker_group.publish(20, prefix=frame(first, b""))  # behind the ones that wait
        problem = f"for schema id {second}: the schema registry does not answer"
        await eventually(
            lambda: waits(worker),
            "waiting partitions",
            until=lambda found: len(found) == 4 and all(problem in wait for wait in found),
        )
        health = (await worker.status())["health"]
        assert health["live"] and health["ready"], health
        ends = await worker_group.ends()
        assert all(offset == ends[place] - 10 for place, offset in (await worker_group.committed()).items())

        # Another worker takes partitions over while they wait, then all of them.
        other = worker_group.start(schema_registry=registry(stub.url))
        await other.ready()
        await eventually(lambda: waits(other), "waiting partitions", until=lambda found: len(found) == 2)
        assert await worker.stop() == 0, worker.log
        await eventually(lambda: waits(other), "waiting partitions", until=lambda found: len(found) == 4)

        stub.failures.clear()
        assert stub.add("features-value", json.dumps(SCHEMA | {"title": "v2"}), "JSON").id == second
        await worker_group.settled_by(other)
    predictions = await worker_group.outputs("predictions")
    worker_group.check_predictions(predictions, exactly_once=True)
    deltas = await worker_group.outputs("outcome-deltas")
    assert total(deltas) == total(deltas, outcome="predicted") == len(predictions) == 440


async def test_unknown_schemas_and_rules_become_dead_letters_if_so_configured(worker_group: WorkerGroup) -> None:
    await worker_group.create()
    async with stub_registry() as stub:
        rules = {"domainRules": [{"name": "encryptPII", "kind": "TRANSFORM", "type": "ENCRYPT"}]}
        ruled = stub.add("ruled-value", json.dumps(SCHEMA), "JSON", ruleSet=rules).id
        known = stub.add("features-value", json.dumps(SCHEMA), "JSON").id
        event = json.dumps({"id": "a", "timestamp": 1, "features": [1, 2, 3, 4]}).encode()
        values = [frame(known, event), frame(99, event), frame(ruled, event), frame(known, b'{"id": 1}'), event]
        await worker_group.send([values, [], [], []])
        worker = worker_group.start(schema_registry=registry(stub.url, on_unknown_id="reject"))
        await worker_group.settled_by(worker)
    letters = await worker_group.outputs("dead-letters")
    assert kinds(letters) == {"unknown_schema": 1, "unsupported_schema": 1, "invalid_payload": 1}
    assert [letter.value for letter in letters] == values[1:4], "with their framing"
    assert len(await worker_group.outputs("predictions")) == 2
