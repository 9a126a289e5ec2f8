"""Whole events as MessagePack and as CloudEvents."""

from __future__ import annotations

from typing import Final

import msgspec
import orjson


class MessagePackValues:
    """Encodes events as MessagePack."""

    name: Final = "msgpack"
    headers: Final = (("content-type", b"application/msgpack"),)

    def encode(self, event: bytes) -> bytes:
        """Return the value of a record. event: in JSON."""
        return msgspec.msgpack.encode(orjson.loads(event))

    def decode(self, value: bytes) -> object:
        """Return what a value says, to be shown."""
        return msgspec.msgpack.decode(value)

    def event(self, value: bytes) -> object:
        """Return the event in a value."""
        return msgspec.msgpack.decode(value)


class CloudEventsValues:
    """Encodes events as CloudEvents in structured mode. source: names where they come from."""

    name: Final = "cloudevents"
    headers: Final = (("content-type", b"application/cloudevents+json"),)

    def __init__(self, source: str) -> None:
        self._source = source

    def encode(self, event: bytes) -> bytes:
        """Return the value of a record. event: in JSON."""
        data = orjson.loads(event)
        return orjson.dumps(
            {
                "specversion": "1.0",
                "id": data["id"],
                "source": self._source,
                "type": "forebay.event",
                "datacontenttype": "application/json",
                "data": data,
            }
        )

    def decode(self, value: bytes) -> object:
        """Return what a value says, to be shown."""
        return orjson.loads(value)

    def event(self, value: bytes) -> object:
        """Return the event in a value: the data of the CloudEvent."""
        return orjson.loads(value)["data"]
