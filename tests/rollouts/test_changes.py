"""Each change gives the successor that its name promises, or says why it is not possible."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.schemas.errors import ConfigError
from forebay.stream.rollouts import changes
from forebay.stream.rollouts.changes import REJECTED, abort, pause, promote, resume, rollback, start_shadow, step
from forebay.stream.rollouts.revision import Action, Canary, Revision, Shadow, StepPolicy, decode_revision
from tests.rollouts.build import STEPS, configured, proposal
from tests.rollouts.strategies import revisions, successors


def canary(
    current: Revision,
    version: int,
    weight: float,
    *,
    steps: StepPolicy | None = None,
    route_by: str | None = None,
    automatic: bool = False,
) -> Revision:
    made = proposal(automatic=automatic)
    return changes.start_canary(current, version, weight, steps=steps, seed=11, route_by=route_by, proposal=made)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_every_successor_is_valid_and_follows_its_base(data: st.DataObject) -> None:
    current = data.draw(revisions())
    following = data.draw(successors(current))
    if following is current:
        return
    assert decode_revision(*following.encode()) == following  # decoding checks that the fields agree
    assert following.number == current.number + 1 and following.based_on == current.number
    assert not following.versions() & set(following.rejected) or not following.automatic
    if following.automatic:
        new = following.versions() - current.versions()
        assert not new & set(current.rejected)


def test_promote_keeps_the_old_version_as_the_previous_one() -> None:
    after = promote(configured(1), 2, proposal(author="ada", reason="better"))
    assert (after.stable, after.previous, after.action) == (2, 1, Action.PROMOTE)
    assert (after.author, after.reason, after.number, after.based_on) == ("ada", "better", 1, 0)


def test_promoting_a_canary_ends_it_and_keeps_other_canaries_with_their_slots() -> None:
    current = canary(canary(configured(1), 2, 10), 3, 20)
    after = promote(current, 2, proposal())
    assert after.stable == 2
    assert after.canaries == (Canary(3, ((1000, 3000),)),)


def test_a_canary_grows_into_free_slots_and_shrinks_from_the_end() -> None:
    current = canary(canary(configured(1), 2, 10), 3, 20)
    grown = canary(current, 2, 15)
    assert grown.canaries == (Canary(2, ((0, 1000), (3000, 3500))), Canary(3, ((1000, 3000),)))
    assert canary(grown, 2, 5).canaries[0] == Canary(2, ((0, 500),))


def test_a_second_canary_keeps_the_seed_of_the_first() -> None:
    first = replace(canary(configured(1), 2, 10), seed=5)
    assert canary(first, 3, 10).seed == 5
    assert canary(abort(first, proposal()), 3, 10).seed == 11


def test_steps_lead_to_promotion() -> None:
    current = canary(configured(1), 2, 5, steps=STEPS)
    found = [current.canaries[0].weight]
    for _ in range(3):
        current = step(current, proposal(automatic=True, evidence={"events": 5000}))
        assert (current.action, current.evidence) == (Action.STEP, {"events": 5000})
        found.append(current.canaries[0].weight)
    assert found == [5, 25, 50, 100]
    after = step(current, proposal(automatic=True))
    assert (after.action, after.stable, after.previous, after.canaries) == (Action.PROMOTE, 2, 1, ())
    assert (after.steps, after.step) == (None, 0)


def test_steps_start_with_the_weight_of_the_canary() -> None:
    steps = StepPolicy((25.0, 50.0), 1, 1)
    current = canary(configured(1), 2, 5, steps=steps)
    assert current.steps == StepPolicy((5, 25.0, 50.0), 1, 1) and current.step == 0


def test_a_manual_weight_ends_the_steps() -> None:
    after = canary(canary(configured(1), 2, 5, steps=STEPS), 2, 30)
    assert after.steps is None and after.canaries[0].weight == 30


def test_a_paused_rollout_does_not_step_by_itself_but_on_command() -> None:
    paused = pause(canary(configured(1), 2, 5, steps=STEPS), proposal())
    with pytest.raises(ConfigError, match="paused"):
        step(paused, proposal(automatic=True))
    assert step(paused, proposal()).canaries[0].weight == 25
    assert not resume(paused, proposal()).paused


def test_rollback_returns_to_the_previous_version_and_rejects_the_one_it_leaves() -> None:
    current = promote(configured(1), 2, proposal())
    after = rollback(start_shadow(canary(current, 3, 10), 4, 0.5, proposal()), None, proposal())
    assert (after.stable, after.previous, after.canaries, after.shadows) == (1, None, (), ())
    assert after.rejected == (2, 3)


def test_rollback_to_the_stable_version_only_ends_the_canaries() -> None:
    current = canary(promote(configured(1), 2, proposal()), 3, 10)
    after = rollback(current, 2, proposal())
    assert (after.stable, after.previous, after.canaries, after.rejected) == (2, 1, (), (3,))


def test_abort_ends_all_or_one() -> None:
    current = start_shadow(canary(canary(configured(1), 2, 10), 3, 20), 4, 0.5, proposal())
    assert abort(current, proposal()).versions() == {1}
    assert abort(current, proposal()).rejected == (2, 3)
    assert abort(current, proposal(automatic=True)).rejected == (2, 3, 4)
    one = abort(current, proposal(), version=3)
    assert (one.versions(), one.rejected) == ({1, 2, 4}, (3,))
    assert abort(current, proposal(), version=4).shadows == ()


def test_ending_a_shadow_keeps_the_steps() -> None:
    current = start_shadow(canary(configured(1), 2, 5, steps=STEPS), 3, 0.5, proposal())
    assert abort(current, proposal(), version=3).steps == current.steps


def test_a_rejected_version_is_used_again_only_by_a_person() -> None:
    current = rollback(promote(configured(1), 2, proposal()), None, proposal(automatic=True))
    for change in (
        lambda: promote(current, 2, proposal(automatic=True)),
        lambda: canary(current, 2, 5, automatic=True),
        lambda: start_shadow(current, 2, 0.5, proposal(automatic=True)),
        lambda: rollback(current, 2, proposal(automatic=True)),
    ):
        with pytest.raises(ConfigError, match="only a person may use it again") as refused:
            change()
        assert refused.value.kind == REJECTED and refused.value.remedy
    assert promote(current, 2, proposal()).rejected == ()


def test_a_shadow_that_becomes_a_canary_is_not_a_shadow_any_more() -> None:
    current = start_shadow(configured(1), 2, 0.5, proposal())
    assert start_shadow(current, 2, 0.25, proposal()).shadows == (Shadow(2, 0.25),)
    assert canary(current, 2, 5).shadows == ()


def test_digests_of_the_versions_in_use_stay_as_they_were_pinned() -> None:
    current = promote(configured(1), 2, proposal(digests={1: "a", 2: "b"}))
    after = canary(current, 3, 5)
    assert after.digests == {1: "a", 2: "b"}
    repeated = canary(current, 3, 5)
    assert replace(repeated, id=after.id) == after
    assert promote(current, 3, proposal(digests={2: "changed", 3: "c"})).digests == {2: "b", 3: "c"}


def test_text_that_utf_8_cannot_encode_is_replaced() -> None:
    after = promote(configured(1), 2, proposal(author="\udcff", reason="x" * 5000))
    assert after.author == "?" and len(after.reason) == 2000


STEPPED = canary(configured(1), 2, 5, steps=STEPS)
TWO = canary(canary(configured(1), 2, 10), 3, 20)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda: promote(configured(1), 1, proposal()), "version 1 already is the stable version (revision 0)"),
        (lambda: promote(configured(1), 0, proposal()), "0 is not a version"),
        (lambda: canary(configured(1), 1, 5), "version 1 is the stable version"),
        (lambda: canary(configured(1), 2, 0), "a weight of 0 % is not possible"),
        (lambda: canary(configured(1), 2, 100.1), "a weight of 100.1 % is not possible"),
        (lambda: canary(configured(1), 2, 0.001), "a weight of 0.001 % is not possible"),
        (lambda: canary(configured(1), 2, float("nan")), "a weight of nan % is not possible"),
        (lambda: canary(TWO, 4, 71), "71 % for version 4 exceed the 70 % that other canaries leave"),
        (lambda: canary(TWO, 4, 5, route_by="customer"), "the field 'customer' would move their keys"),
        (lambda: canary(TWO, 4, 5, steps=STEPS), "version 2 is a canary too, and steps need exactly one canary"),
        (lambda: canary(STEPPED, 4, 5), "version 2 is a canary too"),
        (lambda: canary(configured(1), 2, 30, steps=STEPS), "the steps 30, 5, 25, 50, 100 % are not ascending"),
        (lambda: step(configured(1), proposal()), "its rollout has no steps"),
        (lambda: start_shadow(configured(1), 1, 0.5, proposal()), "version 1 already predicts events"),
        (lambda: start_shadow(TWO, 2, 0.5, proposal()), "version 2 already predicts events"),
        (lambda: start_shadow(TWO, 5, 0, proposal()), "0 is not a share of the events"),
        (lambda: rollback(configured(1), None, proposal()), "no earlier version is known"),
        (lambda: rollback(configured(1), 1, proposal()), "version 1 already predicts everything"),
        (lambda: pause(configured(1), proposal()), "no steps that could be paused"),
        (lambda: pause(pause(STEPPED, proposal()), proposal()), "already is paused"),
        (lambda: resume(STEPPED, proposal()), "is not paused"),
        (lambda: abort(configured(1), proposal()), "it has no canary and no shadow"),
        (lambda: abort(TWO, proposal(), version=9), "version 9 is not a canary or shadow"),
    ],
)
def test_an_impossible_change_says_why(change: Callable[[], Revision], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        change()
    assert message in refused.value.message
