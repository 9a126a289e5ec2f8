"""The operations that the cluster allows this user on topics and on its group. Reads and writes no records.

aiokafka's own requests do not ask for them, and may create the topics that they name. Hence the two structures here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, TypeVar

from aiokafka import errors as kafka_errors
from aiokafka.conn import AIOKafkaConnection
from aiokafka.protocol.admin import DescribeGroupsRequest_v3, DescribeGroupsResponse_v3
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.coordination import FindCoordinatorRequest
from aiokafka.protocol.metadata import MetadataRequest_v5
from aiokafka.protocol.types import Array, Boolean, Int16, Int32, Schema, String

from forebay.schemas.errors import BrokerError
from forebay.stream.core.retry import fixed, retry

T = TypeVar("T")

COORDINATOR_RETRY_S: Final = 0.1
UNKNOWN: Final = -(1 << 31)
"""The response of a broker that does not report authorized operations."""


class Operation(IntEnum):
    """Operations, by their numbers in Kafka's protocol."""

    READ = 3
    WRITE = 4
    DESCRIBE = 8
    DESCRIBE_CONFIGS = 10


@dataclass(frozen=True, slots=True)
class Access:
    """The access to a topic or group.

    error: the name of Kafka's error, or None.
    allowed: the allowed operations; None if the broker does not report them.
    """

    error: str | None
    allowed: frozenset[Operation] | None

    def missing(self, wanted: Collection[Operation]) -> list[Operation]:
        """Return the wanted operations that are known not to be allowed."""
        return [] if self.allowed is None else [operation for operation in wanted if operation not in self.allowed]


@dataclass(frozen=True, slots=True)
class ClusterView:
    """The cluster's metadata. brokers: the advertised host and port of each broker; topics: the access by topic name."""

    brokers: tuple[tuple[str, int], ...]
    topics: Mapping[str, Access]


class _TopicsResponse(Response):
    API_KEY = 3
    API_VERSION = 8
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            Array(("node_id", Int32), ("host", String("utf-8")), ("port", Int32), ("rack", String("utf-8"))),
        ),
        ("cluster_id", String("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            Array(
                ("error_code", Int16),
                ("topic", String("utf-8")),
                ("is_internal", Boolean),
                (
                    "partitions",
                    Array(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", Array(Int32)),
                        ("isr", Array(Int32)),
                        ("offline_replicas", Array(Int32)),
                    ),
                ),
                ("authorized_operations", Int32),
            ),
        ),
        ("cluster_authorized_operations", Int32),
    )


class _TopicsStruct(RequestStruct):
    API_KEY = 3
    API_VERSION = 8
    RESPONSE_TYPE = _TopicsResponse
    SCHEMA = Schema(
        ("topics", Array(String("utf-8"))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
    )


class _TopicsRequest(Request[MetadataRequest_v5 | _TopicsStruct]):
    API_KEY = 3

    def __init__(self, topics: Sequence[str]) -> None:
        self._topics = list(topics)

    def build(self, request_struct_class: Any) -> Any:
        if request_struct_class is _TopicsStruct:
            return _TopicsStruct(self._topics, False, False, True)
        return request_struct_class(self._topics, False)


class _GroupsStruct(DescribeGroupsRequest_v3):
    # aiokafka's own class reads the response as version 2, without the operations.
    RESPONSE_TYPE = DescribeGroupsResponse_v3


class _GroupsRequest(Request[_GroupsStruct]):
    API_KEY = 15

    def __init__(self, group_id: str) -> None:
        self._group_id = group_id

    def build(self, request_struct_class: type[_GroupsStruct]) -> _GroupsStruct:
        return request_struct_class([self._group_id], True)


async def describe_cluster(connection: AIOKafkaConnection, topics: Sequence[str]) -> ClusterView:
    """Return the brokers of the cluster and the access to these topics; create no topic. Raises KafkaError."""
    answer = (await connection.send(_TopicsRequest(topics))).to_object()
    return ClusterView(
        tuple((broker["host"], broker["port"]) for broker in answer["brokers"]),
        {
            topic["topic"]: Access(
                _error_name(topic["error_code"]), _allowed(topic.get("authorized_operations", UNKNOWN))
            )
            for topic in answer["topics"]
        },
    )


async def find_coordinator(connection: AIOKafkaConnection, group_id: str) -> tuple[str, int]:
    """Return host and port of the group's coordinator. Retries without end. Raises BrokerError if access is denied."""

    async def ask() -> tuple[str, int]:
        answer = await connection.send(FindCoordinatorRequest(group_id, 0))
        error = kafka_errors.for_code(answer.error_code)
        if error is kafka_errors.NoError:
            return answer.host, answer.port
        if error.retriable:
            raise _NotYet  # a new cluster creates the offsets topic at the first request for a coordinator
        raise BrokerError(f"{group_id}: {_error_name(answer.error_code)}", kind="group")

    return await _retry_until_known(ask)


async def group_access(connection: AIOKafkaConnection, group_id: str) -> Access:
    """Return the access to the group from its coordinator. Retries while it is loading. Raises KafkaError."""

    async def ask() -> Access:
        answer = await connection.send(_GroupsRequest(group_id))
        group = answer.to_object()["groups"][0]
        if group["error_code"] in _LOADING:
            raise _NotYet
        return Access(_error_name(group["error_code"]), _allowed(group["authorized_operations"]))

    return await _retry_until_known(ask)


class _NotYet(Exception):
    """The broker cannot answer yet."""


async def _retry_until_known(ask: Callable[[], Awaitable[T]]) -> T:
    return await retry(
        ask, should_retry=lambda error, _failures: isinstance(error, _NotYet), wait_s=fixed(COORDINATOR_RETRY_S)
    )


_LOADING = {
    kafka_errors.GroupLoadInProgressError.errno,
    kafka_errors.GroupCoordinatorNotAvailableError.errno,
}


def _allowed(bits: int) -> frozenset[Operation] | None:
    return None if bits == UNKNOWN else frozenset(operation for operation in Operation if bits & (1 << operation))


def _error_name(code: int) -> str | None:
    # GroupIdNotFound (69) is the response of newer brokers for a group without any member so far.
    if code in (0, 69):
        return None
    return str(kafka_errors.for_code(code).__name__).removesuffix("Error")
