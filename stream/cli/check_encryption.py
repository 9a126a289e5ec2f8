"""The part of `forebay check` for encryption."""

from __future__ import annotations

from collections.abc import Iterable

from forebay.schemas.errors import ForebayError
from forebay.stream.config.encryption_section import WHOLE, EncryptionSection
from forebay.stream.config.input_mapping import MappingTable
from forebay.stream.core.quantities import quantity
from forebay.stream.encryption.key_sources import key_reader, read_local_kms_secret
from forebay.stream.preflight import Check, Status


def check_encryption(section: EncryptionSection, mappings: Iterable[MappingTable | None] = ()) -> Check | None:
    """Check that the keys can be read, and say what is encrypted and what is not; None if nothing is.

    mappings: those of the input topics; None for topics without one.
    """
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
    warnings, remedies = [], []
    if section.input_fields and section.on_plain == "accept":
        warnings.append("plain values in these fields are accepted")
        remedies.append("set encryption.on_plain to reject once all producers encrypt")
    if section.input_fields and section.input_fields != WHOLE:
        own = f"field:{section.id_field}"
        others = {source for table in mappings if (source := _id_source(table)) != own}
        if others:
            warnings.append(
                f"the id of events is {', '.join(sorted(others))}, and fields are bound to {own}: those of events without that "
                "field can be moved between such events"
            )
            remedies.append(f"send {section.id_field} in every event, or encrypt the whole value")
    if warnings:
        return Check(name, Status.WARNING, "; ".join([detail, *warnings]), "; ".join(remedies))
    return Check(name, Status.OK, detail)


def _id_source(table: MappingTable | None) -> str:
    return "field:id" if table is None or table.id is None else table.id
