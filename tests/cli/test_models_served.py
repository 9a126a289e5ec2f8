"""Which versions could have served at an offset or a time."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console, RenderableType

from forebay.schemas.errors import ConfigError
from forebay.stream.cli.models_history_render import entry_text, position_text, revisions_table, time_table
from forebay.stream.cli.models_served import ServedHistory, parse_position
from forebay.stream.core.records import TopicPartition
from forebay.stream.rollouts import changes
from forebay.stream.rollouts.revision_log import RevisionLog
from forebay.stream.rollouts.switch_log import Switch, SwitchLog
from tests.cli.revisions import MODEL, NOON_MS, configured, log_of, promoted, proposal, with_canary

P0, P1 = TopicPartition("features", 0), TopicPartition("features", 1)
CANARY = with_canary(weight=20)
PROMOTION = changes.promote(CANARY, 4, proposal(2))


def switch(partition: TopicPartition, revision: int, offset: int, minute: int) -> Switch:
    return Switch(
        MODEL, *partition, revision=revision, first_offset=offset, switched_ms=NOON_MS + minute * 60_000, worker="w1"
    )


def history(revisions: RevisionLog | None = None) -> ServedHistory:
    """Return a history in which partition 0 has switched twice, and partition 1 once."""
    switches = SwitchLog()
    for each in (switch(P0, 1, 100, 1), switch(P1, 1, 40, 2), switch(P0, 2, 200, 3)):
        switches.add(each)
    return ServedHistory(MODEL, log_of(CANARY, PROMOTION) if revisions is None else revisions, switches, configured=9)


def text(output: RenderableType) -> str:
    out = io.StringIO()
    Console(file=out, width=1000, no_color=True).print(output)
    return out.getvalue()


@pytest.mark.parametrize(
    ("offset", "revision", "shares"),
    [(99, 0, [(3, 100)]), (100, 1, [(3, 80), (4, 20)]), (199, 1, [(3, 80), (4, 20)]), (200, 2, [(4, 100)])],
)
def test_the_switch_offsets_decide(offset: int, revision: int, shares: list[tuple[int, float]]) -> None:
    served = history().at_offset(P0, offset)
    assert (served.revision.number, served.shares()) == (revision, shares)


def test_a_routing_key_decides_for_one_version() -> None:
    served = history().at_offset(P0, 150)
    versions = {served.version_of(f"key-{number}".encode()) for number in range(50)}
    assert versions == {3, 4}
    assert f"version {served.version_of(b'key-1')}, by its routing key" in text(
        position_text(served, 150, 300, b"key-1")
    )


def test_each_partition_has_its_own_time() -> None:
    at = history().at_time([P0, P1, TopicPartition("features", 2)], NOON_MS + 150_000)
    assert [(each.partition.partition, each.revision.number) for each in at] == [(0, 1), (1, 1), (2, 0)]
    later = history().at_time([P0, P1], NOON_MS + 200_000)
    lines = text(time_table(later, None)).splitlines()
    assert re.split(r"  +", lines[2].strip())[:3] == ["features 0", "2", "4 (100 %)"]
    assert re.split(r"  +", lines[3].strip())[:3] == ["features 1", "1", "3 (80 %), 4 (20 %)"]


def test_revision_0_is_what_the_first_revision_changed() -> None:
    assert history().initial_version() == 3
    assert history(log_of(promoted())).initial_version() == 3
    assert history(log_of()).initial_version() == 9


def test_an_event_that_is_not_committed_has_not_been_predicted() -> None:
    served = history().at_offset(P0, 250)
    assert "has not been predicted yet: the group has committed up to offset 250 there" in text(
        position_text(served, 250, 250, None)
    )
    assert "the group has committed nothing there" in text(position_text(served, 250, None, None))
    shown = text(position_text(served, 250, 251, None))
    assert shown.startswith("features:0@250 was routed by:") and "from offset 200 on" in shown
    assert "revision 0, the configuration" in text(position_text(history().at_offset(P0, 1), 1, 2, None))


def test_the_document_states_shares_and_switch() -> None:
    document = history().at_offset(P0, 150).to_dict(b"k")
    assert document["versions"] == [{"version": 3, "weight": 80.0}, {"version": 4, "weight": 20.0}]
    assert (document["revision"], document["first_offset"], document["worker"]) == (1, 100, "w1")
    assert document["version"] in (3, 4) and "version" not in history().at_offset(P0, 150).to_dict(None)


@pytest.mark.parametrize(
    "text", ["features:3@12", "features-3@12", "features:3:12", "t-features:3@12", " features:3@12 "]
)
def test_a_position_is_parsed_with_or_without_the_prefix(text: str) -> None:
    assert parse_position(text, prefix="t-", topics=["features"]) == (TopicPartition("t-features", 3), 12)


@pytest.mark.parametrize(
    "text", ["features", "features:3", "features:x@1", "features:3@-1", "other:3@1", "", "a b:1@2"]
)
def test_a_position_that_is_not_of_an_event_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--position"):
        parse_position(text, prefix="t-", topics=["features"])


def test_the_table_shows_refused_records_with_the_winner() -> None:
    lost = changes.promote(configured(), 5, proposal(1, author="ben@desk", id="other"))
    entries = log_of(CANARY, lost, PROMOTION).history(MODEL)
    lines = text(revisions_table(entries)).splitlines()
    assert [re.split(r"  +", line.strip())[0] for line in lines[2:]] == ["2", "1", "1"]
    assert re.search(r"refused: ana@desk was first +ben@desk", lines[3])
    assert re.search(r"accepted +ana@desk", lines[4])
    assert "another revision came first" in text(entry_text(entries[1]))


def test_one_revision_is_shown_with_its_evidence() -> None:
    back = changes.rollback(CANARY, 3, proposal(2, automatic=True, evidence={"failures": 0.03, "text": "\x1b"}))
    shown = text(entry_text(log_of(CANARY, back).history(MODEL)[1]))
    assert '"failures": 0.03' in shown and "\x1b" not in shown and f"version 3  sha256 {3:064x}" in shown
