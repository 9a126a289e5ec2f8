"""The table of failures is complete."""

from __future__ import annotations

import pytest

from forebay.schemas.failures import FAILURES, FailureKind, Outcome, Scope, Stage


@pytest.mark.parametrize("kind", FailureKind)
def test_every_kind_is_in_the_table(kind: FailureKind) -> None:
    spec = FAILURES[kind]
    assert spec.outcome is not Outcome.PREDICTED
    assert spec.stage in Stage and spec.scope in Scope
    assert spec.description.strip() and spec.remedy.strip()
    assert kind.value == kind.name.lower()


def test_the_table_has_nothing_else_and_never_changes() -> None:
    assert set(FAILURES) == set(FailureKind)
    with pytest.raises(TypeError):
        FAILURES[FailureKind.NOT_JSON] = FAILURES[FailureKind.NOT_JSON]  # type: ignore[index]


def test_failures_before_the_model_are_rejections_and_all_others_failures() -> None:
    for kind, spec in FAILURES.items():
        if spec.outcome is Outcome.REJECTED:
            assert spec.stage in (Stage.DECODE, Stage.WINDOW, Stage.PREPARE), kind
        assert spec.stage is not Stage.DECODE or spec.outcome is Outcome.REJECTED, kind
        assert not spec.outcome.of_window, "failure kinds state the outcome of an event, not of a window"


@pytest.mark.parametrize("outcome", Outcome)
def test_an_outcome_is_good_or_makes_a_dead_letter_or_is_late(outcome: Outcome) -> None:
    assert [outcome.is_good, outcome.is_letter, outcome is Outcome.LATE].count(True) == 1
    assert outcome.of_window == outcome.value.startswith("window_")


def test_no_failure_kind_has_the_name_of_a_good_outcome() -> None:
    assert Outcome.PREDICTED.value not in {kind.value for kind in FailureKind}
