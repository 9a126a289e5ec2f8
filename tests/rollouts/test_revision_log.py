"""The first successor in log order is valid, whatever the interleaving of its authors."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.schemas.errors import DataError
from forebay.stream.rollouts.changes import promote
from forebay.stream.rollouts.revision import Revision, initial_revision
from forebay.stream.rollouts.revision_log import RevisionLog
from forebay.stream.rollouts.wire import NEWER_FORMAT
from tests.rollouts.build import MODEL, configured, proposal


def add(log: RevisionLog, revision: Revision, offset: int) -> Revision | None:
    key, value = revision.encode()
    return log.add(key, value, offset=offset, timestamp_ms=offset * 1000)


def test_without_records_only_the_configuration_applies() -> None:
    log = RevisionLog()
    assert log.current(MODEL) is None and log.number(MODEL) == 0
    assert log.history(MODEL) == [] and log.models() == []


def test_the_first_of_two_successors_is_valid() -> None:
    log = RevisionLog()
    first, second = promote(configured(), 2, proposal()), promote(configured(), 3, proposal())
    assert add(log, first, 4) == first
    assert add(log, second, 5) is None
    assert log.current(MODEL) == first
    assert [(entry.revision, entry.offset, entry.timestamp_ms, entry.accepted) for entry in log.history(MODEL)] == [
        (first, 4, 4000, True),
        (second, 5, 5000, False),
    ]
    assert log.revision(MODEL, 1) == first and log.revision(MODEL, 2) is None


def test_models_do_not_affect_each_other() -> None:
    log = RevisionLog()
    for offset, name in enumerate(["fraud", "churn"]):
        add(log, promote(initial_revision(name, 1), 2, proposal()), offset)
    assert log.models() == ["churn", "fraud"]
    assert log.number("fraud") == log.number("churn") == 1


def test_a_record_that_was_read_before_changes_nothing() -> None:
    log = RevisionLog()
    first = promote(configured(), 2, proposal())
    add(log, first, 4)
    assert add(log, first, 4) is None
    assert len(log.history(MODEL)) == 1


def test_a_record_that_is_not_a_revision_is_kept_aside() -> None:
    log = RevisionLog()
    assert log.add(b"fraud", b"hello", offset=0, timestamp_ms=5) is None
    assert log.add(None, None, offset=1, timestamp_ms=6) is None
    first = promote(configured(), 2, proposal())
    assert add(log, first, 2) == first
    assert [(record.offset, record.timestamp_ms) for record in log.invalid] == [(0, 5), (1, 6)]
    assert "revision of model 'fraud'" in log.invalid[0].reason


def test_a_later_format_is_an_error_until_it_can_be_read() -> None:
    log = RevisionLog()
    for _ in range(2):  # reading it again does not skip it
        with pytest.raises(DataError, match=r"record at offset 3 of the rollouts topic: .* format 9") as refused:
            log.add(b"fraud", b'{"format":9}', offset=3, timestamp_ms=0)
        assert refused.value.kind == NEWER_FORMAT


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_under_every_interleaving_exactly_one_author_wins_each_revision(data: st.DataObject) -> None:
    """Authors read the log at any time and append at any later time; every reader finds the same chain."""
    records: list[Revision] = []
    logs = [RevisionLog() for _ in range(3)]  # each author's own view
    read = [0, 0, 0]
    pending: list[Revision | None] = [None, None, None]
    reference = RevisionLog()
    for _ in range(data.draw(st.integers(1, 30))):
        author = data.draw(st.integers(0, 2))
        match data.draw(st.sampled_from(["read", "decide", "append"])):
            case "read":
                upto = data.draw(st.integers(read[author], len(records)))
                for offset in range(read[author], upto):
                    add(logs[author], records[offset], offset)
                read[author] = upto
            case "decide":
                base = logs[author].current(MODEL) or configured()
                pending[author] = promote(base, base.stable + 1, proposal(author=str(author)))
            case "append":
                if (revision := pending[author]) is not None:
                    accepted = add(reference, revision, len(records))
                    # It wins exactly if no other record followed the same revision before it.
                    taken = any(
                        entry.number == revision.number and entry.based_on == revision.based_on for entry in records
                    )
                    assert (accepted is not None) == (not taken)
                    records.append(revision)
                    pending[author] = None
    for author in range(3):
        for offset in range(read[author], len(records)):
            add(logs[author], records[offset], offset)
        assert logs[author].current(MODEL) == reference.current(MODEL)
        assert logs[author].history(MODEL) == reference.history(MODEL)
    chain = [entry.revision.number for entry in reference.history(MODEL) if entry.accepted]
    assert chain == list(range(1, len(chain) + 1))
