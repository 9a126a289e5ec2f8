"""Two requests of Kafka's protocol that aiokafka does not speak: TxnOffsetCommit v3 and OffsetFetch v7.

Both came with KIP-447 (Kafka 2.5). The first carries the group's generation and member, so that the commit of a member that
was put out of the group is refused; the second can ask for stable offsets only, those that no open transaction is about to
change. Fields as in Kafka's message definitions; arrays end in the tagged fields of flexible versions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Boolean, CompactArray, CompactString, Int16, Int32, Int64, Schema, TaggedFields

from stream.records import Epoch, Partition

_TEXT = CompactString("utf-8")
_TAGS: dict[int, bytes] = {}


class TxnOffsetCommitResponse_v3(Response):
    API_KEY = 28
    API_VERSION = 3
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "topics",
            CompactArray(
                ("name", _TEXT),
                ("partitions", CompactArray(("index", Int32), ("error_code", Int16), ("tags", TaggedFields))),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class TxnOffsetCommitRequest_v3(RequestStruct):
    API_KEY = 28
    API_VERSION = 3
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = TxnOffsetCommitResponse_v3
    SCHEMA = Schema(
        ("transactional_id", _TEXT),
        ("group_id", _TEXT),
        ("producer_id", Int64),
        ("producer_epoch", Int16),
        ("generation_id", Int32),
        ("member_id", _TEXT),
        ("group_instance_id", _TEXT),
        (
            "topics",
            CompactArray(
                ("name", _TEXT),
                (
                    "partitions",
                    CompactArray(
                        ("index", Int32),
                        ("offset", Int64),
                        ("leader_epoch", Int32),
                        ("metadata", _TEXT),
                        ("tags", TaggedFields),
                    ),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class TxnOffsetCommit(Request[TxnOffsetCommitRequest_v3]):
    """Positions in a transaction, as the member of a generation. producer: its id and epoch; metadata: kept with a position."""

    API_KEY = 28

    def __init__(
        self,
        *,
        transactional_id: str,
        producer: tuple[int, int],
        group_id: str,
        epoch: Epoch,
        positions: Mapping[Partition, int],
        metadata: Mapping[Partition, str],
    ) -> None:
        by_topic: dict[str, list[tuple[int, int, int, str, dict[int, bytes]]]] = defaultdict(list)
        for partition, offset in positions.items():
            by_topic[partition.topic].append((partition.partition, offset, -1, metadata.get(partition, ""), _TAGS))
        self._fields = (
            transactional_id,
            group_id,
            *producer,
            epoch.generation,
            epoch.member_id,
            epoch.instance_id,
            [(topic, offsets, _TAGS) for topic, offsets in by_topic.items()],
            _TAGS,
        )

    def build(self, request_struct_class: type[TxnOffsetCommitRequest_v3]) -> TxnOffsetCommitRequest_v3:
        return request_struct_class(*self._fields)


class OffsetFetchResponse_v7(Response):
    API_KEY = 9
    API_VERSION = 7
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "topics",
            CompactArray(
                ("name", _TEXT),
                (
                    "partitions",
                    CompactArray(
                        ("index", Int32),
                        ("offset", Int64),
                        ("leader_epoch", Int32),
                        ("metadata", _TEXT),
                        ("error_code", Int16),
                        ("tags", TaggedFields),
                    ),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("error_code", Int16),
        ("tags", TaggedFields),
    )


class OffsetFetchRequest_v7(RequestStruct):
    API_KEY = 9
    API_VERSION = 7
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = OffsetFetchResponse_v7
    SCHEMA = Schema(
        ("group_id", _TEXT),
        (
            "topics",
            CompactArray(("name", _TEXT), ("partition_indexes", CompactArray(Int32)), ("tags", TaggedFields)),
        ),
        ("require_stable", Boolean),
        ("tags", TaggedFields),
    )


class OffsetFetch(Request[OffsetFetchRequest_v7]):
    """The group's offsets of these partitions. require_stable: an error where an open transaction is about to change one."""

    API_KEY = 9

    def __init__(self, group_id: str, partitions: Collection[Partition], *, require_stable: bool) -> None:
        by_topic: dict[str, list[int]] = defaultdict(list)
        for partition in partitions:
            by_topic[partition.topic].append(partition.partition)
        self._fields = (
            group_id,
            [(topic, numbers, _TAGS) for topic, numbers in by_topic.items()],
            require_stable,
            _TAGS,
        )

    def build(self, request_struct_class: type[OffsetFetchRequest_v7]) -> OffsetFetchRequest_v7:
        return request_struct_class(*self._fields)
