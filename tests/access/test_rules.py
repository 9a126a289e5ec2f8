"""Rules permit what they name, and nothing else."""

from __future__ import annotations

import pytest

from forebay.stream.access.rules import Rules, model_problem, principal_problem
from forebay.stream.core.model_ref import ModelRef

FRAUD, FRAUD_4, CHURN = ModelRef("fraud", 3), ModelRef("fraud", 4), ModelRef("churn", 1)


def test_nothing_is_permitted_without_a_rule() -> None:
    assert not Rules({}).permits("ann", FRAUD)
    assert not Rules({"ann": []}).permits("ann", FRAUD)


def test_names_versions_and_beginnings() -> None:
    rules = Rules({"ann": ["fraud:3", "ch*"], "team-a/*": ["fraud"], "*": ["open"]})
    assert rules.permits("ann", FRAUD) and not rules.permits("ann", FRAUD_4) and rules.permits("ann", CHURN)
    assert rules.permits("team-a/bob", FRAUD_4) and not rules.permits("team-b/bob", FRAUD)
    assert rules.permits("anyone", ModelRef("open", 9)) and not rules.permits("anyone", CHURN)
    assert not rules.permits("Ann", FRAUD) and not rules.permits("ann2", FRAUD)


@pytest.mark.parametrize("principal", ["*", "team-a/*", "team-a", "team-?", "[t]eam", ".*", "аnn"])
def test_a_principal_is_not_a_pattern(principal: str) -> None:
    assert not Rules({"ann": ["*"], "team-a/": ["*"], "team-a/x": ["*"]}).permits(principal, FRAUD)


def test_patterns_with_a_wildcard_elsewhere_are_refused() -> None:
    assert principal_problem("a*b") and principal_problem("") and principal_problem("**")
    assert model_problem("f*d") and model_problem("") and model_problem("fraud:0") and model_problem("fraud:x")
    assert model_problem(":3") and not model_problem("*") and not model_problem("f*:2")
    with pytest.raises(ValueError, match="must be NAME"):
        Rules({"ann": ["f*d"]})
