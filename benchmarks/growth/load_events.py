"""The events of a load: with a number of keys, and with more bytes or fields than the model reads."""

from __future__ import annotations

from benchmarks.growth.points import Load
from forebay.stream.bench.events import Events


class LoadEvents:
    """Gives the events of another generator a number of different keys, fields that no model reads, and white space."""

    def __init__(self, events: Events, load: Load) -> None:
        self._events = events
        self._keys = load.keys
        fields = b"".join(b',"unread_%d":"text"' % number for number in range(load.unread_fields))
        self._end = fields + b"}" + b" " * load.padding_bytes

    def key(self, number: int) -> bytes:
        """Return the record key of event `number`."""
        return b"key-%d" % (number % self._keys)

    def value(self, number: int, timestamp_ms: int) -> bytes:
        """Return event `number` as JSON."""
        return self._events.value(number, timestamp_ms)[:-1] + self._end
