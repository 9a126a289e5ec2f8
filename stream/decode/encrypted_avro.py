"""Records in Avro whose schema has a rule that encrypts fields."""

from __future__ import annotations

from forebay.stream.core.records import Record
from forebay.stream.decode.formats.avro_encrypted import EncryptedAvroFields
from forebay.stream.decode.formats.choice import FormatChoice
from forebay.stream.decode.formats.payload import InvalidPayload
from forebay.stream.encryption.jwe import MakeCipher
from forebay.stream.schema_registry.schema import RegisteredSchema, SchemaRef
from forebay.stream.schema_registry.store import SchemaStore


class EncryptedAvro:
    """Decrypts such records of any topic.

    choice: the formats of the topics. schemas: the known schemas, with the keys of their fields.
    make_cipher: returns AES-GCM with a key.
    """

    def __init__(self, choice: FormatChoice, schemas: SchemaStore, make_cipher: MakeCipher) -> None:
        self._choice = choice
        self._schemas = schemas
        self._make_cipher = make_cipher
        self._fields: dict[SchemaRef, tuple[RegisteredSchema, EncryptedAvroFields]] = {}

    def open(self, topic: str, record: Record) -> bytes | None:
        """Return the value of a record without encryption; None if no rule encrypts it. Raises CannotDecrypt."""
        ref = self._choice.schema_ref(record, topic)
        schema = None if ref is None else self._schemas.get(ref)
        if ref is None or schema is None or not schema.field_keys or record.value is None:
            return None
        known = self._fields.get(ref)
        try:
            if known is None or known[0] is not schema:
                known = self._fields[ref] = schema, EncryptedAvroFields(schema, self._make_cipher)
            start = self._choice.choose(record, topic).start
        except InvalidPayload:  # the decoder says why
            return None
        # The subject of the topic, as serializers name it by default.
        return record.value[:start] + known[1].open(record.value[start:], f"{topic}-value")
