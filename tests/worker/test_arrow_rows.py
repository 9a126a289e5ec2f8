"""Dead letters of single rows, in a real worker. `tests/exactness/test_arrow_rows.py` kills workers within records."""

from __future__ import annotations

import orjson
import pytest

from forebay.schemas import headers as names
from tests.brokers.resolve import Broker
from tests.exactness.arrow_rows import arrow_value, rows_in
from tests.worker.echo import POISON
from tests.worker.harness import WorkerGroup


@pytest.fixture
def broker(embedded_broker: Broker) -> Broker:
    """The embedded broker suffices: formats are decoded behind the consumer."""
    return embedded_broker


async def test_a_replayed_dead_letter_is_its_row(worker_group: WorkerGroup) -> None:
    await worker_group.create(partitions=1)
    value = arrow_value(["a", "b", "c"], [[1, 2, 3, 4], [POISON, 2, 3, 4], [5, 6, 7, 8]])
    headers = [("content-type", b"application/vnd.apache.arrow.stream"), ("tenant", b"x")]
    worker = worker_group.start(mode="raise")
    await worker.ready()
    await worker_group.send([[value]], [[b"k"]], headers=[[headers]])
    await worker_group.settled()
    (first,) = await worker_group.outputs("dead-letters")
    own = [(name, content) for name, content in first.headers if not name.startswith(names.ERROR_PREFIX)]
    assert own == headers
    await worker_group.send([[first.value]], [[first.key]], headers=[[own]])
    await worker_group.settled_by(worker)
    _, second = letters = await worker_group.outputs("dead-letters")
    places = [(dict(letter.headers)[names.ERROR_OFFSET], dict(letter.headers)[names.ERROR_ROW]) for letter in letters]
    assert places == [(b"0", b"1"), (b"1", b"0")] and second.key == b"k"
    assert rows_in(first.value) == rows_in(second.value) == (["b"], [[POISON, 2, 3, 4]])
    documents = [orjson.loads(record.value) for record in await worker_group.outputs("predictions")]
    assert [(d["id"], d["source"]["offset"], d["source"]["row"]) for d in documents] == [("a", 0, 0), ("c", 0, 2)]
