"""Protects personal data in the records of a commit: the last thing that happens to them before they are sent.

Ids and messages of errors are replaced before they are encoded, because they are part of the values of predictions and of
outcome deltas in any format. Keys and headers are replaced in the finished records, which stay in the partition of the original
key, so that the order per key is preserved.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import Final

from forebay.schemas import headers as names
from forebay.stream.core.clock import Clock
from forebay.stream.core.outputs import Headers, Outgoing
from forebay.stream.core.records import BatchPart, BatchResult, Chunk, Rejection, RowFailure
from forebay.stream.eventtime.window_chunk import AcceptedEvents, EventOutcomes, RefusedEvent, WindowChunk
from forebay.stream.output.emitter import NO_HEADERS, EmissionBuilder, EmissionSteps
from forebay.stream.output.encoder import record_size
from forebay.stream.privacy.detector import UNDECODABLE
from forebay.stream.privacy.documents import MAX_VALUE_BYTES, DocumentProtector
from forebay.stream.privacy.policy import Place
from forebay.stream.privacy.protector import Protector
from forebay.stream.worker.findings_log import Findings, FindingsLog

MASKED: Final = b"%d masked"
"""The value of `forebay.error.truncated` if the value was changed: the size of the original value. Without a digest, from which
a short personal text could be guessed."""

_TOKEN: Final = re.compile(rb"(?<![\w-])eyJ[\w-]*\.\.[\w-]{16}\.[\w-]*\.[\w-]{22}(?![\w-])")
"""An encrypted field or value (see `encryption.jwe`). Its header, which anyone can read, has the id or key of the event."""
REMOVED_TOKEN: Final = b"[encrypted]"

SLICE_BYTES: Final = 65_536
"""How much is searched before other tasks of the worker may run."""


class PrivateEmissions:
    """An `EmissionBuilder` whose emissions hold no personal data that the policy does not allow.

    emitter: builds the emissions.
    documents: for the values of dead letters; None to keep them as they are.
    letters: full names of the topics with original events: dead letters and late events.
    unchanged: full names of the topics whose records hold protected ids and messages only: outcome deltas and the audit.
    max_bytes: size of the largest record that may be sent, by topic. What takes the place of personal data can be longer.
    """

    def __init__(
        self,
        emitter: EmissionBuilder,
        protector: Protector,
        *,
        documents: DocumentProtector | None,
        letters: frozenset[str],
        unchanged: frozenset[str],
        max_bytes: Mapping[str, int],
        clock: Clock,
    ) -> None:
        self._emitter = emitter
        self._protector = protector
        self._documents = documents
        self._letters = letters
        self._unchanged = unchanged
        self._max_bytes = max_bytes
        self._clock = clock
        self._log = FindingsLog(clock)

    def findings(self) -> Findings:
        """Return the number of findings by place and detector since the start."""
        found: Counter[tuple[str, str]] = Counter()
        for (detector, place, _), number in self._protector.counts.items():
            found[place.value, detector] += number
        return found

    def build(self, batches: Sequence[BatchResult], *, delta_headers: Headers = NO_HEADERS) -> EmissionSteps:
        """Build the emission of these micro-batches. Never raises for data."""
        now_ms = self._clock.wall_ms()
        results = []
        for result in batches:
            results.append(self._result(result, now_ms))
            yield
        emission = yield from self._emitter.build(results, delta_headers=delta_headers)
        for original, protected in zip(batches, results, strict=True):
            if protected.failures is not original.failures:
                # Failures that the emitter finds, such as a prediction that is too large, also count for the observers.
                added = protected.failures.keys() - original.failures.keys()
                original.failures.update((row, protected.failures[row]) for row in added)
        for partition, outgoing in emission.outgoing.items():
            if partition.topic in self._unchanged:
                continue
            is_letter, max_bytes = partition.topic in self._letters, self._max_bytes[partition.topic]
            for rows in slices_by_bytes(outgoing, with_values=is_letter):
                if is_letter:
                    self._protect_letters(outgoing, rows, max_bytes, now_ms)
                else:
                    self._protect_predictions(outgoing, rows, max_bytes, now_ms)
                yield
        self._log.report(self.findings())
        return emission

    # ---- before the encoding

    def _result(self, result: BatchResult, now_ms: int) -> BatchResult:
        """Return a micro-batch with protected ids and messages; the same one if nothing was found."""
        failures = self._failures(result.failures, now_ms)
        chunks = tuple(self._part(chunk, now_ms) for chunk in result.batch.chunks)
        if all(new is old for new, old in zip(chunks, result.batch.chunks, strict=True)):
            return result if failures is result.failures else replace(result, failures=failures)
        return replace(result, batch=replace(result.batch, chunks=chunks), failures=failures)

    def _part(self, part: BatchPart, now_ms: int) -> BatchPart:
        if isinstance(part, WindowChunk):
            return self._window_chunk(part, now_ms)
        assert isinstance(part, Chunk)
        ids = self._texts(part.ids if type(part.ids) is list else list(part.ids), Place.IDS, now_ms)
        messages = self._messages([rejection.message for rejection in part.rejections], now_ms)
        if not ids and not messages:
            return part
        new_ids = [ids.get(row, text) for row, text in enumerate(part.ids)] if ids else part.ids
        rejections: Sequence[Rejection] = part.rejections
        if messages:
            rejections = [
                replace(rejection, message=messages.get(row, rejection.message))
                for row, rejection in enumerate(rejections)
            ]
        return replace(part, ids=new_ids, rejections=rejections)

    def _window_chunk(self, chunk: WindowChunk, now_ms: int) -> WindowChunk:
        """Return a chunk with protected keys of windows, which are part of their ids, and of ids and messages of events."""
        keys = self._protector.values([window.key for window in chunk.windows], Place.KEYS, now_ms=now_ms)
        refused = chunk.events.refused
        messages = self._messages([event.message for event in refused], now_ms)
        ids = self._texts([event.id or "" for event in refused], Place.IDS, now_ms)
        accepted = self._accepted(chunk.events.events, now_ms)
        if not keys and not messages and not ids and accepted is chunk.events.events:
            return chunk
        windows = list(chunk.windows)
        for row, key in keys.items():
            windows[row] = copy(windows[row])
            windows[row].key = key or b""
        events: Sequence[RefusedEvent] = [
            replace(event, message=messages.get(row, event.message), id=ids.get(row, event.id))
            for row, event in enumerate(refused)
        ]
        return replace(chunk, windows=windows, events=EventOutcomes(chunk.events.accepted, events, accepted))

    def _accepted(self, events: AcceptedEvents | None, now_ms: int) -> AcceptedEvents | None:
        """Return accepted events with protected ids; the same ones if nothing was found."""
        if events is None:
            return None
        ids = self._texts(list(events.ids), Place.IDS, now_ms)
        if not ids:
            return events
        return events._replace(ids=[ids.get(row, text) for row, text in enumerate(events.ids)])

    def _messages(self, messages: Sequence[str], now_ms: int) -> dict[int, str]:
        return self._texts(messages, Place.ERRORS, now_ms)

    def _texts(self, texts: Sequence[str], place: Place, now_ms: int) -> dict[int, str]:
        """Return the texts that change, in a place where none is dropped."""
        changed = self._protector.texts(texts, place, now_ms=now_ms)
        return {row: text for row, text in changed.items() if text is not None}

    def _failures(self, failures: Mapping[int, RowFailure], now_ms: int) -> dict[int, RowFailure]:
        rows = list(failures)
        messages = self._messages([failures[row].message for row in rows], now_ms)
        stacks = self._messages([failures[row].stack or "" for row in rows], now_ms)
        if not messages and not stacks:
            return failures  # type: ignore[return-value]
        return {
            row: replace(
                failures[row],
                message=messages.get(index, failures[row].message),
                stack=stacks.get(index, failures[row].stack),
            )
            for index, row in enumerate(rows)
        }

    # ---- the finished records

    def _protect_predictions(self, outgoing: Outgoing, rows: range, max_bytes: int, now_ms: int) -> None:
        changed = self._protect_keys(outgoing, rows, Place.KEYS, now_ms)
        changed |= self._protect_headers(outgoing, rows, Place.HEADERS, now_ms)
        for row in changed:
            if _size(outgoing, row) > max_bytes:
                outgoing.headers[row] = [header for header in outgoing.headers[row] if header[0] == names.CONTENT_TYPE]
            if _size(outgoing, row) > max_bytes:
                outgoing.keys[row] = None

    def _protect_keys(self, outgoing: Outgoing, rows: range, place: Place, now_ms: int) -> set[int]:
        """Protect keys, and return the rows whose keys change."""
        changed = self._protector.values([outgoing.keys[row] or b"" for row in rows], place, now_ms=now_ms)
        for index, key in changed.items():
            outgoing.keys[rows[index]] = key
        return {rows[index] for index in changed}

    def _protect_headers(self, outgoing: Outgoing, rows: range, place: Place, now_ms: int) -> set[int]:
        """Protect the headers of events, also their names, and return the rows whose headers change."""
        # In dead letters, the worker's own reasons have been protected before, and events have none of these names.
        places = [
            (row, index)
            for row in rows
            for index, (name, _) in enumerate(outgoing.headers[row])
            if place is not Place.DEAD_LETTERS or not name.lower().startswith(names.ERROR_PREFIX)
        ]
        if not places:
            return set()
        pairs = [outgoing.headers[row][index] for row, index in places]
        hints = [name for name, _ in pairs]
        searched = [value if value and len(value) <= MAX_VALUE_BYTES else b"" for _, value in pairs]
        values = self._protector.values(searched, place, now_ms=now_ms, hints=hints)
        values |= {number: None for number, (_, value) in enumerate(pairs) if value and len(value) > MAX_VALUE_BYTES}
        new_names = self._protector.texts(hints, place, now_ms=now_ms)
        changed: dict[int, list[tuple[str, bytes] | None]] = {}
        for number in sorted(values.keys() | new_names.keys()):
            row, index = places[number]
            headers = changed.setdefault(row, list(outgoing.headers[row]))
            name, value = new_names.get(number, hints[number]), values.get(number, pairs[number][1])
            headers[index] = None if name is None or value is None else (name, value)
        for row, new_headers in changed.items():
            outgoing.headers[row] = [header for header in new_headers if header is not None]
        return set(changed)

    def _protect_letters(self, outgoing: Outgoing, rows: range, max_bytes: int, now_ms: int) -> None:
        """Protect dead letters as the policy says, and mark those that no longer hold the event as it was."""
        if self._documents is None:
            return
        place = Place.DEAD_LETTERS
        originals = {row: outgoing.values[row] for row in rows}
        with_value = [row for row, value in originals.items() if value]
        changed = self._documents.values([originals[row] or b"" for row in with_value], place, now_ms=now_ms)
        marked = self._protect_keys(outgoing, rows, place, now_ms)
        marked |= self._protect_headers(outgoing, rows, place, now_ms)
        for index, value in changed.items():
            outgoing.values[with_value[index]] = value
            marked.add(with_value[index])
        for row in marked:
            value = outgoing.values[row]
            outgoing.values[row] = value and _TOKEN.sub(REMOVED_TOKEN, value)
            headers = [header for header in outgoing.headers[row] if header[0] != names.ERROR_TRUNCATED]
            outgoing.headers[row] = [*headers, (names.ERROR_TRUNCATED, MASKED % len(originals[row] or b""))]
            if _size(outgoing, row) > max_bytes:
                outgoing.values[row] = None
            if _size(outgoing, row) > max_bytes:
                own = [header for header in outgoing.headers[row] if header[0].startswith(names.ERROR_PREFIX)]
                outgoing.headers[row] = own
            if _size(outgoing, row) > max_bytes:
                outgoing.keys[row] = None


def slices_by_bytes(outgoing: Outgoing, *, with_values: bool) -> Iterator[range]:
    """Yield ranges of rows whose searched texts have about `SLICE_BYTES` together, and at least one row each."""
    first, size = 0, 0
    for row, headers in enumerate(outgoing.headers):
        size += len(outgoing.keys[row] or b"") + sum(len(name) + len(value or b"") for name, value in headers)
        size += len(outgoing.values[row] or b"") if with_values else 0
        if size >= SLICE_BYTES:
            yield range(first, row + 1)
            first, size = row + 1, 0
    if first < len(outgoing.headers):
        yield range(first, len(outgoing.headers))


def _size(outgoing: Outgoing, row: int) -> int:
    return record_size(outgoing.keys[row], outgoing.values[row], outgoing.headers[row])


def read_names(text: bytes) -> list[str]:
    """Return the names of a list, one a line."""
    return [line.strip() for line in text.decode("utf-8", UNDECODABLE).splitlines() if line.strip()]
