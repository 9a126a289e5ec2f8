"""The assembly of encryption: the keys, and what decrypts the input topics and encrypts predictions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from forebay.schemas.errors import ConfigError
from forebay.schemas.topics import topic_name
from forebay.stream.config.sections import EncryptionSection, Settings
from forebay.stream.core.clock import Clock
from forebay.stream.core.extras import install_hint
from forebay.stream.decode.encrypted_input import EncryptedInput
from forebay.stream.decode.formats.choice import FormatChoice
from forebay.stream.encryption.jwe import TokenSealer
from forebay.stream.output.encoder import Encoder
from forebay.stream.output.encrypted import EncryptedPredictions
from forebay.stream.schema_registry.store import SchemaStore

if TYPE_CHECKING:
    from forebay.stream.encryption.live_keys import LiveKeys
    from forebay.stream.schema_registry.field_keys import LocalKms


@dataclass(frozen=True, slots=True)
class Encryption:
    """What a worker encrypts and decrypts. input: None if events are not encrypted. kms: for fields in Avro; None for none."""

    keys: LiveKeys
    prediction_fields: Sequence[str]
    input: EncryptedInput | None
    kms: LocalKms | None = None

    def encoder(self, encoder: Encoder, topics: Sequence[str]) -> Encoder:
        """Return an encoder that encrypts what another one encodes. topics: by decision code."""
        if not self.prediction_fields:
            return encoder
        return EncryptedPredictions(encoder, self.prediction_fields, topics=topics, sealer=self._sealer())

    def _sealer(self) -> Callable[[], TokenSealer]:
        keys = self.keys

        def current() -> TokenSealer:
            keys.refresh()
            return keys.sealer

        return current


async def open_encryption(
    settings: Settings, choice: FormatChoice, schemas: SchemaStore, *, clock: Clock
) -> Encryption | None:
    """Read the keys, off the event loop; None if nothing is encrypted. Raises ConfigError.

    choice, schemas: with which records are decoded.
    """
    section = settings.encryption
    if not section.is_used:
        return None
    keys = await asyncio.to_thread(open_keys, section, clock=clock)
    encrypted = kms = avro = None
    if section.decrypts_avro:
        kms = await asyncio.to_thread(_open_kms, section)
        from forebay.stream.decode.encrypted_avro import EncryptedAvro  # needs the extra `avro`, as its topics do
        from forebay.stream.encryption.live_keys import new_cipher  # `open_keys` found its library

        avro = EncryptedAvro(choice, schemas, new_cipher)
    if section.input_fields or avro is not None:
        encrypted = EncryptedInput(
            [topic_name(settings.topics.prefix, topic) for topic in settings.input.topics],
            section.input_fields,
            keys,
            id_field=section.id_field,
            accepts_plain=section.on_plain == "accept",
            avro=avro,
        )
    return Encryption(keys, section.prediction_fields, encrypted, kms)


def _open_kms(section: EncryptionSection) -> LocalKms:
    from forebay.stream.encryption.key_sources import read_local_kms_secret
    from forebay.stream.schema_registry.field_keys import LocalKms

    return LocalKms(read_local_kms_secret(section))


def open_keys(section: EncryptionSection, *, clock: Clock) -> LiveKeys:
    """Read the keys of a configuration. Blocks. Raises ConfigError."""
    try:
        from forebay.stream.encryption.key_sources import key_reader
        from forebay.stream.encryption.live_keys import LiveKeys
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"encryption needs the package {error.name}", kind="extra_missing", remedy=install_hint("security")
        ) from None
    return LiveKeys(
        key_reader(section),
        clock=clock,
        refresh_s=None if section.keys_variable is not None else section.keys_refresh_ms / 1000,
        reads_at_once=section.keys_file is not None,
    )
