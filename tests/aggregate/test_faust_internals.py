"""The parts of Faust that the aggregator uses beyond the documented interface (decision 14). A test fails if one changes."""

from __future__ import annotations

import inspect
from importlib.metadata import version

import faust
import pytest
from faust.app import App
from faust.app import base as app_base
from faust.streams import Stream
from faust.tables.base import Collection
from faust.tables.recovery import Recovery
from faust.transport.consumer import Consumer as BaseConsumer
from faust.transport.drivers import aiokafka as driver
from faust.types.tuples import ConsumerMessage
from mode.threads import ServiceThread

from forebay.stream.aggregate import faust_logging
from forebay.stream.aggregate.table import StateTable
from forebay.stream.aggregate.transport import Consumer, ConsumerThread, Producer, Transport


def parameters(function: object) -> list[str]:
    return list(inspect.signature(function).parameters)  # type: ignore[arg-type]


def test_the_installed_versions_are_the_reviewed_ones() -> None:
    assert version("faust-streaming").startswith("0.15.")
    assert version("aiokafka").startswith("0.14.")


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (driver.AIOKafkaConsumerThread.__post_init__, ["self"]),
        (driver.AIOKafkaConsumerThread._create_worker_consumer, ["self", "transport"]),
        (driver.AIOKafkaConsumerThread._ensure_consumer, ["self"]),
        (
            driver.AIOKafkaConsumerThread._fetch_records,
            ["self", "consumer", "active_partitions", "timeout", "max_records"],
        ),
        (driver.AIOKafkaConsumerThread.on_partitions_revoked, ["self", "revoked"]),
        (driver.AIOKafkaConsumerThread.on_partitions_assigned, ["self", "assigned", "generation_id"]),
        (driver.Consumer._new_consumer_thread, ["self"]),
        (driver.Consumer.seek_to_committed, ["self"]),
        (driver.Consumer._seek, ["self", "partition", "offset"]),
        (driver.Consumer.on_partitions_revoked, ["self", "revoked"]),
        (driver.Consumer.earliest_offsets, ["self", "partitions"]),
        (driver.Consumer.highwaters, ["self", "partitions"]),
        (driver.Consumer.position, ["self", "tp"]),
        (driver.Producer._new_producer, ["self", "transactional_id"]),
        (Collection.apply_changelog_batch, ["self", "batch"]),
        (Collection.on_recovery_completed, ["self", "active_tps", "standby_tps"]),
        (Collection.on_rebalance, ["self", "assigned", "revoked", "newly_assigned", "generation_id"]),
        (Stream.noack_take, ["self", "max_", "within"]),
        (Stream.ack, ["self", "event"]),
    ],
    ids=lambda value: getattr(value, "__qualname__", ""),
)
def test_overridden_and_called_methods_are_unchanged(function: object, expected: list[str]) -> None:
    assert parameters(function) == expected


def test_the_overrides_replace_those_of_faust() -> None:
    assert issubclass(ConsumerThread, driver.AIOKafkaConsumerThread) and issubclass(Consumer, driver.Consumer)
    assert issubclass(Producer, driver.Producer) and issubclass(StateTable, faust.Table)
    assert Transport.Consumer is Consumer and Transport.Producer is Producer
    assert 'consumer: "ConsumerThread"' not in inspect.getsource(ConsumerThread)
    for source in (inspect.getsource(driver.Transport), inspect.getsource(driver.Transport.__mro__[1])):
        assert "self.Consumer" in source or "Consumer = Consumer" in source


def before(source: str, first: str, second: str) -> bool:
    return 0 <= source.index(first) < source.index(second)


def test_the_state_is_restored_before_the_position_is_sought() -> None:
    source = inspect.getsource(Recovery.on_recovery_completed)
    assert before(source, "table.on_recovery_completed(", "consumer.perform_seek()")
    assert before(source, "consumer.perform_seek()", "consumer.resume_flow()")
    assert "await self.seek_to_committed()" in inspect.getsource(BaseConsumer.perform_seek)


def test_every_fetch_goes_through_the_thread_s_own_method() -> None:
    assert "self._fetch_records" in inspect.getsource(driver.AIOKafkaConsumerThread.getmany)
    assert "self._create_worker_consumer(" in inspect.getsource(driver.AIOKafkaConsumerThread._create_consumer)
    assert "self._seek(" in inspect.getsource(BaseConsumer.seek)
    assert "self._new_consumer_thread()" in inspect.getsource(driver.ThreadDelegateConsumer.__init__)
    assert "self._new_producer()" in inspect.getsource(driver.Producer.on_start)


def test_recovery_passes_all_records_to_the_table() -> None:
    assert "table.apply_changelog_batch(buf)" in inspect.getsource(Recovery._slurp_changelogs.fun)  # type: ignore[attr-defined]
    assert "table.apply_changelog_batch(buffer)" in inspect.getsource(Recovery.flush_buffers)


def test_messages_carry_their_headers_and_generation() -> None:
    assert {"headers", "generation_id"} <= set(parameters(ConsumerMessage))
    assert "generation_id=self.app.consumer_generation_id" in inspect.getsource(driver.Consumer._to_message)
    assert {"crashed", "crash_reason", "consumer", "producer", "transport", "producer_transport"} <= set(dir(App))


def test_faust_still_reads_uncommitted_and_its_flush_times_out() -> None:
    """If Faust fixes one of these, review the reasons in decision 14."""
    assert '"read_uncommitted"' in inspect.getsource(driver.AIOKafkaConsumerThread._create_worker_consumer)
    from faust.transport.producer import ProducerBuffer

    assert "timeout=0.1" in inspect.getsource(ProducerBuffer.flush_atmost)


def test_the_folders_of_faust_are_created_in_one_place() -> None:
    assert "mkdir" in inspect.getsource(App._create_directories)
    assert inspect.getsource(app_base).count(".mkdir(") == inspect.getsource(App._create_directories).count(".mkdir(")


def test_the_filter_matches_the_wording_of_mode() -> None:
    for words in faust_logging._HARMLESS:
        assert f'self.log.error("{words}")' in inspect.getsource(ServiceThread)
