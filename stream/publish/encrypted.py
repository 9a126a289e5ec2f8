"""Encryption of events before they are published: the fields that the configuration declares, or the whole value."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import orjson

from forebay.stream.encryption.documents import DocumentSealer
from forebay.stream.encryption.jwe import CannotDecrypt, TokenSealer
from forebay.stream.encryption.scope import WHOLE_VALUE, header_ending, record_scope_id
from forebay.stream.publish.event_builder import Message
from forebay.stream.publish.row_fault import RowFault

_REMEDY = 'publish it as JSON with these fields in an object, or with encryption.input_fields = ["*"]'


class EventEncryption:
    """Encrypts events for a topic.

    fields: the declared fields, or ("*",) for the whole value.
    sealer: returns what encrypts with the current key.
    """

    def __init__(self, topic: str, fields: Sequence[str], id_field: str, sealer: Callable[[], TokenSealer]) -> None:
        self.topic = topic
        self.fields = tuple(fields)
        self._sealer = sealer
        self._documents = None
        if self.fields != (WHOLE_VALUE,):
            self._documents = DocumentSealer(topic, self.fields, id_field=id_field)

    def encrypt(self, message: Message) -> Message:
        """Return the message with an encrypted value. Raises RowFault."""
        sealer = self._sealer()
        if self._documents is None:
            ending = header_ending(orjson.dumps(record_scope_id(message.key, None)))
            return message._replace(value=sealer.seal(self.topic, WHOLE_VALUE, [message.value], [ending])[0])
        try:
            return message._replace(value=self._documents.seal([message.value], sealer)[0])
        except ValueError:
            raise RowFault("the fields of a value that is not JSON cannot be encrypted", _REMEDY) from None
        except CannotDecrypt as fault:
            raise RowFault(f"it cannot be encrypted: {fault}", _REMEDY) from None
