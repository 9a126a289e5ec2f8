"""The JSON Schemas, the generated files, and the examples that the schemas accept and refuse."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from jsonschema import Draft7Validator, Draft202012Validator

from forebay.schemas import generate, headers
from forebay.schemas.definitions import Schema, definitions
from forebay.schemas.examples import Example, bad_examples, good_examples
from forebay.schemas.failures import FAILURES, FailureKind, Stage

# Examples without optional fields.
EXAMPLE_OF = {
    "prediction": "prediction-binary",
    "dead-letter": "dead-letter-rejected",
    "outcome-delta": "outcome-delta-predicted",
    "error-aggregate": "error-aggregate-failed",
    "alert": "alert-firing",
    "rollout": "rollout-canary",
    "rollout-switch": "rollout-switch",
}


def subschemas(schema: object) -> Iterator[Schema]:
    if isinstance(schema, dict):
        yield schema
        for value in schema.values():
            yield from subschemas(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from subschemas(value)


def test_the_committed_files_are_up_to_date() -> None:
    assert generate.out_of_date(generate.FOLDER) == [], "run `python -m forebay.schemas.generate --write`"


def test_generating_restores_missing_changed_and_surplus_files(tmp_path: Path) -> None:
    generate.write(tmp_path)
    assert generate.out_of_date(tmp_path) == []
    (tmp_path / "json" / "event.schema.json").write_text("{}")
    (tmp_path / "avro" / "prediction.avsc").unlink()
    (tmp_path / "proto" / "old.proto").write_text("")
    changed = ["avro/prediction.avsc", "json/event.schema.json", "proto/old.proto"]
    assert generate.out_of_date(tmp_path) == changed
    generate.write(tmp_path)
    assert generate.out_of_date(tmp_path) == []


@pytest.mark.parametrize("name", definitions())
def test_each_schema_is_valid_in_both_drafts(name: str) -> None:
    schema = definitions()[name]
    Draft202012Validator.check_schema(schema)
    Draft7Validator.check_schema({key: value for key, value in schema.items() if key != "$schema"})
    assert not any("$ref" in part or "$defs" in part for part in subschemas(schema))


@pytest.mark.parametrize("name", definitions())
def test_every_property_is_described_and_times_name_their_unit(name: str) -> None:
    for part in subschemas(definitions()[name]):
        properties = part.get("properties")
        for key, value in properties.items() if isinstance(properties, dict) else ():
            description = value.get("description")
            assert description, f"{name}: {key} has no description"
            if key.endswith(("timestamp", "_ms", "_seen", "window_start", "window_end")):
                assert re.search(r"milliseconds|\bms\b", description), f"{name}: {key} does not name its unit"


def test_dead_letters_describe_every_kind() -> None:
    kind = definitions()["dead-letter"]["properties"][headers.ERROR_KIND]  # type: ignore[index]
    assert all(f"{kind_.value}: {spec.description}" in kind["description"] for kind_, spec in FAILURES.items())


@pytest.mark.parametrize("example", good_examples(), ids=str)
def test_good_examples_satisfy_their_schema(example: Example) -> None:
    errors = Draft202012Validator(definitions()[example.schema]).iter_errors(example.instance())
    assert [error.message for error in errors] == []


@pytest.mark.parametrize("example", bad_examples(), ids=str)
def test_bad_examples_fail_their_schema_if_it_can_detect_them(example: Example) -> None:
    try:
        instance = example.instance()
    except ValueError:  # not JSON, so the schema does not apply
        assert example.kind in (FailureKind.NOT_JSON, FailureKind.INVALID_PAYLOAD, FailureKind.EMPTY_VALUE)
        assert not example.found_by_schema
        return
    found = not Draft202012Validator(definitions()[example.schema]).is_valid(instance)
    assert found == example.found_by_schema


@pytest.mark.parametrize(
    ("schema", "change"),
    [
        ("prediction", {"version": 0}),
        ("prediction", {"prediction": []}),
        ("prediction", {"prediction": [None]}),
        ("prediction", {"confidence": 1.5}),
        ("prediction", {"class": -1}),
        ("prediction", {"source": {"topic": "features", "partition": 0, "offset": 0}}),
        ("dead-letter", {headers.ERROR_KIND: "unheard_of"}),
        ("dead-letter", {headers.ERROR_STAGE: "lunch"}),
        ("dead-letter", {headers.ERROR_OFFSET: "0x10"}),
        ("dead-letter", {headers.ERROR_MODEL: "m", headers.ERROR_VERSION: "one"}),
        ("dead-letter", {headers.ERROR_TRUNCATED: "a lot"}),
        ("outcome-delta", {"format": 2}),
        ("outcome-delta", {"count": 0}),
        ("outcome-delta", {"outcome": "lost"}),
        ("outcome-delta", {"sample_ids": ["1", "2", "3", "4", "5", "6"]}),
        ("outcome-delta", {"exemplar": {"message": "…"}}),
        ("outcome-delta", {"performance": {"rows": 1}}),
        ("error-aggregate", {"outcome": "lost"}),
        ("error-aggregate", {"count": 0}),
        ("error-aggregate", {"rate": -1}),
        ("error-aggregate", {"revision": 0}),
        ("error-aggregate", {"exemplar": {"message": "…", "stack_hash": "1", "stack": "x" * 4001}}),
        ("alert", {"status": "pending"}),
        ("alert", {"severity": "urgent"}),
        ("alert", {"category": "weather"}),
        ("rollout", {"format": 2}),
        ("rollout", {"stable": 0}),
        ("rollout", {"action": "explode"}),
        ("rollout", {"canaries": [{"version": 4, "slots": []}]}),
        ("rollout-switch", {"revision": 0}),
        ("rollout-switch", {"first_offset": -1}),
        ("quality", {"format": 2}),
        ("quality", {"version": -1}),
        ("quality", {"sums": {"task": "ranking"}}),
        ("quality", {"labels": {"labels": 1}}),
        ("aggregator-changelog", {"format": 2}),
        ("aggregator-changelog", {"next_offset": -1}),
    ],
)
def test_invalid_outputs_fail_their_schema(schema: str, change: dict[str, object]) -> None:
    validator = Draft202012Validator(definitions()[schema])
    good = next(example for example in good_examples() if example.schema == schema).instance()
    assert isinstance(good, dict) and validator.is_valid(good)
    assert not validator.is_valid({**good, **change})


@pytest.mark.parametrize("schema", EXAMPLE_OF)
def test_every_field_of_an_output_is_required(schema: str) -> None:
    validator = Draft202012Validator(definitions()[schema])
    good = next(example for example in good_examples() if example.name == EXAMPLE_OF[schema]).instance()
    assert isinstance(good, dict)
    for name in good:
        assert not validator.is_valid({key: value for key, value in good.items() if key != name}), name


def test_a_dead_letter_with_a_model_has_its_version() -> None:
    good = next(example for example in good_examples() if example.name == "dead-letter-failed").instance()
    assert isinstance(good, dict)
    without = {key: value for key, value in good.items() if key != headers.ERROR_VERSION}
    assert not Draft202012Validator(definitions()["dead-letter"]).is_valid(without)


def test_bad_examples_cover_every_failure_kind_of_decode() -> None:
    shown = {example.kind for example in bad_examples()}
    of_decode = {kind for kind, spec in FAILURES.items() if spec.stage is Stage.DECODE and not spec.is_raw}
    # No event is a duplicate or denied by itself, and examples have no registry and no keys.
    elsewhere = {
        FailureKind.DUPLICATE,
        FailureKind.DENIED,
        FailureKind.UNDECRYPTABLE,
        FailureKind.UNKNOWN_SCHEMA,
        FailureKind.UNSUPPORTED_SCHEMA,
    }
    assert shown == of_decode - elsewhere


def test_every_schema_has_a_good_example() -> None:
    assert {example.schema for example in good_examples()} == set(definitions())
