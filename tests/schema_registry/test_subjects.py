from __future__ import annotations

import logging

import pytest

from forebay.stream.config.sections import SchemaRegistrySection
from forebay.stream.schema_registry.connection import open_registry
from forebay.stream.schema_registry.errors import RegistryDenied, SchemaInvalid
from forebay.stream.schema_registry.schema import SchemaRef
from forebay.stream.schema_registry.subjects import load_subjects
from tests.registry.stub import stub_registry

RULES = {"domainRules": [{"name": "encryptPII", "kind": "TRANSFORM", "type": "ENCRYPT"}]}


async def test_the_versions_of_subjects_are_known_from_the_start() -> None:
    async with stub_registry() as stub, open_registry(SchemaRegistrySection(urls=(stub.url,))) as client:
        ids = [stub.add(subject, text).id for subject, text in (("a", "1"), ("a", "2"), ("b", "3"), ("c", "4"))]
        await load_subjects(client, ["a", "b"])
        assert [SchemaRef(id=number) in client.store for number in ids] == [True, True, True, False]


async def test_rules_of_the_latest_version_are_refused_by_name() -> None:
    async with stub_registry() as stub, open_registry(SchemaRegistrySection(urls=(stub.url,))) as client:
        stub.add("a", "1", ruleSet=RULES)
        with pytest.raises(SchemaInvalid, match=r"version 1 of subject a has rules .*TRANSFORM encryptPII \(ENCRYPT"):
            await load_subjects(client, ["a"])
        stub.add("a", "2")
        await load_subjects(client, ["a"])


async def test_a_missing_subject_and_an_outage_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with stub_registry() as stub, open_registry(SchemaRegistrySection(urls=(stub.url,))) as client:
        number = stub.add("b", "1").id
        with caplog.at_level(logging.WARNING):
            await load_subjects(client, ["none", "b"])
            assert SchemaRef(id=number) in client.store
            stub.failures[""] = 503
            await load_subjects(client, ["b", "none"])
        assert ["subject none" in line for line in caplog.messages] == [True, False]
        assert "not read now" in caplog.messages[1]


async def test_wrong_credentials_end_the_start() -> None:
    async with stub_registry() as stub, open_registry(SchemaRegistrySection(urls=(stub.url,))) as client:
        stub.failures[""] = 401
        with pytest.raises(RegistryDenied):
            await load_subjects(client, ["a"])
