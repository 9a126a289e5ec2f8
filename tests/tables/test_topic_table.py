"""A topic as a table, on the embedded broker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import orjson
import pyarrow as pa
import pytest

from forebay.models.data.table_options import TableOptions
from forebay.schemas.errors import BrokerError, ConfigError, DataError
from forebay.stream.core.clock import SystemClock
from forebay.stream.tables.opening import open_location
from forebay.stream.tables.topic_table import TopicTable
from tests.brokers.clients import create_topic, producer, send_batch
from tests.brokers.resolve import Broker
from tests.conftest import Names

# Brokers remove records that are older than the topic's retention.
NOW_MS = SystemClock().wall_ms()
HOUR_MS = 3_600_000

Open = Callable[..., TopicTable]


def event(number: int, **more: object) -> bytes:
    features = {"x": number / 4, "carrier": "UA" if number % 2 else None}
    return orjson.dumps({"id": f"e{number}", "timestamp": number, "features": features, "label": number % 3, **more})


@pytest.fixture
def open_topic(embedded_broker: Broker, names: Names) -> Open:
    """Fill a topic of two partitions, and return what opens it."""

    async def fill() -> None:
        first, second = await create_topic(embedded_broker.bootstrap, names("features"), 2)
        async with producer(embedded_broker.bootstrap, transactional_id=names("writer")) as writer:
            for partition, numbers in ((first, range(5)), (second, range(5, 8))):
                await writer.begin_transaction()
                times = [NOW_MS - (10 - number) * HOUR_MS for number in numbers]
                await send_batch(writer, partition, [event(number) for number in numbers], timestamps=times)
                await writer.commit_transaction()
            await writer.begin_transaction()
            await send_batch(writer, first, [event(99)], timestamps=[NOW_MS])
            await writer.abort_transaction()

    asyncio.run(fill())

    def open_part(query: str = "", table: TableOptions | None = None, topic: str = "features") -> TopicTable:
        source = open_location(
            f"topic://{names(topic)}{query}",
            table,
            client_options=lambda: {"bootstrap_servers": embedded_broker.bootstrap},
            clock=SystemClock(),
        )
        assert isinstance(source, TopicTable)
        return source

    return open_part


def read(source: TopicTable, rows: int = 65_536) -> pa.Table:
    return pa.Table.from_batches(source.batches(rows))


def test_the_committed_events_are_read_in_the_same_order_each_time(open_topic: Open) -> None:
    source = open_topic()
    table = read(source)
    assert table.schema == pa.schema(
        [
            ("id", pa.string()),
            ("timestamp", pa.int64()),
            ("key", pa.null()),
            ("label", pa.int64()),
            ("x", pa.float64()),
            ("carrier", pa.string()),
        ]
    )
    assert table["id"].to_pylist() == [f"e{number}" for number in range(8)]
    assert table["label"].to_pylist() == [number % 3 for number in range(8)]
    assert source.fraction() == 1
    assert [batch.num_rows for batch in source.batches(3)] == [3, 3, 2]


def test_a_part_of_a_topic_is_read(open_topic: Open) -> None:
    def numbers(query: str) -> list[int]:
        return read(open_topic(query))["timestamp"].to_pylist()

    assert numbers(f"?from={NOW_MS - 7 * HOUR_MS}") == [3, 4, 5, 6, 7]
    assert numbers(f"?from={NOW_MS - 7 * HOUR_MS}&to={NOW_MS - 4 * HOUR_MS}") == [3, 4, 5]
    assert numbers("?from=offset:1&to=offset:2") == [1, 6]
    assert numbers("?partitions=1") == [5, 6, 7]
    with pytest.raises(DataError, match="has no partition 7"):
        numbers("?partitions=7")
    with pytest.raises(DataError, match="no events in this part"):
        numbers("?from=now")


def test_columns_are_chosen_and_typed(open_topic: Open) -> None:
    table = read(open_topic(table=TableOptions(columns=("label", "x"), types={"label": "float64"})))
    assert table.schema == pa.schema([("label", pa.float64()), ("x", pa.float64())])
    with pytest.raises(ConfigError, match="there is no column 'labl'"):
        read(open_topic(table=TableOptions(columns=("labl",))))


async def test_a_bad_record_is_an_error_with_its_place_or_is_skipped(
    open_topic: Open, embedded_broker: Broker, names: Names
) -> None:
    async with producer(embedded_broker.bootstrap) as writer:
        await writer.send_and_wait(names("features"), b"{", partition=1)
        await writer.send_and_wait(names("features"), event(8, label="late"), partition=1)

    # Within a running event loop, too.
    with pytest.raises(DataError, match=rf"{names('features')}-1@\d: not JSON"):
        read(open_topic())
    source = open_topic(table=TableOptions(skip_invalid=True))
    assert read(source).num_rows == 8
    assert source.skipped.by_file == {names("features"): 2}
    assert "column label is 'late', but the column holds whole numbers" in source.skipped.first[1].reason


def test_a_topic_that_does_not_exist_is_reported(open_topic: Open) -> None:
    with pytest.raises(BrokerError, match="there is no topic"):
        read(open_topic(topic="featurs"))


def test_a_reader_that_stops_early_closes_the_client(open_topic: Open) -> None:
    batches = open_topic().batches(1)
    assert next(batches).num_rows == 1
    batches.close()  # type: ignore[attr-defined]
