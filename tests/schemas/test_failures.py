"""The table of failures has no holes."""

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


def test_what_is_refused_before_the_model_is_rejected_and_all_else_failed() -> None:
    for kind, spec in FAILURES.items():
        if spec.outcome is Outcome.REJECTED:
            assert spec.stage in (Stage.DECODE, Stage.WINDOW), kind
        assert spec.stage is not Stage.DECODE or spec.outcome is Outcome.REJECTED, kind
        assert not spec.outcome.of_window, "what a failure makes of a window is told from what it makes of an event"


@pytest.mark.parametrize("outcome", Outcome)
def test_an_outcome_is_good_or_a_letter_or_late(outcome: Outcome) -> None:
    assert [outcome.is_good, outcome.is_letter, outcome is Outcome.LATE].count(True) == 1
    assert outcome.of_window == outcome.value.startswith("window_")


def test_no_kind_is_taken_for_the_outcome_of_predictions() -> None:
    assert Outcome.PREDICTED.value not in {kind.value for kind in FailureKind}
