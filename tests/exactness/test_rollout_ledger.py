"""The check of rollouts finds what it is to find: each kind of violation is one in a small history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from xxhash import xxh3_64_intdigest

from forebay.schemas import headers as names
from forebay.stream.core.outputs import Headers
from tests.exactness.feed import ID_HEADER, KIND_HEADER
from tests.exactness.linear_versions import MODEL, OFFSET, weighted
from tests.exactness.rollout_ledger import RolloutLedger
from tests.exactness.rollout_replay import Record, Replay

SEED = 5
CANARY_KEY = next(key for key in (b"key-%d" % n for n in range(99)) if xxh3_64_intdigest(key, SEED) % 10_000 < 5000)
STABLE_KEY = next(key for key in (b"key-%d" % n for n in range(99)) if xxh3_64_intdigest(key, SEED) % 10_000 >= 5000)
FEATURES = [1.0, 2.0, 3.0, 4.0]


def revision(
    number: int,
    stable: int,
    *,
    canary: int | None = None,
    based_on: int | None = None,
    route_by: str | None = None,
) -> Record:
    canaries = [] if canary is None else [{"version": canary, "slots": [[0, 5000]]}]
    document = {
        "number": number,
        "based_on": number - 1 if based_on is None else based_on,
        "stable": stable,
        "canaries": canaries,
        "seed": SEED,
        "route_by": route_by,
    }
    return MODEL.encode(), orjson.dumps(document)


def switch(number: int, first_offset: int) -> Record:
    document = {"partition": 0, "revision": number, "first_offset": first_offset}
    return MODEL.encode(), orjson.dumps(document)


REVISIONS = (revision(1, 1, canary=2), revision(1, 7), revision(2, 2), revision(9, 3), (b"other", b"{}"))
SWITCHES = (switch(1, 10), switch(2, 20))


def replay(switches: Sequence[Record] = SWITCHES) -> Replay:
    return Replay(MODEL, 1, revisions=REVISIONS, switches=switches)


@dataclass(frozen=True, slots=True)
class Read:
    """A record as a consumer returns it."""

    topic: str
    offset: int
    key: bytes | None
    value: bytes
    headers: Headers = field(default_factory=list)
    partition: int = 0


def event(offset: int, key: bytes) -> Read:
    return Read("features", offset, key, orjson.dumps({"id": f"e{offset}", "features": FEATURES, "customer": "c"}))


def garbage(offset: int, key: bytes = STABLE_KEY) -> Read:
    return Read("features", offset, key, b"", headers=[(ID_HEADER, b"g"), (KIND_HEADER, b"empty_value")])


def prediction(offset: int, key: bytes, version: int, *, score: float | None = None, partition: int = 0) -> Read:
    value = OFFSET * version + weighted(FEATURES) if score is None else score
    document: dict[str, Any] = {
        "source": {"partition": 0, "offset": offset},
        "version": version,
        "prediction": [value],
    }
    return Read("predictions", 100 + offset, key, orjson.dumps(document), partition=partition)


def letter(offset: int, kind: str = "empty_value", version: int = 1, *, key: bytes = STABLE_KEY) -> Read:
    values = {
        names.ERROR_PARTITION: "0",
        names.ERROR_OFFSET: str(offset),
        names.ERROR_KIND: kind,
        names.ERROR_VERSION: str(version),
    }
    return Read("dead-letters", offset, key, b"", headers=[(name, text.encode()) for name, text in values.items()])


def test_the_replay_takes_the_first_successor_and_the_last_switch_before_an_offset() -> None:
    history = replay()
    assert history.refused == 2 and len(history.revisions) == 3 and not history.faults
    assert [history.revision_at(0, offset) for offset in (0, 9, 10, 19, 20, 99)] == [0, 0, 1, 1, 2, 2]
    assert history.revision_at(1, 99) == 0
    assert [history.version_of(number, CANARY_KEY) for number in (0, 1, 2)] == [1, 2, 2]
    assert [history.version_of(number, STABLE_KEY) for number in (0, 1, 2)] == [1, 1, 2]
    assert history.version_of(1, None) == 1


@pytest.mark.parametrize("switches", [(switch(2, 10), switch(1, 20)), (switch(1, 20), switch(2, 10))])
def test_the_replay_finds_a_partition_that_goes_back(switches: Sequence[Record]) -> None:
    assert len(replay(switches).faults) == 1


def ledger() -> RolloutLedger:
    found = RolloutLedger(replay(), {0: 30})
    for read in (
        event(0, CANARY_KEY),
        event(10, CANARY_KEY),
        event(11, STABLE_KEY),
        garbage(12),
        event(20, STABLE_KEY),
    ):
        found.add_event(read)
    return found


GOOD = (prediction(0, CANARY_KEY, 1), prediction(10, CANARY_KEY, 2), prediction(11, STABLE_KEY, 1))
LAST = prediction(20, STABLE_KEY, 2)


def test_a_good_history_has_no_faults() -> None:
    found = ledger()
    for read in (*GOOD, LAST):
        found.add_prediction(read)
    found.add_letter(letter(12))
    assert found.faults() == []
    assert found.num_events == 5 and found.num_divided() == 1
    assert found.by_version == {1: 2, 2: 2} and found.letters == {"empty_value": 1}


@pytest.mark.parametrize(
    ("predictions", "letters", "fault"),
    [
        (GOOD, [letter(12)], "event 0@20 has no outcome"),
        ((*GOOD, LAST, LAST), [letter(12)], "event 0@20 has several outcomes"),
        ((*GOOD, prediction(20, STABLE_KEY, 1)), [letter(12)], "version 1, but revision 2 gives version 2"),
        ((*GOOD, prediction(20, STABLE_KEY, 2, score=1.0)), [letter(12)], "is not what version 2 gives"),
        ((*GOOD, prediction(20, STABLE_KEY, 2, partition=1)), [letter(12)], "is not in the partition of its event"),
        ((*GOOD, LAST, prediction(21, STABLE_KEY, 2)), [letter(12)], "is of no committed event"),
        ((*GOOD, LAST, prediction(12, b"z", 1)), [], "is of garbage"),
        ((GOOD[1], GOOD[0], GOOD[2], LAST), [letter(12)], "is out of order"),
        ((*GOOD, LAST), [letter(12, "not_json")], "rejected as not_json, expected empty_value"),
        ((*GOOD, LAST), [letter(12, version=2)], "by version b'2', not 1"),
    ],
)
def test_each_violation_is_found(predictions: Sequence[Read], letters: Sequence[Read], fault: str) -> None:
    found = ledger()
    for read in predictions:
        found.add_prediction(read)
    for read in letters:
        found.add_letter(read)
    assert any(fault in text for text in found.faults()), found.faults()


@pytest.mark.parametrize(("version", "faults"), [(2, 0), (1, 1)])
def test_a_rejected_event_without_the_field_goes_by_its_record_key(version: int, faults: int) -> None:
    revisions = (revision(1, 1, canary=2, route_by="customer"),)
    found = RolloutLedger(Replay(MODEL, 1, revisions=revisions, switches=(switch(1, 10),)), {0: 13})
    found.add_event(garbage(12, CANARY_KEY))
    found.add_letter(letter(12, version=version, key=CANARY_KEY))
    assert len(found.faults()) == faults
