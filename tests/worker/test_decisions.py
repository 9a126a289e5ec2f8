"""A real worker that decides by thresholds, abstains and routes: each event is in one topic, over two workers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from forebay.models.artefacts.preprocessing import Preprocessing
from forebay.models.artefacts.reference_statistics import NumberReference, ReferenceStatistics
from forebay.models.artefacts.signature import Feature, Signature
from tests.brokers.clients import create_topic
from tests.brokers.resolve import Broker
from tests.models.build import make_net, publish
from tests.worker.harness import WorkerGroup, total

SIGNATURE = Signature(
    (Feature("amount"), Feature("country", "category", ("CH", "DE"))), (2,), "binary", 1, labels=("good", "fraud")
)
NUM_EVENTS = 1_200
DECISION: dict[str, Any] = {
    "threshold": 0.5,
    "segments": [{"feature": "country", "value": "CH", "threshold": 0.45}],
    "review_from": 0.48,
    "review_to": 0.52,
    "min_confidence": 0.55,
    "routes": [
        {"topic": "fraud-high", "label": "fraud", "min_confidence": 0.6},
        {"topic": "fraud-low", "label": "fraud"},
    ],
}


@pytest.fixture
def broker(embedded_broker: Broker) -> Broker:
    """The embedded broker suffices: outputs of all topics are in one transaction."""
    return embedded_broker


def topic_of(document: dict[str, Any]) -> tuple[str, str | None, int]:
    """Return the topic, the reason of an abstention and the class that a prediction must have, by its score and slices."""
    score = np.float32(document["prediction"][0])
    is_fraud = score >= np.float32(0.45 if document["slices"]["country"] == "CH" else 0.5)
    confidence = score if is_fraud else np.float32(1) - score
    if np.float32(0.48) <= score <= np.float32(0.52):
        return "review", "score_in_band", int(is_fraud)
    if confidence < np.float32(0.55):
        return "review", "low_confidence", int(is_fraud)
    if is_fraud:
        return "fraud-high" if confidence >= np.float32(0.6) else "fraud-low", None, 1
    return "predictions", None, 0


async def test_every_event_is_in_the_topic_that_its_score_and_segment_demand(
    worker_group: WorkerGroup, tmp_path: Path
) -> None:
    amounts = ReferenceStatistics(
        4, (NumberReference("amount", 0, 0.0, 1.0, edges=(-1.0, 0.0, 1.0), counts=(1, 1, 1, 1)),)
    )
    net = make_net(2, 1, seed=1)
    publish(
        tmp_path / "models",
        "fraud",
        net=net,
        signature=SIGNATURE,
        preprocessing=Preprocessing.identity(),
        reference_statistics=amounts.to_dict(),
    )
    await worker_group.create()
    for name in ("review", "fraud-high", "fraud-low"):
        await create_topic(worker_group.bootstrap, worker_group.topic(name), worker_group.partitions)
    random = np.random.default_rng(0)
    values: list[list[bytes]] = [[] for _ in range(worker_group.partitions)]
    for number in range(NUM_EVENTS):
        event = {
            "id": str(number),
            "timestamp": 1_372_636_800_000,
            "features": {"amount": float(random.normal(0, 3)), "country": ("CH", "DE", "FR")[number % 3]},
        }
        values[number % worker_group.partitions].append(orjson.dumps(event))
    settings: dict[str, Any] = {
        "model": {"repository": str(tmp_path / "models"), "name": "fraud"},
        "decision": DECISION,
        "evaluate": {"enabled": True, "slices": ["country", "amount"]},
    }
    worker = worker_group.start(mode="stored", **settings)
    await worker.ready()
    await worker_group.send([part[: len(part) // 2] for part in values])
    assert await worker.stop() == 0, worker.log
    second = worker_group.start(mode="stored", **settings)
    await worker_group.send([part[len(part) // 2 :] for part in values])
    await worker_group.settled_by(second)

    counts: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    for name in ("predictions", "review", "fraud-high", "fraud-low"):
        for record in await worker_group.outputs(name):
            document = orjson.loads(record.value)
            assert (name, document.get("reason"), document["class"]) == topic_of(document), document
            assert (document.get("decision") == "abstain") == (name == "review")
            assert document["slices"]["amount"] in ("q1", "q2", "q3", "q4")
            assert record.partition == document["source"]["partition"]
            counts[name] += 1
            seen[document["id"]] += 1
    letters = await worker_group.outputs("dead-letters")  # the events from a country that the model does not know
    assert len(letters) == NUM_EVENTS // 3
    assert min(counts.values()) > 0 and len(counts) == 4, counts
    assert sum(counts.values()) + len(letters) == NUM_EVENTS
    assert set(seen.values()) == {1}
    deltas = await worker_group.outputs("outcome-deltas")
    assert total(deltas, outcome="predicted") == sum(counts.values())
    assert total(deltas, kind="abstained") == counts["review"]
