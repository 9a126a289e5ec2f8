"""What is proposed for the fields of a sample of events, and why."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from forebay.models.artefacts.signature import Feature, Signature
from forebay.schemas.errors import DataError
from forebay.stream.tables.model_match import list_length, match_features, with_model
from forebay.stream.tables.topic_proposal import FieldChoice, TopicProposal, propose

NOW_MS = 1_795_801_199_000
N = 200


def proposal_of(make: Any, *, count: int = N, keys: Counter[bytes] | None = None) -> TopicProposal:
    """Return what is proposed for events that a function of their number makes."""
    return propose([(make(number), NOW_MS) for number in range(count)], keys or Counter(), topic="orders")


def choice_of(values: list[object], name: str = "field") -> FieldChoice:
    """Return what becomes of a field with these values, one an event; `...` for an event without it."""
    events = [
        {"event_id": f"e{number}"} | ({} if value is ... else {name: value}) for number, value in enumerate(values)
    ]
    (choice,) = propose([(event, NOW_MS) for event in events], Counter({b"k": len(events)}), topic="t").fields
    return choice


def order(number: int) -> dict[str, Any]:
    return {
        "order": {"id": 4711 + number, "at": NOW_MS - number, "total": number / 4},
        "customer": {
            "id": number % 20,
            "age": None if number % 10 == 0 else 20 + number % 50,
            "country": ("DE", "CH")[number % 2],
        },
    }


def test_id_time_key_and_features_of_nested_events() -> None:
    found = proposal_of(order)
    assert {part.name: (part.source, part.is_sure) for part in found.parts} == {
        "id": ("field:order.id", True),
        "timestamp": ("field:order.at", True),
        "key": ("field:customer.id", False),
    }
    assert found.base == ()
    assert found.paths == {
        "total": ("order", "total"),
        "age": ("customer", "age"),
        "country": ("customer", "country"),
    }
    assert found.features == (
        Feature("total"),
        Feature("age", nullable=True),
        Feature("country", "category", ("CH", "DE")),
    )
    assert found.signature() == Signature(found.features, (3,), "regression", 1)


@pytest.mark.parametrize(
    ("values", "role", "is_sure", "reason"),
    [
        ([number / 3 for number in range(50)], "feature", True, ""),
        ([number % 2 == 0 for number in range(50)], "feature", True, "0 and 1"),
        (["a", "b"] * 50, "feature", True, "2 different texts"),
        (["a", "b", "c"], "feature", False, "3 different texts"),
        ([str(number % 60) for number in range(600)], "feature", False, "hashed to 4,096"),
        (["1", "2"] * 50, "feature", False, "numbers written as text"),
        ([float(number % 7) if number % 4 else ... for number in range(50)], "feature", True, "missing in 26.0%"),
        ([7] * 50, "left out", False, "always 7"),
        ([None] * 50, "left out", True, "null in all"),
        ([f"text {number}" for number in range(200)], "left out", True, "200 different texts"),
        (["word " * 40 + str(number % 60) for number in range(600)], "left out", False, "up to"),
        ([number if number % 2 else "x" for number in range(50)], "left out", False, "different types"),
        ([[1, 2, 3]] * 50, "feature", False, "in the order of the array"),
        ([[1, 2], [1]] * 50, "left out", True, "array"),
        ([[1, "a"]] * 50, "left out", True, "array"),
        ([1e39, 1.0] * 50, "left out", True, "larger than float32"),
        ([16_777_217 + number for number in range(50)], "feature", False, "rounded to float32"),
        ([1.0 if number == 0 else ... for number in range(200)], "left out", False, "missing in 199 of 200"),
        (["2026-11-29T08:00:00", "2026-11-28T08:00:00"] * 9, "left out", False, "a time"),
    ],
)
def test_what_becomes_of_a_field(values: list[object], role: str, is_sure: bool, reason: str) -> None:
    choice = choice_of(values)
    assert (choice.role, choice.is_sure) == (role, is_sure), choice.why
    assert reason in choice.why


def test_names_decide_about_labels_and_identifiers() -> None:
    assert choice_of([number % 2 for number in range(50)], "label").role == "label"
    assert (
        choice_of([number % 9 for number in range(50)], "accountId").why == "named like an id: a number without a size"
    )


def test_the_same_name_at_two_places_is_told_apart() -> None:
    def event(number: int) -> Mapping[str, object]:
        return {"uuid": str(number), "a": {"size": number}, "b": {"size": number / 2}}

    found = proposal_of(event)
    assert found.paths == {"a_size": ("a", "size"), "b_size": ("b", "size")}


def test_features_in_one_object_need_no_paths() -> None:
    found = proposal_of(lambda number: {"uuid": str(number), "values": {"x": number, "y": number / 2}})
    assert (found.base, dict(found.paths)) == (("values",), {})


@pytest.mark.parametrize(("unit", "factor"), [("s", 1e-3), ("us", 1e3), ("ns", 1e6)])
def test_the_unit_of_a_time_is_found(unit: str, factor: float) -> None:
    found = proposal_of(lambda number: {"id": number, "created_at": int((NOW_MS - number) * factor), "x": number / 7})
    time = found.parts[1]
    assert (time.source, time.unit) == ("field:created_at", unit)


def test_of_two_times_the_one_near_the_records_is_chosen() -> None:
    def event(number: int) -> Mapping[str, object]:
        at = datetime.fromtimestamp(NOW_MS / 1000, UTC).isoformat()
        return {"id": number, "birth_date": "1980-01-01T00:00:00Z", "sent": at, "x": number / 7}

    assert proposal_of(event).parts[1].source == "field:sent"
    only_old = proposal_of(lambda number: {"id": number, "created": "1980-01-01T00:00:00Z", "x": number / 7}).parts[1]
    assert only_old.source == "field:created" and "within" not in only_old.why
    unzoned = proposal_of(lambda number: {"id": number, "created": "2026-11-29 08:00:00", "x": number / 7}).parts[1]
    assert unzoned.source == "record" and "without an offset" in unzoned.why and not unzoned.is_sure


def test_the_id_may_be_the_key_or_the_position() -> None:
    def make(number: int) -> Mapping[str, object]:
        return {"x": number / 7, "user_id": number % 5}

    keys = Counter({str(number).encode(): 1 for number in range(N)})
    assert proposal_of(make, keys=keys).parts[0].source == "key"
    found = proposal_of(make)
    assert found.parts[0].source == "position" and "user_id has only 5 different values" in found.parts[0].why
    assert not found.parts[0].is_sure


def test_debezium_and_kafka_connect_are_recognised() -> None:
    def change(number: int) -> Mapping[str, object]:
        row = None if number % 4 == 0 else {"id": number, "amount": number / 3}
        return {"before": None, "after": row, "op": "c", "ts_ms": NOW_MS, "source": {"db": "shop"}}

    found = proposal_of(change)
    assert (found.envelope.name, found.base, found.num_other) == ("debezium", ("after",), N // 4)
    assert [part.source for part in found.parts][:2] == ["field:after.id", "field:ts_ms"]
    assert found.features == (Feature("amount"),)
    wrapped = proposal_of(lambda number: {"schema": {}, "payload": change(number)})
    assert (wrapped.envelope.name, wrapped.base) == ("debezium", ("payload", "after"))
    assert [part.source for part in wrapped.parts][:2] == ["field:payload.after.id", "field:payload.ts_ms"]
    connect = proposal_of(lambda number: {"schema": {}, "payload": {"id": number, "x": number / 7}})
    assert (connect.envelope.name, connect.base) == ("kafka-connect", ("payload",))


def test_forebays_own_events_need_no_mapping() -> None:
    def own(features: object) -> Any:
        return lambda number: {"id": str(number), "timestamp": NOW_MS, "features": features(number)}  # type: ignore[operator]

    named = proposal_of(own(lambda number: {"a": number, "b": "xy"[number % 2]}))
    assert named.envelope.name == "forebay" and not any(part.source for part in named.parts)
    assert named.features == (Feature("a"), Feature("b", "category", ("x", "y"))) and not named.paths
    numbers = proposal_of(own(lambda number: [number, 2.5]))
    assert numbers.signature() == Signature((Feature("feature_0"), Feature("feature_1")), (2,), "regression", 1)
    mixed = proposal_of(own(lambda number: [number, "xy"[number % 2], None]))
    assert [feature.dtype for feature in mixed.features] == ["float32", "category", "float32"]


def test_an_array_of_numbers_may_be_all_features() -> None:
    found = proposal_of(lambda number: {"uuid": str(number), "embedding": [number / 7] * 8})
    assert found.array is not None and found.base == ("embedding",)
    signature = found.signature()
    assert signature is not None and signature.num_features == 8


def test_events_without_fields_are_refused() -> None:
    with pytest.raises(DataError, match="orders: the events have no fields"):
        proposal_of(lambda number: {})


def test_many_fields_are_left_out_with_their_number() -> None:
    found = proposal_of(lambda number: {f"f{index}": number for index in range(1_200)}, count=2)
    assert len(found.sample.fields) == 1_000 and found.sample.left_out == 200


def test_any_documents_give_a_proposal() -> None:
    generator = random.Random(1)
    values: list[Any] = [
        None,
        1,
        1.5,
        True,
        "x",
        "2026-11-29T08:00:00Z",
        [],
        [1],
        {},
        {"a": [1]},
        b"x",
        float("nan"),
        10**400,
        "",
    ]
    for _ in range(100):
        events = [
            {
                name: generator.choice(values)
                for name in generator.sample(["id", "features", "ts", "a", "after", "op"], 4)
            }
            for _ in range(generator.randint(1, 8))
        ]
        found = propose([(event, NOW_MS) for event in events], Counter(), topic="t")
        assert found.signature() is None or found.signature().num_features > 0  # type: ignore[union-attr]


def test_the_features_of_a_model_are_matched_by_name_and_what_is_wrong_is_said() -> None:
    signature = Signature(
        (
            Feature("Total"),
            Feature("customer_age"),
            Feature("country", "category", ("DE",)),
            Feature("amount_of_items"),
            Feature("visits", nullable=True),
        ),
        (5,),
        "binary",
        1,
    )
    proposal = proposal_of(order)
    matches = {match.feature.name: match for match in match_features(signature, proposal)}
    total, age, country = (matches[name] for name in ("Total", "customer_age", "country"))
    assert total.field is not None and total.field.path == ("order", "total") and total.is_sure and not total.problem
    assert age.field is not None and not age.is_sure and "missing in 20 events" in age.problem
    assert "100 events have a category that the model does not know: 'CH'" in country.problem
    assert matches["amount_of_items"].is_missing and not matches["visits"].is_missing
    changed = with_model(proposal, list(matches.values()))
    assert [field.feature.name for field in changed.fields if field.feature] == ["Total", "customer_age", "country"]


def test_a_list_is_matched_by_the_order_of_its_values() -> None:
    signature = Signature((Feature("size"), Feature("kind", "category", ("x",))), (2,), "binary", 1)
    proposal = proposal_of(lambda number: {"id": str(number), "timestamp": 1, "features": [number, "xy"[number % 2]]})
    size, kind = match_features(signature, proposal)
    assert list_length(proposal) == 2 and size.is_sure and not size.problem
    assert kind.field is not None and kind.field.name == "feature_1" and "does not know: 'y'" in kind.problem
    assert list_length(proposal_of(lambda number: {"id": "a", "timestamp": 1, "features": [1.5, 2]})) == 2
    assert list_length(proposal_of(order)) is None
