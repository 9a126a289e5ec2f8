"""Records as the client's compiled parser gives them, without the client's own object around each.

That object repeats topic and partition, counts key and value and copies the headers: an eighth of the worker's processor
time, for nothing that the pipeline reads. Order, aborted transactions, control batches and positions are the client's
business as before.
"""

from __future__ import annotations

from typing import Any

from aiokafka import AIOKafkaConsumer


def hand_out_light_records(consumer: AIOKafkaConsumer) -> None:
    """Has `consumer`, already started, hand out the parsed records themselves: offset, timestamp, key, value, headers.

    Patches this consumer's fetches alone, not the class. Apply it once per consumer.
    """
    fetcher: Any = consumer._fetcher
    if fetcher is None:
        raise RuntimeError("hand_out_light_records wants a consumer that has been started")
    proc_fetch_request = fetcher._proc_fetch_request

    async def light(assignment: Any, node_id: int, request: Any) -> bool:
        brought_data: bool = await proc_fetch_request(assignment, node_id, request)
        for result in fetcher._records.values():
            partition_records = getattr(result, "_partition_records", None)  # an error has none
            if partition_records is not None:
                partition_records._consumer_record = _as_it_is
        return brought_data

    fetcher._proc_fetch_request = light


def _as_it_is(_partition: Any, record: Any) -> Any:
    return record
