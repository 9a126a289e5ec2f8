"""Warnings about inconsistent workers of a group."""

from __future__ import annotations

from dataclasses import replace

import pytest

from forebay.stream.admin.group_warnings import GroupWarnings, group_warnings
from forebay.stream.admin.member_metadata import WorkerMetadata
from forebay.stream.core.model_ref import ModelRef

ONE = WorkerMetadata(worker="pod-1", url=None, models=(ModelRef("late", 3),), release="0.1.0")
TWO = replace(ONE, worker="pod-2")


def test_consistent_workers_cause_no_warning() -> None:
    assert group_warnings([]) == group_warnings([ONE]) == group_warnings([ONE, TWO]) == ()


def test_an_instance_id_that_is_used_twice() -> None:
    assert group_warnings([ONE, TWO, ONE]) == (
        "2 members have the instance id 'pod-1': they fence each other; give each worker a delivery.instance_id of its own",
    )


def test_other_models_and_releases_are_listed_with_their_workers() -> None:
    assert group_warnings(
        [ONE, replace(TWO, models=(ModelRef("late", 4),)), replace(TWO, worker="pod-3", release="0.2.0")]
    ) == (
        "the workers serve different models: late version 3 (pod-1, pod-3); late version 4 (pod-2)",
        "the workers run different releases: Forebay 0.1.0 (pod-1, pod-2); Forebay 0.2.0 (pod-3)",
    )


def test_workers_that_follow_rollouts_may_announce_other_versions_but_not_other_models() -> None:
    one = replace(ONE, follows_rollouts=True)
    other = replace(one, worker="pod-2", models=(ModelRef("late", 4),))
    assert group_warnings([one, other]) == ()
    assert group_warnings([one, replace(other, models=(ModelRef("delay", 3),))]) == (
        "the workers serve different models: delay (pod-2); late (pod-1)",
    )
    assert group_warnings([one, replace(other, follows_rollouts=False)]) == (
        "only some of the workers follow rollouts: rollouts.enabled = false (pod-2); rollouts.enabled = true (pod-1)",
    )


def test_the_order_of_several_models_does_not_matter_but_a_missing_one_does() -> None:
    late, delay = ModelRef("late", 3), ModelRef("delay", 1)
    both, reversed_, one = (
        replace(ONE, worker=name, models=models)
        for name, models in (
            ("a", (late, delay)),
            ("b", (delay, late)),
            ("c", (late,)),
        )
    )
    assert group_warnings([both, reversed_]) == ()
    assert group_warnings([both, reversed_, one]) == (
        "the workers serve different models: delay version 1, late version 3 (a, b); late version 3 (c)",
    )


def test_a_warning_lists_a_few_names_of_a_large_group() -> None:
    many = [replace(ONE, worker=f"pod-{number}") for number in range(20)]
    (warning,) = group_warnings([*many, replace(ONE, worker="new", models=(ModelRef("late", 4),))])
    assert "late version 3 (pod-0, pod-1, pod-10, pod-11, pod-12 and 15 more); late version 4 (new)" in warning


def test_a_warning_is_logged_when_it_first_applies_and_not_at_every_rebalance(caplog: pytest.LogCaptureFixture) -> None:
    check = GroupWarnings().check
    new = replace(TWO, models=(ModelRef("late", 4),)).encode()
    for members in ([ONE], [ONE, new], [ONE, new], [ONE, TWO], [ONE, new]):
        check([member if isinstance(member, bytes) else member.encode() for member in members] + [b"", b"garbage"])
    assert [record.message for record in caplog.records] == [
        "in this group the workers serve different models: late version 3 (pod-1); late version 4 (pod-2)"
    ] * 2


def test_a_name_cannot_add_a_line_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    GroupWarnings().check([ONE.encode(), replace(TWO, models=(ModelRef("x\n12:00:00 INFO all is well", 3),)).encode()])
    assert "\n" not in caplog.records[0].message and "x\\x0a12" in caplog.records[0].message
