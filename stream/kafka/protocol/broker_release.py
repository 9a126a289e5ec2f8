"""The Kafka release of a broker, from the highest feature level that it supports.

No request returns a version. Since KRaft, each release supports a higher level of the feature `metadata.version`, which the
response to ApiVersions v3 carries in a tagged field (KIP-584).
"""

from __future__ import annotations

from io import BytesIO
from typing import Final

from aiokafka import errors as kafka_errors
from aiokafka.conn import AIOKafkaConnection
from aiokafka.protocol.api import Request, RequestStruct, Response, ResponseHeader_v0
from aiokafka.protocol.types import CompactArray, CompactString, Int16, Int32, Schema, TaggedFields, UnsignedVarInt32

API_VERSIONS: Final = 18
METADATA_VERSION: Final = "metadata.version"
_SUPPORTED_FEATURES_TAG: Final = 0
_RELEASES: Final = (
    (1, "3.0"),
    (2, "3.1"),
    (3, "3.2"),
    (4, "3.3"),
    (8, "3.4"),
    (9, "3.5"),
    (12, "3.6"),
    (15, "3.7"),
    (20, "3.8"),
    (21, "3.9"),
    (22, "4.0"),
    (26, "4.1"),
    (28, "4.2"),
)
"""The lowest level of each release, from Kafka's MetadataVersion."""
_LAST_KNOWN: Final = 29


class _ApiVersionsResponse(Response):
    API_KEY = API_VERSIONS
    API_VERSION = 3
    SCHEMA = Schema(
        ("error_code", Int16),
        (
            "api_versions",
            CompactArray(("api_key", Int16), ("min_version", Int16), ("max_version", Int16), ("tags", TaggedFields)),
        ),
        ("throttle_time_ms", Int32),
        ("tags", TaggedFields),
    )


class _ApiVersionsStruct(RequestStruct):
    API_KEY = API_VERSIONS
    API_VERSION = 3
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _ApiVersionsResponse
    SCHEMA = Schema(
        ("client_software_name", CompactString("utf-8")),
        ("client_software_version", CompactString("utf-8")),
        ("tags", TaggedFields),
    )

    def parse_response_header(self, read_buffer: BytesIO | bytes) -> ResponseHeader_v0:
        # The only flexible response with the old header: the client may not know yet which versions the broker supports.
        return ResponseHeader_v0.decode(read_buffer)


class _ApiVersionsRequest(Request[_ApiVersionsStruct]):
    API_KEY = API_VERSIONS

    def build(self, request_struct_class: type[_ApiVersionsStruct]) -> _ApiVersionsStruct:
        return request_struct_class("forebay", "0", {})


async def describe_release(connection: AIOKafkaConnection) -> str:
    """Return the release, such as `Kafka 4.1`, or a lower bound if the broker reports no feature level. Raises KafkaError."""
    try:
        answer = await connection.send(_ApiVersionsRequest())
    except (kafka_errors.IncompatibleBrokerVersion, NotImplementedError):
        return release_of(None)
    return release_of(supported_level(answer.tags.get(_SUPPORTED_FEATURES_TAG, b"")))


def supported_level(features: bytes) -> int | None:
    """Return the highest supported `metadata.version` in the tagged field of supported features; None if it is missing."""
    data = BytesIO(features)
    if not features:
        return None
    for _ in range(UnsignedVarInt32.decode(data) - 1):
        name = CompactString("utf-8").decode(data)
        _lowest, highest = Int16.decode(data), Int16.decode(data)
        TaggedFields.decode(data)
        if name == METADATA_VERSION:
            return int(highest)
    return None


def release_of(level: int | None) -> str:
    """Return the release with this highest feature level."""
    if level is None:
        return "Kafka 2.5 or later (it reports no feature level)"
    if level > _LAST_KNOWN:
        return f"later than Kafka {_RELEASES[-1][1]} ({METADATA_VERSION} {level})"
    names = [name for lowest, name in _RELEASES if lowest <= level]
    return f"Kafka {names[-1]}" if names else "Kafka 2.5 or later"
