from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest

from forebay.schemas.errors import ConfigError
from forebay.stream.config.sections import SchemaRegistrySection
from forebay.stream.schema_registry.answers import Reference
from forebay.stream.schema_registry.client import MAX_REFERENCE_DEPTH, SchemaRegistryClient
from forebay.stream.schema_registry.connection import open_registry
from forebay.stream.schema_registry.errors import (
    RegistryDenied,
    RegistryUnavailable,
    SchemaIncompatible,
    SchemaInvalid,
    SchemaNotFound,
)
from forebay.stream.schema_registry.schema import ReferencedSchema, SchemaRef
from tests.brokers.secure import CERTIFICATES, PASSWORD
from tests.core.build import ManualClock
from tests.registry.stub import CUT, StubRegistry, stub_registry

AVRO = '{"type": "record", "name": "Event", "fields": []}'


@asynccontextmanager
async def registry(
    clock: ManualClock | None = None, **settings: Any
) -> AsyncIterator[tuple[StubRegistry, SchemaRegistryClient]]:
    async with stub_registry() as stub:
        section = SchemaRegistrySection(**{"urls": (stub.url,), **settings})
        async with open_registry(section, clock=clock) as client:
            yield stub, client


async def test_a_schema_is_asked_for_once_even_by_many_at_the_same_time() -> None:
    async with registry() as (stub, client):
        added = stub.add("features-value", AVRO)
        stub.delay_s = 0.01
        first, *others = await asyncio.gather(*(client.get(SchemaRef(id=added.id)) for _ in range(5)))
        assert (first.type, first.text, first.references, first.rules) == ("AVRO", AVRO, (), ())
        assert others == [first] * 4
        assert await client.get(SchemaRef(id=added.id)) == first
        assert stub.requests == {f"GET /schemas/ids/{added.id}": 1}
        assert client.store.get(SchemaRef(id=added.id)) == first


async def test_a_schema_is_found_by_its_guid() -> None:
    async with registry() as (stub, client):
        added = stub.add("features-value", '{"type": "object"}', "JSON")
        schema = await client.get(SchemaRef(guid=added.guid))
        assert (schema.ref, schema.type, schema.text) == (SchemaRef(guid=added.guid), "JSON", '{"type": "object"}')


async def test_a_caller_that_is_cancelled_does_not_cancel_the_others() -> None:
    async with registry() as (stub, client):
        added = stub.add("features-value", AVRO)
        stub.delay_s = 0.02
        ref = SchemaRef(id=added.id)
        impatient, patient = asyncio.create_task(client.get(ref)), asyncio.create_task(client.get(ref))
        await asyncio.sleep(0)
        impatient.cancel()
        assert (await patient).ref == ref
        assert stub.requests.total() == 1


async def test_a_missing_schema_is_asked_for_again_after_a_while() -> None:
    clock = ManualClock()
    async with registry(clock, retry_backoff_ms=1_000) as (stub, client):
        for _ in range(3):
            with pytest.raises(
                SchemaNotFound, match="does not have the schema with id 1: status 404, error 40403"
            ) as caught:
                await client.get(SchemaRef(id=1))
        assert "same registry" in str(caught.value.remedy)
        assert stub.requests.total() == 1
        added = stub.add("features-value", AVRO)
        clock.advance(0.5)
        assert (await client.get(SchemaRef(id=added.id))).text == AVRO
        assert stub.requests.total() == 2


async def test_a_guid_that_a_registry_does_not_know_is_not_found() -> None:
    async with registry() as (_, client):
        with pytest.raises(SchemaNotFound, match="GUID 2f5b7c8e"):
            await client.get(SchemaRef(guid=UUID("2f5b7c8e-0d5c-4b39-9a51-6d4e8f0a1b2c")))


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (401, RegistryDenied, "refuses the credentials"),
        (403, RegistryDenied, "denies"),
        (429, RegistryUnavailable, "status 429, error 42901"),
        (500, RegistryUnavailable, "status 500"),
        (503, RegistryUnavailable, "status 503"),
        (301, RegistryUnavailable, "redirects"),
        (422, SchemaInvalid, "status 422"),
        (CUT, RegistryUnavailable, "does not answer"),
    ],
)
async def test_failures_are_reported_by_their_meaning_and_not_remembered(
    status: int, error: type[Exception], words: str
) -> None:
    async with registry() as (stub, client):
        added = stub.add("features-value", AVRO)
        stub.failures[""] = status
        with pytest.raises(error, match=words):
            await client.get(SchemaRef(id=added.id))
        stub.failures.clear()
        assert (await client.get(SchemaRef(id=added.id))).text == AVRO


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (200, "<html>sign in</html>", "does not answer in JSON"),
        (200, "[" * 100_000, "does not answer in JSON"),
        (404, None, "does not answer as a schema registry: status 404"),
        (301, None, "redirects"),
    ],
)
async def test_what_is_not_a_registry_knows_nothing_about_schemas(status: int, body: str | None, words: str) -> None:
    async with stub_registry() as proxy, stub_registry() as stub:
        proxy.body = body
        proxy.failures |= {} if status == 200 else {"": status}
        added = stub.add("features-value", AVRO)
        ref = SchemaRef(id=added.id)
        async with open_registry(SchemaRegistrySection(urls=(proxy.url,))) as client:
            for request in (client.get(ref), client.latest("new"), client.check_compatible("new", "AVRO", AVRO)):
                with pytest.raises(RegistryUnavailable, match=words):
                    await request
        async with open_registry(SchemaRegistrySection(urls=(proxy.url, stub.url))) as client:
            assert (await client.get(ref)).text == AVRO
            assert (await client.latest("features-value")).version == 1
        assert stub.requests.total() == 2 and proxy.requests.total() == 4


async def test_a_slow_registry_is_unavailable() -> None:
    async with registry(timeout_ms=20) as (stub, client):
        stub.delay_s = 0.2
        with pytest.raises(RegistryUnavailable, match=r"no answer within 0\.02 s"):
            await client.get(SchemaRef(id=1))


async def test_the_urls_are_tried_in_turn_and_the_one_that_answers_stays_first() -> None:
    async with stub_registry() as away, stub_registry() as stub:
        away.failures[""] = 503
        added = [stub.add("a", AVRO), stub.add("b", '"string"')]
        section = SchemaRegistrySection(urls=(away.url + "/", "http://127.0.0.1:1", stub.url))
        async with open_registry(section) as client:
            for one in added:
                await client.get(SchemaRef(id=one.id))
            assert away.requests.total() == 1
            stub.failures[""] = 500
            with pytest.raises(RegistryUnavailable) as caught:
                await client.versions("a")
        assert all(url in caught.value.message for url in (away.url, stub.url, "http://127.0.0.1:1"))


@pytest.mark.parametrize(
    ("settings", "authorization"),
    [
        (
            {"username": "ké", "password": "pa:ss"},
            "Basic " + base64.b64encode("ké:pa:ss".encode()).decode(),
        ),
        ({"bearer_token": "t0ken"}, "Bearer t0ken"),
    ],
)
async def test_credentials_are_sent(settings: dict[str, str], authorization: str) -> None:
    async with registry(**settings) as (stub, client):
        stub.authorization = authorization
        assert await client.subjects() == []
        stub.authorization = "Bearer other"
        with pytest.raises(RegistryDenied) as caught:
            await client.subjects()
        assert not any(secret in caught.value.description for secret in ("pa:ss", "t0ken"))


async def test_mutual_tls() -> None:
    files = {"certfile": CERTIFICATES / "client.pem", "keyfile": CERTIFICATES / "client-key.pem", "password": PASSWORD}
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=CERTIFICATES / "ca.pem")
    server.verify_mode = ssl.CERT_REQUIRED
    server.load_cert_chain(**files)
    ca = {"ssl_cafile": str(CERTIFICATES / "ca.pem")}
    own = ca | {"ssl_certfile": str(files["certfile"]), "ssl_keyfile": str(files["keyfile"]), "ssl_password": PASSWORD}
    async with stub_registry(server) as stub:
        for settings, may_read in ((own, True), (ca, False), ({}, False)):
            async with open_registry(SchemaRegistrySection.model_validate({"urls": (stub.url,), **settings})) as client:
                if may_read:
                    assert await client.subjects() == []
                else:
                    with pytest.raises(RegistryUnavailable):
                        await client.subjects()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"ssl_cafile": str(CERTIFICATES / "client-key.pem")}, "ssl_cafile: .* cannot be used"),
        ({"ssl_certfile": str(CERTIFICATES / "ca.pem")}, "ssl_certfile: .* cannot be used"),
    ],
)
async def test_files_for_tls_that_cannot_be_used(settings: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        async with open_registry(SchemaRegistrySection.model_validate({"urls": ("https://a",), **settings})):
            pass


async def test_large_answers_are_refused() -> None:
    async with registry(max_response_bytes=2_000) as (stub, client):
        added = stub.add("features-value", json.dumps({"doc": "x" * 3_000}))
        with pytest.raises(SchemaInvalid, match="larger than 2,000 bytes"):
            await client.get(SchemaRef(id=added.id))


async def test_compressed_answers_are_not_asked_for() -> None:
    async with registry() as (stub, client):
        stub.body = "{}"
        with pytest.raises(SchemaInvalid, match="contains no schema"):
            await client.get(SchemaRef(id=1))
        assert stub.last_headers["Accept-Encoding"] == "identity"


async def test_references_are_resolved_depth_first_and_once() -> None:
    async with registry() as (stub, client):
        stub.add("d", "text d", "PROTOBUF")
        to_d = {"name": "d.proto", "subject": "d", "version": 1}
        stub.add("b/x", "text b", "PROTOBUF", references=[to_d])
        stub.add("c", "text c", "PROTOBUF", references=[to_d])
        top = stub.add(
            "a",
            "text a",
            "PROTOBUF",
            references=[
                {"name": "b.proto", "subject": "b/x", "version": 1},
                {"name": "c.proto", "subject": "c", "version": 1},
            ],
        )
        schema = await client.get(SchemaRef(id=top.id))
        assert schema.references == (
            ReferencedSchema("d.proto", "d", 1, "text d"),
            ReferencedSchema("b.proto", "b/x", 1, "text b"),
            ReferencedSchema("c.proto", "c", 1, "text c"),
        )
        assert stub.requests["GET /subjects/d/versions/1"] == 1


async def test_a_cycle_of_references_is_refused() -> None:
    async with registry() as (stub, client):
        to = {subject: [{"name": subject, "subject": subject, "version": 1}] for subject in "ab"}
        stub.add("a", "text a", references=to["b"])
        top = stub.add("b", "text b", references=to["a"])
        with pytest.raises(SchemaInvalid, match=r"cycle.*subject b"):
            await client.get(SchemaRef(id=top.id))


async def test_deep_references_are_refused() -> None:
    async with registry() as (stub, client):
        for level in range(MAX_REFERENCE_DEPTH + 2):
            references = [{"name": "below", "subject": str(level - 1), "version": 1}] if level else []
            top = stub.add(str(level), f"text {level}", references=references)
        with pytest.raises(SchemaInvalid, match="levels deep"):
            await client.get(SchemaRef(id=top.id))
        assert (await client.get(SchemaRef(id=top.id - 1))).text == f"text {MAX_REFERENCE_DEPTH}"


async def test_a_missing_reference_names_the_schema_that_needs_it() -> None:
    async with registry() as (stub, client):
        top = stub.add("a", "text", references=[{"name": "b", "subject": "b", "version": 3}])
        with pytest.raises(SchemaNotFound, match="version 3 of subject b, to which the schema with id 1 refers"):
            await client.get(SchemaRef(id=top.id))


async def test_rules_are_named() -> None:
    rules = {
        "domainRules": [
            {"name": "encryptPII", "kind": "TRANSFORM", "type": "ENCRYPT", "mode": "WRITEREAD"},
            {"name": "off", "kind": "CONDITION", "type": "CEL", "mode": "WRITE", "disabled": True},
        ],
        "migrationRules": [{"name": "v1to2", "kind": "TRANSFORM", "type": "JSONATA", "mode": "UPGRADE"}],
    }
    async with registry() as (stub, client):
        added = stub.add("features-value", AVRO, ruleSet=rules)
        above = stub.add("above", AVRO, references=[{"name": "x", "subject": "features-value", "version": 1}])
        plain = stub.add("plain", AVRO, ruleSet={"domainRules": [], "migrationRules": None})
        named = ("TRANSFORM encryptPII (ENCRYPT, in domainRules)", "TRANSFORM v1to2 (JSONATA, in migrationRules)")
        assert (await client.get(SchemaRef(id=added.id))).rules == named
        assert (await client.get(SchemaRef(id=above.id))).rules == named
        assert (await client.get(SchemaRef(id=plain.id))).rules == ()


async def test_versions_of_a_subject() -> None:
    async with registry() as (stub, client):
        first, second = stub.add("a/b c", AVRO), stub.add("a/b c", '"long"')
        assert await client.versions("a/b c") == [1, 2]
        latest = await client.latest("a/b c")
        assert (latest.ref, latest.version, latest.subject) == (SchemaRef(id=second.id), 2, "a/b c")
        assert (await client.subject_version("a/b c", 1)).ref == SchemaRef(id=first.id)
        assert SchemaRef(id=first.id) in client.store
        for missing in (client.latest("none"), client.versions("none"), client.subject_version("a/b c", 9)):
            with pytest.raises(SchemaNotFound):
                await missing


async def test_a_schema_is_checked_and_registered() -> None:
    async with registry() as (stub, client):
        assert await client.check_compatible("new", "AVRO", AVRO) == []
        references = [Reference("d.proto", "d", 1)]
        number = await client.register("new", "PROTOBUF", "text", references)
        assert stub.subjects["new"][0].document["references"] == [{"name": "d.proto", "subject": "d", "version": 1}]
        assert await client.registered_id("new", "PROTOBUF", "text") == number
        assert await client.registered_id("new", "PROTOBUF", "other") is None
        stub.incompatible = ["reader field 'x' has no default"]
        assert await client.check_compatible("new", "AVRO", AVRO) == ["reader field 'x' has no default"]
        with pytest.raises(SchemaIncompatible, match="status 409"):
            await client.register("new", "AVRO", AVRO)


@pytest.mark.parametrize(
    "body",
    ["[]", "{}", '{"schema": 1}', '{"schema": "x", "schemaType": "XML"}', '{"schema": "x", "references": [1]}',
     '{"schema": "x", "ruleSet": []}', '{"schema": "x", "ruleSet": {"domainRules": [1]}}'],
)  # fmt: skip
async def test_answers_that_are_not_understood_are_refused(body: str) -> None:
    async with registry() as (stub, client):
        stub.body = body
        with pytest.raises(SchemaInvalid):
            await client.get(SchemaRef(id=1))


async def test_a_registry_has_to_be_configured() -> None:
    with pytest.raises(ConfigError, match="no schema registry"):
        async with open_registry(SchemaRegistrySection()):
            pass
