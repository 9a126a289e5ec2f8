"""The assembly of what a worker with a schema registry has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from forebay.stream.config.sections import SchemaRegistrySection
from forebay.stream.core.clock import Clock
from forebay.stream.pipeline.schema_admission import PartitionHolds, RefOf, SchemaAdmission, SchemaWait
from forebay.stream.schema_registry.connection import RegistryConnection, connect_registry
from forebay.stream.schema_registry.resolver import SchemaResolver, build_resolver
from forebay.stream.schema_registry.store import SchemaStore
from forebay.stream.schema_registry.subjects import load_subjects

if TYPE_CHECKING:
    from forebay.stream.schema_registry.field_keys import LocalKms


@dataclass(frozen=True, slots=True)
class SchemaParts:
    """What a worker has if a schema registry is configured."""

    connection: RegistryConnection
    resolver: SchemaResolver
    admission: SchemaAdmission
    subjects: Sequence[str]

    async def start(self) -> None:
        """Read the configured subjects. Raises RegistryError."""
        await load_subjects(self.connection.client, self.subjects)

    async def stop(self) -> None:
        """Cancel all look-ups and close the connection."""
        await self.resolver.stop()
        await self.connection.close()

    def waits(self) -> Sequence[SchemaWait]:
        """Return the partitions that wait for a schema."""
        return self.admission.waits()

    def results(self) -> Mapping[str, int]:
        """Return the number of look-ups by result."""
        return self.resolver.results


def build_schemas(
    section: SchemaRegistrySection,
    store: SchemaStore,
    holds: PartitionHolds,
    *,
    ref_of: RefOf,
    kms: LocalKms | None,
    clock: Clock,
) -> SchemaParts | None:
    """Build the parts; None if no registry is configured. Raises ConfigError.

    store: the one from which records are decoded.
    kms: decrypts the keys of encrypted fields; None if there are none.
    """
    if not section.urls:
        return None
    connection = connect_registry(section, store=store, clock=clock, kms=kms)
    resolver = build_resolver(section, connection.client, clock=clock)
    admission = SchemaAdmission(holds, resolver, ref_of=ref_of, clock=clock)
    return SchemaParts(connection, resolver, admission, section.subjects)
