"""Decryption of records for commands that show them, if the user asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from forebay.schemas.errors import ConfigError

if TYPE_CHECKING:
    from forebay.stream.config.sections import Settings
    from forebay.stream.core.records import Record
    from forebay.stream.decode.encrypted_input import EncryptedInput

PREDICTION_KINDS: Final = ("predictions", "review")
EVENT_KINDS: Final = ("features", "dead-letters", "late-events")
_ID_FIELD: Final = "id"


class ShownDecryption:
    """Decrypts records that are shown.

    encrypted: decrypts the records of its topics. Plain values are shown as they are.
    """

    def __init__(self, encrypted: EncryptedInput) -> None:
        self._encrypted = encrypted

    def decrypt(self, topic: str, record: Record) -> tuple[Record, str | None]:
        """Return the record, decrypted if it can be, and why it cannot be. topic: of the event that a dead letter holds."""
        from forebay.stream.encryption.jwe import CannotDecrypt

        try:
            return self._encrypted.decrypted(topic, record), None
        except CannotDecrypt as fault:
            return record, str(fault)


def open_decryption(settings: Settings, kind: str, topic: str) -> ShownDecryption:
    """Read the keys, for the records of a topic of this kind. Blocks. Raises ConfigError if they have no encrypted fields."""
    from forebay.schemas.topics import topic_name
    from forebay.stream.core.clock import SystemClock
    from forebay.stream.decode.encrypted_input import EncryptedInput
    from forebay.stream.worker.encryption_assembly import open_keys

    section = settings.encryption
    if kind in PREDICTION_KINDS:
        key, fields, id_field, topics = "prediction_fields", section.prediction_fields, _ID_FIELD, [topic]
    else:
        key, fields, id_field = "input_fields", section.input_fields, section.id_field
        topics = [topic_name(settings.topics.prefix, name) for name in settings.input.topics]
        if kind == "features":
            topics.append(topic)
    if not fields:
        raise ConfigError(
            f"encryption.{key} is empty: no fields of {kind} are encrypted by this configuration",
            kind="nothing_encrypted",
            remedy="use the configuration of the worker, or leave out --decrypt",
        )
    keys = open_keys(section, clock=SystemClock())
    return ShownDecryption(EncryptedInput(topics, fields, keys, id_field=id_field, accepts_plain=True))
