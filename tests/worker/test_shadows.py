"""Shadows in real workers on the embedded broker: they see what the stream predicts, and change nothing of it."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from forebay.models.artefacts.artefact import read_version
from forebay.models.backends.protocol import Model, Scores
from forebay.schemas.topics import OUTCOME_DELTAS
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import FloatMatrix
from forebay.stream.rollouts.changes import Proposal, abort, promote, start_shadow
from forebay.stream.rollouts.revision import Revision
from forebay.stream.rollouts.shadow_prediction import ShadowPair, decode_pair
from tests.brokers.clients import read_committed
from tests.brokers.resolve import Broker
from tests.conftest import Names
from tests.eventually import eventually
from tests.worker.rollout_workers import NAME, PARTITIONS, RolloutGroup, RunningWorker, rollout_group


@pytest.fixture
async def group(embedded_broker: Broker, names: Names, tmp_path: Path) -> AsyncIterator[RolloutGroup]:
    # Nothing is dropped because the machine is busy.
    limits = {"shadow_max_share": 1.0, "shadow_queue_batches": 1000, "shadow_deadline_ms": 60_000}
    rollouts = {"enabled": True, **limits}
    async with rollout_group(embedded_broker.bootstrap, names.prefix, tmp_path, rollouts=rollouts) as group:
        yield group


def shadow(current: Revision, proposal: Proposal) -> Revision:
    return start_shadow(current, 2, sample=1.0, proposal=proposal)


def status(worker: RunningWorker) -> dict[str, Any]:
    (found,) = worker.status["rollouts"][0]["shadows"]
    assert isinstance(found, dict)
    return found


async def state(worker: RunningWorker, *states: str) -> None:
    """Wait until the shadow is in one of these states."""
    await eventually(lambda: status(worker)["state"], f"a shadow that is {states}", until=lambda seen: seen in states)


async def settled(worker: RunningWorker) -> dict[str, Any]:
    """Wait until no event waits for the shadow, and return its status."""
    return await eventually(lambda: status(worker), "a shadow without events", until=lambda seen: seen["waiting"] == 0)


async def pairs(group: RolloutGroup) -> list[ShadowPair]:
    records = await read_committed(group.bootstrap, f"{group.prefix}-shadow-predictions", PARTITIONS)
    return [decode_pair(record.value) for record in records]


async def predictions(group: RolloutGroup) -> dict[str, Any]:
    """Return the predictions by id, without the name of the topic, which differs between groups."""
    records = await read_committed(group.bootstrap, f"{group.prefix}-predictions", PARTITIONS)
    documents = {}
    for record in records:
        document = orjson.loads(record.value)
        del document["source"]["topic"]
        documents[document["id"]] = (document, record.key, record.partition)
    return documents


async def outcomes(group: RolloutGroup) -> int:
    """Return the number of outcomes in the deltas, all predicted."""
    deltas = [
        orjson.loads(record.value)
        for record in await read_committed(
            group.bootstrap, f"{group.prefix}-outcome-deltas", OUTCOME_DELTAS.partitions or PARTITIONS
        )
    ]
    assert {delta["outcome"] for delta in deltas} == {"predicted"}
    return sum(delta["count"] for delta in deltas)


async def send_varied(group: RolloutGroup, count: int) -> None:
    for number in range(0, count, 20):
        await group.send(20, features=(number / 100, 1.0 - number / 50, 0.5))
    await group.settled()


async def test_predictions_are_the_same_with_a_shadow_and_pairs_hold_both(
    group: RolloutGroup, embedded_broker: Broker, tmp_path: Path
) -> None:
    async with rollout_group(embedded_broker.bootstrap, f"{group.prefix}-without", tmp_path / "without") as without:
        worker = await without.start("w1")
        await worker.ready()
        await send_varied(without, 200)
        expected = await predictions(without)
        assert await outcomes(without) == 200

    group.publish_version(2)
    worker = await group.start("w1")
    await worker.ready()
    await group.propose(shadow, 2)
    await worker.applied(1)
    await state(worker, "running")
    await send_varied(group, 200)
    assert await predictions(group) == expected
    assert await outcomes(group) == 200

    seen = await settled(worker)
    # A busy machine makes the shadow drop events, which takes nothing from the others.
    rows = seen["rows"]
    assert rows > 0
    assert (seen["sampled"], rows + sum(seen["dropped"].values())) == (200, 200)
    found = await eventually(lambda: pairs(group), "all pairs", until=lambda pairs: len(pairs) >= rows)
    assert len(found) == rows
    for pair in found:
        document, _, partition = expected[pair.id]
        assert (pair.primary.version, pair.shadow.version, pair.revision) == (1, 2, 1)
        assert pair.primary.prediction == document["prediction"]
        assert (pair.source.partition, pair.source.offset) == (partition, document["source"]["offset"])
        assert pair.shadow.prediction is not None and pair.shadow.prediction != pair.primary.prediction
    agreed = sum(pair.primary.class_index == pair.shadow.class_index for pair in found)
    assert seen["comparisons"]["1"]["agreement"]["agreed"] == agreed


async def test_a_shadow_ends_when_it_is_aborted_or_promoted(group: RolloutGroup) -> None:
    group.publish_version(2)
    worker = await group.start("w1")
    await worker.ready()
    await group.propose(shadow, 2)
    await worker.applied(1)
    await state(worker, "running")
    await group.propose(lambda current, proposal: promote(current, 2, proposal))
    await worker.applied(2)
    assert set((await group.predicted(20)).values()) == {2}
    assert worker.status["rollouts"][0]["shadows"] == []
    assert await pairs(group) == []


async def test_a_shadow_that_cannot_be_loaded_rolls_nothing_back(group: RolloutGroup) -> None:
    group.publish_version(2)
    worker = await group.start("w1")
    await worker.ready()
    group.flip_byte(2)
    await group.propose(shadow, 2)
    await worker.applied(1)
    await state(worker, "failed")
    assert set((await group.predicted(20)).values()) == {1}
    await group.store.refresh()
    assert group.current.number == 1 and worker.rollout.applied == 1
    await group.propose(lambda current, proposal: abort(current, proposal))
    await worker.applied(2)


class FaultyModel:
    """A version that warms up, and then does what a test says."""

    name, version = NAME, 2

    def __init__(self, model: Model, on_call: Callable[[FloatMatrix], Scores]) -> None:
        self.signature = model.signature
        self._on_call = on_call

    def warm_up(self, batch_sizes: object) -> None:
        pass

    def prepare(self, x_BF: FloatMatrix) -> FloatMatrix:
        return x_BF

    def forward(self, x_BG: FloatMatrix) -> Scores:
        return self._on_call(x_BG)


@pytest.mark.parametrize("fault", ["raises", "hangs", "nan"])
async def test_a_shadow_that_fails_changes_nothing(group: RolloutGroup, fault: str) -> None:
    group.publish_version(2)
    leave = threading.Event()
    worker = await group.start("w1")
    await worker.ready()

    def on_call(x_BG: FloatMatrix) -> Scores:
        if fault == "raises":
            raise RuntimeError("no")
        if fault == "hangs":
            leave.wait(60)
        return Scores(np.full((len(x_BG), width), np.nan, np.float32))

    shadows = worker._worker._parts.shadows
    assert shadows is not None
    versions = shadows.lanes._loader
    width = read_version(group.repository, NAME, 1).manifest.signature.output_dim

    class Loader:
        async def load(self, ref: ModelRef, digest: str | None) -> Model:
            return FaultyModel(await versions.load(ref, digest), on_call)

    shadows.lanes._loader = Loader()
    await group.propose(shadow, 2)
    await worker.applied(1)
    await state(worker, "running")
    try:
        for _ in range(6):
            assert set((await group.predicted(4)).values()) == {1}
        if fault != "hangs":
            await state(worker, "disabled")
            assert f"{'model_error' if fault == 'raises' else 'output_not_finite'}: " in status(worker)["error"]
            found = await settled(worker)
            assert found["comparisons"]["1"]["failures"]["shadow_only"] == found["rows"] > 0
        else:
            assert status(worker)["waiting"] > 0
            assert status(worker)["rows"] == 0
        assert await outcomes(group) == 24
        assert worker.rollout.applied == 1
    finally:
        leave.set()
