"""Polls of mutated records, and what is asserted of each."""

from __future__ import annotations

import time
import traceback
from collections import Counter
from collections.abc import Sequence

import numpy as np

from forebay.schemas.definitions import MAX_TIMESTAMP_MS
from forebay.schemas.failures import FailureKind
from forebay.stream.core.records import Chunk, TopicPartition
from forebay.stream.decode.validator import InvalidEvent
from tests.core.build import EPOCH, JULY, FakeRecord
from tests.fuzz.payloads.columns import check_columns
from tests.fuzz.payloads.mutation import Draws, mutated
from tests.fuzz.payloads.outcomes import Tally
from tests.fuzz.payloads.target import TOPIC, NotCompared, Sample, Target, TargetDecoder, TargetFormat

RECORDS_OF_A_POLL = 256
MAX_MESSAGE = 2000
MAX_POLL_S = 5.0
"""CPU time of a poll, in which an event that takes absurdly long is noticed."""
EXACT_SHARE = 8
"""The exact path is compared in one poll of this many."""


def make_poll(target: Target, seed: int, number: int, size: int = RECORDS_OF_A_POLL) -> list[FakeRecord]:
    """Return a poll: the same one for the same target, seed and number."""
    draws = Draws(np.random.default_rng([seed, number, *target.name.encode()]))
    values = [sample.value for sample in target.samples]
    return [_record(offset, draws.choice(target.samples), values, draws) for offset in range(size)]


def _record(offset: int, sample: Sample, values: Sequence[bytes], draws: Draws) -> FakeRecord:
    value, headers, key, timestamp = sample.value, sample.headers, sample.key, JULY
    what = draws.below(32)
    if what >= 3:  # the others stay valid, so that neighbours of rows are rejected
        keep = sample.framing if what < 30 else 0
        value = value[:keep] + mutated(value[keep:], values, draws)
        if sample.repair is not None and what < 26:
            value = sample.repair(value)
    elif what == 1:
        changed = draws.below(len(headers) + 1)
        headers = tuple(
            (name, mutated(content, (b"", *values), draws)[:200] if index == changed else content)
            for index, (name, content) in enumerate(headers)
        )
        key = None if draws.below(2) else mutated(key or b"k", values, draws)[:100]
        timestamp = (JULY, -1, 0, MAX_TIMESTAMP_MS, MAX_TIMESTAMP_MS + 1)[draws.below(5)]
    return FakeRecord(offset, value, timestamp=timestamp, key=key, headers=headers)


def check_poll(
    target: Target,
    of: TargetDecoder | TargetFormat,
    records: Sequence[FakeRecord],
    tally: Tally,
    *,
    exact: bool = True,
) -> str | None:
    """Decode a poll. Return what is wrong; None if all is as it should be.

    exact: whether to compare with the exact path, which takes longer.
    """
    if isinstance(of, TargetFormat):
        problem, elapsed = check_columns(of, [record.value or b"" for record in records], tally, exact=exact)
    else:
        problem, elapsed = _check_decoder(target, of, records, tally, exact=exact)
    tally.add_time(elapsed)
    if problem is None and elapsed > MAX_POLL_S:
        return f"decoding took {elapsed:.1f} s for {len(records)} records"
    return problem


def _check_decoder(
    target: Target, of: TargetDecoder, records: Sequence[FakeRecord], tally: Tally, *, exact: bool
) -> tuple[str | None, float]:
    """Return what is wrong, and the time of the decoder."""
    partition = TopicPartition(TOPIC, 0)
    began = time.process_time()
    try:
        chunks = of.decoder.decode({partition: records}, EPOCH)
    except Exception:
        return f"the decoder raised: {traceback.format_exc(limit=-6)}", 0.0
    elapsed = time.process_time() - began
    problem = _check_outcomes(target, records, chunks) or next(filter(None, map(_ChunkCheck(of), chunks)), None)
    if problem is None and exact and of.exact is not None:
        problem = _check_exact(of, records, chunks)
    for chunk in chunks:
        tally.rows += chunk.num_rows
        tally.kinds["row"] += len({record.offset for record in chunk.records})
        tally.kinds.update(rejection.kind.value for rejection in chunk.rejections)
    return problem, elapsed


def _check_outcomes(target: Target, records: Sequence[FakeRecord], chunks: Sequence[Chunk]) -> str | None:
    rows = [record.offset for chunk in chunks for record in chunk.records]
    rejected = [rejection.record.offset for chunk in chunks for rejection in chunk.rejections]
    if target.has_many_rows:
        outcomes = set(rows) | set(rejected)
    else:
        outcomes = Counter(rows + rejected)
        if twice := [offset for offset, count in outcomes.items() if count > 1]:
            return f"offset {twice[0]} has several outcomes"
    if lost := {record.offset for record in records} ^ set(outcomes):
        return f"offset {min(lost)} has no outcome, or was not in the poll"
    return None


class _ChunkCheck:
    """Checks what a chunk contains."""

    def __init__(self, of: TargetDecoder) -> None:
        signature = of.model.signature
        self._num_features = signature.num_features
        nullable = [feature.nullable for feature in signature.column_features] or [False] * self._num_features
        self._required = ~np.array(nullable, dtype=bool)

    def __call__(self, chunk: Chunk) -> str | None:
        x_BF, rows = chunk.x_BF, chunk.num_rows
        if x_BF.shape != (rows, self._num_features) or x_BF.dtype != np.float32:
            return f"x_BF is {x_BF.dtype} {x_BF.shape} for {rows} rows of {self._num_features} values"
        if np.isinf(x_BF).any() or np.isnan(x_BF[:, self._required]).any():
            return "x_BF has infinite or missing values that the signature does not allow"
        if len(chunk.ids) != rows or len(chunk.timestamps) != rows:
            return f"{len(chunk.ids)} ids and {len(chunk.timestamps)} timestamps for {rows} rows"
        for event_id, timestamp in zip(chunk.ids, chunk.timestamps, strict=True):
            if type(event_id) is not str or not event_id:
                return f"an id is {event_id!r}"
            if type(timestamp) is not int or not 0 <= timestamp <= MAX_TIMESTAMP_MS:
                return f"a timestamp is {timestamp!r}"
        for rejection in chunk.rejections:
            message = rejection.message
            if not isinstance(rejection.kind, FailureKind) or not message or len(message) > MAX_MESSAGE:
                return f"a rejection is {rejection.kind!r} with {len(message)} characters"
            if "MemoryError" in message or "RecursionError" in message:
                return f"a rejection hides an error: {message[:200]}"
        return None


def _check_exact(of: TargetDecoder, records: Sequence[FakeRecord], chunks: Sequence[Chunk]) -> str | None:
    """Compare with what the exact path says of each record."""
    assert of.exact is not None
    found_of: dict[int, object] = {
        rejection.record.offset: rejection.kind for chunk in chunks for rejection in chunk.rejections
    }
    found_of |= {
        record.offset: (event_id, timestamp, x_F.tobytes())
        for chunk in chunks
        for record, event_id, timestamp, x_F in zip(chunk.records, chunk.ids, chunk.timestamps, chunk.x_BF, strict=True)
    }
    for record in records:
        found = found_of.get(record.offset)
        expected: object
        try:
            expected = of.exact(record, TOPIC)
        except InvalidEvent as fault:
            expected = fault.kind
        except NotCompared:
            continue
        except Exception:
            return f"the exact path raised for offset {record.offset}: {traceback.format_exc(limit=-6)}"
        if found != expected:
            return f"offset {record.offset}: the decoder says {str(found)[:300]}, the exact path {str(expected)[:300]}"
    return None
