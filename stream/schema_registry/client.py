"""The client of a schema registry with Confluent's API.

What an id or a GUID names never changes, so a schema is asked for once. Requests for the same schema at the same time share one
answer. That the registry does not have a schema is remembered for a while only, because the schema may be registered later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from forebay.stream.core.clock import Clock, SystemClock
from forebay.stream.schema_registry.answers import (
    Reference,
    SchemaAnswer,
    read_compatibility,
    read_id,
    read_names,
    read_numbers,
    read_schema,
)
from forebay.stream.schema_registry.errors import RegistryUnavailable, SchemaInvalid, SchemaNotFound
from forebay.stream.schema_registry.http import RegistryHttp
from forebay.stream.schema_registry.schema import FieldKeys, ReferencedSchema, RegisteredSchema, SchemaRef, SchemaType
from forebay.stream.schema_registry.store import SchemaStore

if TYPE_CHECKING:
    from forebay.stream.schema_registry.field_keys import LocalKms

MAX_REFERENCES: Final = 1_000
MAX_REFERENCE_DEPTH: Final = 32
MAX_REMEMBERED_MISSING: Final = 10_000
DEFAULT_MISSING_TTL_S: Final = 5.0


class SchemaRegistryClient:
    """Reads and registers schemas. All methods raise RegistryError.

    store: receives every schema that is looked up by id or GUID.
    missing_ttl_s: how long an answer that a schema does not exist is used.
    kms: decrypts the keys of encrypted fields; None if rules that encrypt are not executed.
    """

    def __init__(
        self,
        http: RegistryHttp,
        *,
        store: SchemaStore | None = None,
        clock: Clock | None = None,
        missing_ttl_s: float = DEFAULT_MISSING_TTL_S,
        kms: LocalKms | None = None,
    ) -> None:
        self._http = http
        self.store = SchemaStore() if store is None else store
        self._clock = clock or SystemClock()
        self._missing_ttl_s = missing_ttl_s
        self._kms = kms
        self._missing: dict[SchemaRef, tuple[SchemaNotFound, float]] = {}
        self._in_flight: dict[SchemaRef, asyncio.Task[RegisteredSchema]] = {}

    @property
    def shown_urls(self) -> str:
        """The URLs of the registry in words, without credentials."""
        return self._http.shown_urls

    async def get(self, ref: SchemaRef) -> RegisteredSchema:
        """Return the schema of an id or a GUID, with its references."""
        if (schema := self.store.get(ref)) is not None:
            return schema
        if ref in self._missing:
            error, until_s = self._missing[ref]
            if self._clock.monotonic_s() < until_s:
                raise error.with_traceback(None)
            del self._missing[ref]
        task = self._in_flight.get(ref)
        if task is None:
            task = asyncio.create_task(self._fetch(ref), name=f"schema {ref}")
            self._in_flight[ref] = task
            task.add_done_callback(lambda done: self._on_fetched(ref, done))
        # The caller may be cancelled; others may wait for the same schema.
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Cancel the requests that are in flight."""
        tasks = list(self._in_flight.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _on_fetched(self, ref: SchemaRef, task: asyncio.Task[RegisteredSchema]) -> None:
        del self._in_flight[ref]
        if not task.cancelled():
            task.exception()  # retrieved, also if no caller waits any more

    async def _fetch(self, ref: SchemaRef) -> RegisteredSchema:
        path = f"schemas/ids/{ref.id}" if ref.guid is None else f"schemas/guids/{ref.guid}"
        about = f"the schema with {ref}"
        try:
            answer = read_schema(await self._http.request("GET", path, subject=about), about=about)
        except (SchemaNotFound, RegistryUnavailable) as error:
            if ref.guid is not None:
                error.remedy = f"{error.remedy}; some registries, such as Apicurio 3.0, cannot look schemas up by GUID"
            if isinstance(error, SchemaNotFound):
                self._remember_missing(ref, error)
            raise
        schema = await self._resolved(ref, answer, about)
        self.store.put(schema)
        return schema

    def _remember_missing(self, ref: SchemaRef, error: SchemaNotFound) -> None:
        self._missing[ref] = (error, self._clock.monotonic_s() + self._missing_ttl_s)
        if len(self._missing) > MAX_REMEMBERED_MISSING:
            del self._missing[next(iter(self._missing))]

    # ---- subjects

    async def subjects(self) -> list[str]:
        """Return the names of all subjects."""
        return read_names(await self._http.request("GET", "subjects", subject="the subjects"), about="the subjects")

    async def versions(self, subject: str) -> list[int]:
        """Return the versions of a subject, in ascending order."""
        about = f"subject {subject}"
        answer = await self._http.request("GET", f"subjects/{_quoted(subject)}/versions", subject=about)
        return sorted(read_numbers(answer, about=about))

    async def latest(self, subject: str) -> RegisteredSchema:
        """Return the latest version of a subject."""
        return await self._version(subject, "latest")

    async def subject_version(self, subject: str, version: int) -> RegisteredSchema:
        """Return a version of a subject."""
        return await self._version(subject, str(version))

    async def _version(self, subject: str, version: str) -> RegisteredSchema:
        about = f"version {version} of subject {subject}"
        path = f"subjects/{_quoted(subject)}/versions/{version}"
        answer = read_schema(await self._http.request("GET", path, subject=about), about=about)
        if answer.id is None:
            raise SchemaInvalid(f"the schema registry's answer for {about} contains no id")
        schema = await self._resolved(SchemaRef(id=answer.id), answer, about)
        self.store.put(schema)
        return schema

    # ---- registering

    async def check_compatible(
        self, subject: str, schema_type: SchemaType, text: str, references: Sequence[Reference] = ()
    ) -> list[str]:
        """Return what makes a schema incompatible with the subject; nothing if it is compatible, or the subject is new."""
        about = f"the compatibility with subject {subject}"
        try:
            answer = await self._http.request(
                "POST",
                f"compatibility/subjects/{_quoted(subject)}/versions/latest?verbose=true",
                body=_body(schema_type, text, references),
                subject=about,
            )
        except SchemaNotFound:
            return []
        return read_compatibility(answer, about=about)

    async def register(
        self, subject: str, schema_type: SchemaType, text: str, references: Sequence[Reference] = ()
    ) -> int:
        """Register a schema and return its id; the id of the existing one if the subject has it already."""
        about = f"a schema for subject {subject}"
        answer = await self._http.request(
            "POST",
            f"subjects/{_quoted(subject)}/versions",
            body=_body(schema_type, text, references),
            subject=about,
        )
        return read_id(answer, about=about)

    async def registered_id(
        self, subject: str, schema_type: SchemaType, text: str, references: Sequence[Reference] = ()
    ) -> int | None:
        """Return the id of a schema that the subject has already; None if it does not have it."""
        about = f"this schema in subject {subject}"
        try:
            answer = await self._http.request(
                "POST", f"subjects/{_quoted(subject)}", body=_body(schema_type, text, references), subject=about
            )
        except SchemaNotFound:
            return None
        return read_id(answer, about=about)

    # ---- references

    async def with_references(
        self, schema_type: SchemaType, text: str, references: Sequence[Reference] = (), *, about: str
    ) -> RegisteredSchema:
        """Return a schema that is not registered, with what it refers to. about: what it is, for messages."""
        answer = SchemaAnswer(schema_type, text, tuple(references), (), id=None, subject=None, version=None)
        return await self._resolved(SchemaRef(id=0), answer, about)

    async def _resolved(self, ref: SchemaRef, answer: SchemaAnswer, about: str) -> RegisteredSchema:
        """Return the schema with everything that it refers to, depth first."""
        found: dict[Reference, ReferencedSchema] = {}
        rules = list(answer.rules)
        await self._resolve(answer.references, found, rules, (about,))
        field_keys: tuple[FieldKeys, ...] = ()
        if answer.encrypt_rules and (self._kms is None or ref.id is None):
            rules += [rule.label for rule in answer.encrypt_rules]
        elif answer.encrypt_rules and not rules and self._kms is not None and ref.id is not None:
            field_keys = await self._kms.field_keys(self._http, ref.id, answer.encrypt_rules, about=about)
        return RegisteredSchema(
            ref,
            type=answer.type,
            text=answer.text,
            references=tuple(found.values()),
            rules=tuple(dict.fromkeys(rules)),
            subject=answer.subject,
            version=answer.version,
            field_keys=field_keys,
        )

    async def _resolve(
        self,
        references: Sequence[Reference],
        found: dict[Reference, ReferencedSchema],
        rules: list[str],
        path: tuple[str, ...],
    ) -> None:
        for reference in references:
            about = f"version {reference.version} of subject {reference.subject}"
            if about in path:
                raise SchemaInvalid(f"the references of a schema form a cycle: {' -> '.join((*path, about))}")
            if len(path) > MAX_REFERENCE_DEPTH:
                raise SchemaInvalid(f"{path[0]} has references more than {MAX_REFERENCE_DEPTH} levels deep")
            if reference in found:
                continue
            # A version that was deleted after it was referred to still belongs to the schema.
            answer = read_schema(
                await self._http.request(
                    "GET",
                    f"subjects/{_quoted(reference.subject)}/versions/{reference.version}?deleted=true",
                    subject=f"{about}, to which {path[-1]} refers",
                ),
                about=about,
            )
            rules += [*answer.rules, *(rule.label for rule in answer.encrypt_rules)]
            await self._resolve(answer.references, found, rules, (*path, about))
            found[reference] = ReferencedSchema(reference.name, reference.subject, reference.version, answer.text)
            if len(found) > MAX_REFERENCES:
                raise SchemaInvalid(f"{path[0]} has more than {MAX_REFERENCES:,} references")


def _quoted(name: str) -> str:
    return quote(name, safe="")


def _body(schema_type: SchemaType, text: str, references: Sequence[Reference]) -> dict[str, Any]:
    body: dict[str, Any] = {"schema": text, "schemaType": schema_type}
    if references:
        body["references"] = [
            {"name": reference.name, "subject": reference.subject, "version": reference.version}
            for reference in references
        ]
    return body
