"""What the caller states and what the model says, put together."""

from __future__ import annotations

import pytest

from forebay.models.artefacts.signature import Feature, Signature
from forebay.models.registration.hints import Hints
from forebay.schemas.errors import ModelError

STATED = Signature((Feature("age"), Feature("pay")), (2,), task="binary", output_dim=1, labels=("no", "yes"))


def test_without_hints_the_signature_is_what_the_model_says() -> None:
    found = Hints("m").complete_signature(task="multiclass", output_dim=3, num_features=2, labels=("a", "b", "c"))
    assert found == Signature(
        (Feature("f0"), Feature("f1")), (2,), task="multiclass", output_dim=3, labels=("a", "b", "c")
    )
    named = Hints("m").complete_signature(task="regression", output_dim=1, num_features=1, features=[Feature("age")])
    assert named.features == (Feature("age"),)


def test_hints_override_what_the_model_says() -> None:
    hints = Hints("m", features=(Feature("age"),), labels=("no", "yes"))
    found = hints.complete_signature(
        task="binary", output_dim=1, num_features=1, features=[Feature("f0")], labels=("0", "1")
    )
    assert found == Signature((Feature("age"),), (1,), task="binary", output_dim=1, labels=("no", "yes"))
    assert Hints("m", STATED).complete_signature(task="binary", output_dim=1, num_features=2) is STATED


def test_a_sample_with_the_model_s_names_is_put_in_its_order() -> None:
    own = [Feature("b", "category", ("y", "x")), Feature("a", nullable=True), Feature("c")]
    sample = (
        Feature("id"),
        Feature("a"),
        Feature("c", "category", ("u",)),
        Feature("b", "category", ("x", "y"), nullable=True),
    )
    found = Hints("m", features=sample).complete_signature(
        task="regression", output_dim=1, num_features=3, features=own
    )
    assert found.features == (
        Feature("b", "category", ("y", "x"), nullable=True),
        Feature("a", nullable=True),
        Feature("c", "category", ("u",)),
    )


def test_a_model_that_says_nothing_needs_hints_that_say_all() -> None:
    assert Hints("m", STATED).stated_signature() is STATED
    features = (Feature("a"),)
    assert Hints("m", features=features, task="regression").stated_signature().output_dim == 1
    found = Hints("m", features=features, task="multiclass", labels=("a", "b", "c")).stated_signature()
    assert (found.output_dim, found.labels) == (3, ("a", "b", "c"))
    for hints, says in (
        (Hints("m"), "signature is not stated"),
        (Hints("m", features=features), "task is not stated"),
        (Hints("m", features=features, task="multiclass"), "labels is not stated"),
    ):
        with pytest.raises(ModelError, match=says):
            hints.stated_signature()


@pytest.mark.parametrize(
    ("hints", "says"),
    [
        (Hints("m", STATED), "features stated: 2; the model has: 3"),
        (Hints("m", features=(Feature("age"),)), "features stated: 1; the model has: 3"),
        (Hints("m", task="regression"), "task stated: regression; the model has: binary"),
    ],
)
def test_hints_that_contradict_the_model_are_refused(hints: Hints, says: str) -> None:
    with pytest.raises(ModelError, match=says) as caught:
        hints.complete_signature(task="binary", output_dim=1, num_features=3)
    assert caught.value.kind == "signature" and caught.value.remedy
