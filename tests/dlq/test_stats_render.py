"""Counts of dead letters, and the terminal output of `forebay dlq`."""

from __future__ import annotations

import io

import pytest
from rich.console import Console, RenderableType

from forebay.schemas.failures import FailureKind
from forebay.stream.core.records import TopicPartition
from forebay.stream.dlq.render import dead_letter_text, list_table, replay_table, stats_text
from forebay.stream.dlq.replay import ReplayProgress
from forebay.stream.dlq.replay_plan import ReplayPlan, ReplayPlanner, SkipReason
from forebay.stream.dlq.stats import Stats
from forebay.stream.terminal.console import plain_table
from tests.core.build import JULY
from tests.dlq.build import make_dead_letter

F32 = ("content-type", b"application/x-forebay-f32")


def shown(renderable: RenderableType, width: int = 100) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width, highlight=False)
    # As `print_whole` does.
    console.width = max(width, console.measure(renderable, options=console.options.update(max_width=10_000)).maximum)
    console.print(renderable)
    return out.getvalue()


def counted() -> Stats:
    stats = Stats()
    for number in range(3):
        stats.add(make_dead_letter(number, timestamp=JULY + 1000 * number))
    stats.add(make_dead_letter(kind=FailureKind.MODEL_ERROR, model="late", headers=[("forebay.replay.count", b"1")]))
    stats.add(
        make_dead_letter(
            kind=FailureKind.TOO_LARGE, value=b"x" * 5000, max_bytes=1000, source=TopicPartition("other", 0)
        )
    )
    return stats


def test_counts_by_kind_stage_model_and_topic() -> None:
    document = counted().to_dict()
    assert (document["letters"], document["truncated"], document["replayed"]) == (5, 1, 1)
    assert (document["first_seen"], document["last_seen"]) == (JULY, JULY + 2000)
    kinds = document["kinds"]
    assert isinstance(kinds, list)
    assert kinds[0] == {"kind": "not_json", "count": 3, "share": 0.6, "first_seen": JULY, "last_seen": JULY + 2000}
    assert [entry["kind"] for entry in kinds] == ["not_json", "model_error", "too_large"]
    assert [(entry["model"], entry["count"]) for entry in document["models"]] == [(None, 4), ("late v2", 1)]  # type: ignore[attr-defined]
    assert [(entry["topic"], entry["count"]) for entry in document["topics"]] == [("features", 4), ("other", 1)]  # type: ignore[attr-defined]
    assert {**Stats().to_dict(), "kinds": None}["letters"] == 0


def test_counts_are_shown_as_a_table() -> None:
    text = shown(stats_text(counted(), "dead-letters"))
    assert text.startswith("5 dead letters in dead-letters, from 2013-")
    assert "not_json              3  60.0%  ████████████" in text
    assert "1 failed again after a replay; 1 with a cut value, which cannot be replayed" in text
    assert max(map(len, text.splitlines())) <= 100


def test_the_list_has_one_line_per_dead_letter_within_the_width() -> None:
    long = make_dead_letter(
        3, key=b"\x1b[2J" + b"k" * 100, message="m" * 500, source=TopicPartition("a-rather-long-name" * 4, 12)
    )
    for width in (70, 80, 100, 160):
        lines = shown(list_table([make_dead_letter(), long], width), width).splitlines()
        assert len(lines) == 4 and "\x1b" not in "".join(lines)
        assert "-12@42" in lines[3] and "…" in lines[3]
        assert all(len(line.rstrip()) <= max(width, 75) for line in lines)
    assert "m" * 119 + "…" in shown(list_table([long], None))


def test_a_dead_letter_is_shown_in_full() -> None:
    headers = [("tenant", b"x"), ("forebay.replay.count", b"2"), ("forebay.replay.from", b"dead-letters-0@3")]
    text = shown(dead_letter_text(make_dead_letter(headers=headers, model="late"), max_bytes=4096))
    for words in (
        "dead-letters-0@7, written 2013-",
        "not_json at decode, rejected",
        "no JSON",
        "the value is not a JSON document",
        "check the producer's serializer",
        "late v2",
        "features-1@42, of 20",
        "2 times, last from dead-letters-0@3",
        "tenant = x",
        "42 bytes, JSON",
        '  "id": "e1",',
    ):
        assert words in text, words


def test_values_that_are_not_json_are_shown_as_text_or_hex() -> None:
    def text(value: bytes | None, *headers: tuple[str, bytes], max_bytes: int = 4096) -> str:
        return shown(dead_letter_text(make_dead_letter(value=value, headers=headers), max_bytes=max_bytes))

    assert "value    (none)" in text(None) and "0 bytes" in text(b"")
    assert "1 byte, text" in text(b"x")
    assert "{oh \\x1b[2J" in text(b"{oh \x1b[2J\nno")
    assert "00000010  ff 00" in text(b"0123456789abcdef\xff\x00") and "not UTF-8" in text(b"\xff")
    assert "00000000  00 00 80 3f" in text(b"\0\0\x80\x3f", F32) and "float32" in text(b"\0\0\x80\x3f", F32)
    cut = text("ä".encode() * 50, max_bytes=9)
    assert "100 bytes, text, the first 9 shown" in cut and "ääää\n" in cut
    assert "--max-bytes" in text(b'{"id":"' + b"x" * 500 + b'"}', max_bytes=50)


@pytest.mark.parametrize("depth", [255, 300, 1000])
def test_deep_json_is_shown_as_text(depth: int) -> None:
    value = b"[" * depth + b"]" * depth
    assert f"{2 * depth:,} bytes, text" in shown(dead_letter_text(make_dead_letter(value=value), max_bytes=4096))


def test_a_kind_of_a_later_version_is_shown_as_unknown() -> None:
    from dataclasses import replace

    assert "unknown kind, written by a later version" in shown(
        dead_letter_text(replace(make_dead_letter(), kind="haunted"), max_bytes=10)
    )


def test_the_plan_and_the_result_of_a_replay_are_shown() -> None:
    planner = ReplayPlanner()
    for number in range(3):
        planner.add(make_dead_letter(number), None)
    planner.add(make_dead_letter(9), SkipReason.TRUNCATED)
    planner.add_to_history(make_dead_letter(1, headers=[("forebay.replay.from", b"dead-letters-0@0")]))
    plan: ReplayPlan = planner.finish(2, max_replays=3)
    before = shown(replay_table(plan, None))
    assert "note 1 the headers state a replay, but no earlier dead letter of the same event exists" in " ".join(
        before.split()
    )
    assert "would replay" in before and "beyond --limit" in before and "truncated: the value was cut" in before
    done = ReplayProgress(sent=1, delivered=1)
    done.topics["features"] = 1
    after = shown(replay_table(plan, done))
    assert "replayed 1 to features" in " ".join(after.split()) and "gone: the dead letter was removed" in after


def test_numbers_are_right_aligned() -> None:
    table = plain_table("a", "count", right=("count",))
    table.add_row("x", "1")
    assert "     1" in shown(table)
