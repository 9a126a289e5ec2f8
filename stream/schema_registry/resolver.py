"""Looks schemas up in the background, until each is known or its records may be rejected."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

from forebay.stream.config.sections import SchemaRegistrySection
from forebay.stream.core.backoff import Backoff
from forebay.stream.core.cancellation import cancel_until_done
from forebay.stream.core.clock import Clock
from forebay.stream.core.retry import Sleep, retry
from forebay.stream.schema_registry.client import SchemaRegistryClient
from forebay.stream.schema_registry.errors import RegistryError, SchemaInvalid, SchemaNotFound
from forebay.stream.schema_registry.schema import SchemaRef

log = logging.getLogger("forebay.schema_registry")

MAX_REJECTED: Final = 10_000
FOUND: Final = "found"
_LOGGED_FAILURES: Final = (1, 10, 100, 1_000)


@dataclass(slots=True)
class _Lookup:
    """A schema that is wanted.

    problem: why it is not known yet, after the first failure.
    is_rejected: the look-up has ended, and the records are to be rejected. It stays so as long as the schema is wanted.
    """

    task: asyncio.Task[None]
    problem: str | None = None
    is_rejected: bool = False


@dataclass(slots=True)
class SchemaResolver:
    """Looks up the schemas that are wanted, each until it is found.

    rejects_unknown: a schema that the registry does not have, or whose answer cannot be used, counts as resolved for a while,
        although the store does not get it: its records are rejected. Otherwise it is asked for again.
    reject_ttl_s: how long it counts so.
    results: number of answers by result: "found", or the kind of the error.
    """

    client: SchemaRegistryClient
    clock: Clock
    rejects_unknown: bool = False
    backoff: Backoff = field(default_factory=lambda: Backoff(0.5, 15.0))
    reject_ttl_s: float = 15.0
    sleep: Sleep = asyncio.sleep
    results: Counter[str] = field(default_factory=Counter)
    _lookups: dict[SchemaRef, _Lookup] = field(default_factory=dict)
    _rejected: dict[SchemaRef, float] = field(default_factory=dict)

    def is_resolved(self, ref: SchemaRef) -> bool:
        """Return whether the schema is known, or its records are to be rejected."""
        return ref in self.client.store or self.is_rejected(ref)

    def is_rejected(self, ref: SchemaRef) -> bool:
        """Return whether records with this schema are to be rejected."""
        if (lookup := self._lookups.get(ref)) is not None and lookup.is_rejected:
            return True
        until_s = self._rejected.get(ref)
        if until_s is None:
            return False
        if self.clock.monotonic_s() < until_s:
            return True
        del self._rejected[ref]
        return False

    def problem(self, ref: SchemaRef) -> str | None:
        """Return why a schema that is wanted is not known yet; None before the first answer."""
        lookup = self._lookups.get(ref)
        return None if lookup is None else lookup.problem

    def want(self, refs: Collection[SchemaRef]) -> None:
        """Look up these schemas, and no longer those that were wanted before. Call it on the event loop's thread."""
        for ref in [ref for ref in self._lookups if ref not in refs]:
            self._lookups.pop(ref).task.cancel()
        for ref in refs:
            if ref not in self._lookups and not self.is_resolved(ref):
                task = asyncio.create_task(self._resolve(ref), name=f"resolve schema {ref}")
                self._lookups[ref] = _Lookup(task)

    async def stop(self) -> None:
        """Cancel all look-ups."""
        tasks = [lookup.task for lookup in self._lookups.values()]
        self._lookups.clear()
        for task in tasks:
            await cancel_until_done(task)

    async def _resolve(self, ref: SchemaRef) -> None:
        def should_retry(error: Exception, _failures: int) -> bool:
            self.results[error.kind if isinstance(error, RegistryError) else "error"] += 1
            return not (self.rejects_unknown and isinstance(error, SchemaNotFound | SchemaInvalid))

        try:
            schema = await retry(
                lambda: self.client.get(ref),
                should_retry=should_retry,
                wait_s=self.backoff.wait_s,
                on_retry=lambda error, failures: self._on_failure(ref, error, failures),
                sleep=self.sleep,
            )
        except RegistryError as error:
            self._reject(ref, error)
        else:
            self.results[FOUND] += 1
            self._lookups.pop(ref, None)
            log.info(
                "schema %s was read: %s%s", ref, schema.type, f", with rules {schema.rules}" if schema.rules else ""
            )

    def _on_failure(self, ref: SchemaRef, error: Exception, failures: int) -> None:
        problem = error.description if isinstance(error, RegistryError) else str(error) or type(error).__name__
        if (lookup := self._lookups.get(ref)) is not None:
            lookup.problem = problem
        if failures in _LOGGED_FAILURES:
            log.warning("the partitions with records of schema %s wait: %s (attempt %d)", ref, problem, failures)

    def _reject(self, ref: SchemaRef, error: RegistryError) -> None:
        if (lookup := self._lookups.get(ref)) is not None:
            lookup.problem, lookup.is_rejected = error.description, True
        self._rejected[ref] = self.clock.monotonic_s() + self.reject_ttl_s
        if len(self._rejected) > MAX_REJECTED:
            del self._rejected[next(iter(self._rejected))]
        log.warning("records with schema %s are rejected: %s", ref, error.description)


def build_resolver(section: SchemaRegistrySection, client: SchemaRegistryClient, *, clock: Clock) -> SchemaResolver:
    """Return a resolver with the configured waits, which asks for nothing yet. Call its `stop` at the end."""
    max_wait_s = section.retry_backoff_max_ms / 1000
    return SchemaResolver(
        client,
        clock,
        rejects_unknown=section.on_unknown_id == "reject",
        backoff=Backoff(section.retry_backoff_ms / 1000, max_wait_s),
        reject_ttl_s=max_wait_s,
    )
