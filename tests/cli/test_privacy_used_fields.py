"""Which fields of events the served models use."""

from __future__ import annotations

from pathlib import Path

import pytest

from forebay.models.artefacts import repository
from forebay.models.artefacts.signature import Feature, Signature
from forebay.stream.cli.privacy_used_fields import UsedFields, used_fields
from forebay.stream.config.sections import Settings
from forebay.stream.privacy.minimisation import unused_fields


def used_with(monkeypatch: pytest.MonkeyPatch, signature: Signature, **entry: object) -> UsedFields:
    monkeypatch.setattr(repository, "read_signature", lambda *_: signature)
    settings = Settings.model_validate({"topics": {"prefix": "p-"}, "input": {"topics": ("events",), **entry}})
    return used_fields(settings)


NAMED = Signature((Feature("age"), Feature("zip")), (2,), "regression", 1)
EVENT = {"id": "1", "features": {"age": 1, "zip": 2, "mail": "x"}, "trace": 1}


def unused(used: UsedFields, document: dict[str, object]) -> set[tuple[str, ...]]:
    return {path for path, _ in unused_fields(document, used.by_topic["p-events"])}


def test_features_of_the_signature_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    used = used_with(monkeypatch, NAMED)
    assert unused(used, EVENT) == {("features", "mail"), ("trace",)}
    assert used.positions == {"age": 0, "zip": 1}
    all_features = used_with(monkeypatch, Signature((), (2,), "regression", 1))
    assert unused(all_features, EVENT) == {("trace",)}


def test_a_mapping_says_where_fields_are(monkeypatch: pytest.MonkeyPatch) -> None:
    mapping = {"id": "field:order.id", "features": "payload", "fields": {"zip": ["address.zip", "address.code"]}}
    used = used_with(monkeypatch, NAMED, mapping=mapping)
    document: dict[str, object] = {
        "order": {"id": 1, "placed": 2},
        "payload": {"age": 1, "mail": "x"},
        "address": {"zip": 3, "street": "y"},
    }
    assert unused(used, document) == {("order", "placed"), ("payload", "mail"), ("address", "street")}
    top = used_with(monkeypatch, NAMED, mapping={"id": "field:id"})
    assert unused(top, {"id": 1, "age": 2, "mail": "x"}) == {("mail",)}


def test_unknown_models_are_a_problem(tmp_path: Path) -> None:
    problem = used_fields(Settings.model_validate({"model": {"repository": str(tmp_path / "none")}})).problem
    assert problem is not None
    assert "the served models are unknown" in problem.message
