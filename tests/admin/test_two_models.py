"""A real worker with two models, each with a topic of its own: what is seen of each, also while one of them is broken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from tests.admin.test_two_workers import group_status
from tests.brokers.clients import create_topic, producer
from tests.brokers.resolve import Broker
from tests.core.build import JULY
from tests.eventually import eventually
from tests.worker.harness import WorkerGroup

TOKEN = "of-the-tests"
JSON = {"Content-Type": "application/json"}
FIRST: dict[str, Any] = {"name": "first", "topics": ["features"]}
SECOND: dict[str, Any] = {"name": "second", "topics": ["clicks"]}


@pytest.fixture
def broker(embedded_broker: Broker) -> Broker:
    """The embedded broker suffices: what is seen of a model does not depend on the broker."""
    return embedded_broker


def values(count: int, **fields: object) -> list[bytes]:
    event = {"timestamp": JULY, "features": [1.0, 2.0, 3.0, 4.0], **fields}
    return [orjson.dumps({"id": str(number), **event}) for number in range(count)]


class Client:
    """A client of the worker's topics and of its admin API."""

    def __init__(self, group: WorkerGroup, session: aiohttp.ClientSession, url: str) -> None:
        self._group, self._session, self._url = group, session, url

    async def publish(self, topic: str, events: list[bytes]) -> None:
        async with producer(self._group.bootstrap) as client:
            for value in events:
                await client.send_and_wait(self._group.topic(topic), value, partition=0)

    async def models(self) -> dict[str, Any]:
        async with self._session.get(f"{self._url}/status") as response:
            return {model["name"]: model for model in (await response.json())["models"]}

    async def metrics(self) -> list[str]:
        async with self._session.get(f"{self._url}/metrics") as response:
            return (await response.text()).splitlines()

    async def predict(self, query: str = "", **fields: object) -> tuple[int, Any]:
        (body,) = values(1, **fields)
        async with self._session.post(f"{self._url}/predict{query}", data=body, headers=JSON) as response:
            return response.status, await response.json()

    async def predicted(self, **counts: int) -> None:
        """Wait until these numbers of events are predicted, by model."""

        async def seen() -> dict[str, int]:
            return {
                name: model["totals"]["outcomes"].get("predicted", 0) for name, model in (await self.models()).items()
            }

        await eventually(seen, f"{counts} predicted", until=lambda found: found == counts)

    async def blocked(self, reason: str | None) -> None:
        """Wait until the second model is blocked for this reason."""
        await eventually(
            self.models, f"the second model blocked by {reason}", until=lambda seen: seen["second"]["blocked"] == reason
        )


async def test_each_model_is_seen_by_itself_also_while_one_is_broken(worker_group: WorkerGroup, tmp_path: Path) -> None:
    flag = tmp_path / "broken"
    await worker_group.create(partitions=1)
    await create_topic(worker_group.bootstrap, worker_group.topic("clicks"), 1)
    worker = worker_group.start(
        models=[FIRST, SECOND | {"mode": "broken", "flag": str(flag)}],
        admin={"port": 0, "token": TOKEN},
        breaker={"failure_threshold": 1, "reset_timeout_ms": 1000},
    )
    await worker.ready()
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        client = Client(worker_group, session, worker.url)
        await client.publish("features", [*values(20), *values(3, model="second"), *values(1, model="third")])
        await client.publish("clicks", values(5))
        await client.predicted(first=20, second=8)
        await _check_what_is_seen(client, worker_group)

        flag.touch()
        await client.publish("clicks", values(5))
        await client.blocked("breaker_open")
        lines = await client.metrics()
        assert 'forebay_lane_blocked{model="first",reason="breaker_open",version="1"} 0.0' in lines
        assert (await client.predict("?model=second"))[0] == 503
        assert (await client.predict())[0] == 200
        await client.publish("features", values(10))
        await client.predicted(first=30, second=8)

        flag.unlink()
        await client.predicted(first=30, second=13)
        await client.blocked(None)
    assert await worker.stop() == 0, worker.log


async def _check_what_is_seen(client: Client, worker_group: WorkerGroup) -> None:
    """Check status, metrics, predictions on request and `forebay status`, while both models work."""
    models = await client.models()
    assert {name: [*model["topics"], model["blocked"]] for name, model in models.items()} == {
        "first": [worker_group.topic("features"), None],
        "second": [worker_group.topic("clicks"), None],
    }
    assert models["first"]["totals"] == {
        "outcomes": {"predicted": 20, "rejected": 1},
        "kinds": {"unknown_model": 1},
    }
    assert models["second"]["totals"] == {"outcomes": {"predicted": 8}, "kinds": {}}
    lines = await client.metrics()
    for line in (
        'forebay_events_total{model="first",outcome="predicted",version="1"} 20.0',
        'forebay_events_total{model="second",outcome="predicted",version="1"} 8.0',
        'forebay_errors_total{kind="unknown_model",model="first",stage="decode",version="1"} 1.0',
        'forebay_event_latency_seconds_count{model="second",version="1"} 8.0',
        'forebay_breaker_state{breaker="model:second"} 0.0',
        'forebay_lane_blocked{model="second",reason="breaker_open",version="1"} 0.0',
    ):
        assert line in lines
    assert (await client.predict())[1]["model"] == "first"
    for query, fields in (("?model=second", {}), ("", {"model": "second"}), ("?model=first", {"model": "second"})):
        assert (await client.predict(query, **fields))[1]["model"] == "second"
    status, document = await client.predict("?model=third")
    assert (status, document["error"]["kind"]) == (404, "unknown_model")
    assert "'first' and 'second' are" in document["error"]["message"]
    exit_status, group = await group_status(worker_group)
    assert exit_status == 0
    assert [row["models"] for row in group["workers"]] == [
        [{"name": name, "version": 1, "blocked": None} for name in ("first", "second")]
    ]
