"""The part of `forebay check` for encryption."""

from __future__ import annotations

from forebay.schemas.errors import ForebayError
from forebay.stream.config.encryption_section import EncryptionSection
from forebay.stream.core.quantities import quantity
from forebay.stream.encryption.key_sources import key_reader, read_local_kms_secret
from forebay.stream.preflight import Check, Status


def check_encryption(section: EncryptionSection) -> Check | None:
    """Check that the keys can be read, and say what is encrypted and what is not; None if nothing is."""
    name = "encryption"
    if not section.is_used:
        return None
    try:
        keyring = key_reader(section)()
        if section.decrypts_avro:
            read_local_kms_secret(section)
    except ForebayError as error:
        return Check(name, Status.FAILED, error.message, error.remedy)
    events, predictions = (
        "nothing" if not fields else "the whole value" if fields == ("*",) else ", ".join(fields)
        for fields in (section.input_fields, section.prediction_fields)
    )
    detail = (
        f"events: {events}; predictions: {predictions}; not encrypted: record keys, headers, ids and what else is in the "
        f"records; {quantity(len(keyring.keys), 'key')}, {keyring.current} encrypts"
    )
    if section.decrypts_avro:
        detail += "; fields of events in Avro under an ENCRYPT rule with local-kms are decrypted"
    if section.input_fields and section.on_plain == "accept":
        remedy = "set encryption.on_plain to reject once all producers encrypt"
        return Check(name, Status.WARNING, f"{detail}; plain values in these fields are accepted", remedy)
    return Check(name, Status.OK, detail)
