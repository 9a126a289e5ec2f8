"""The table of failures has no holes."""

from __future__ import annotations

import pytest

from schemas.failures import FAILURES, FailureKind, Outcome, Scope, Stage


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


def test_what_decode_refuses_is_rejected_and_all_else_failed() -> None:
    for kind, spec in FAILURES.items():
        assert (spec.stage is Stage.DECODE) == (spec.outcome is Outcome.REJECTED), kind


def test_no_kind_is_taken_for_the_outcome_of_predictions() -> None:
    assert Outcome.PREDICTED.value not in {kind.value for kind in FailureKind}
