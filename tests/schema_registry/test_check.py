"""What `forebay check` says about the schema registry."""

from __future__ import annotations

from typing import Any

import pytest

from forebay.stream.config.sections import SchemaRegistrySection
from forebay.stream.preflight import Check, Status, check_schema_registry
from tests.registry.stub import StubRegistry, stub_registry

RULES = {"domainRules": [{"name": "pii", "kind": "TRANSFORM", "type": "ENCRYPT"}]}


async def checked(stub: StubRegistry, **more: Any) -> Check:
    check = await check_schema_registry(SchemaRegistrySection(urls=(stub.url,), **more))
    assert check is not None and check.name == "schemas"
    return check


async def test_without_a_registry_nothing_is_checked() -> None:
    assert await check_schema_registry(SchemaRegistrySection()) is None


async def test_the_registry_answers_and_the_subjects_can_be_read() -> None:
    async with stub_registry() as stub:
        stub.add("a-value", '"long"')
        stub.add("a-value", '"double"')
        check = await checked(stub, subjects=("a-value",))
    assert check.status is Status.OK
    assert check.detail == f"{stub.url} answers, with 1 subject; a-value version 2 (AVRO)"


async def test_subjects_that_cannot_be_used_are_named() -> None:
    async with stub_registry() as stub:
        stub.add("a-value", '"long"', ruleSet=RULES)
        check = await checked(stub, subjects=("a-value", "none-value"))
    assert check.status is Status.FAILED and len(check.problems) == 2
    assert "version 1 of subject a-value has rules" in check.problems[0] and "TRANSFORM pii" in check.problems[0]
    assert "subject none-value" in check.problems[1]


@pytest.mark.parametrize(("status", "words"), [(401, "refuses the credentials"), (503, "does not answer")])
async def test_a_registry_that_does_not_answer_fails(status: int, words: str) -> None:
    async with stub_registry() as stub:
        stub.failures[""] = status
        check = await checked(stub)
    assert check.status is Status.FAILED and words in check.detail and check.remedy is not None
