"""`forebay schemas register`, `list` and `show`, over a stub registry."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from forebay.stream.cli import main
from tests.registry.stub import StubRegistry, stub_registry

AVRO = '{"type": "record", "name": "Event", "fields": []}'


@pytest.fixture(scope="module")
def running() -> Iterator[StubRegistry]:
    """A stub registry on a thread, because commands run event loops of their own."""
    loop, ready, stubs = asyncio.new_event_loop(), threading.Event(), []
    stopping = asyncio.Event()

    async def serve() -> None:
        async with stub_registry() as stub:
            stubs.append(stub)
            ready.set()
            await stopping.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert ready.wait(10)
    yield stubs[0]
    loop.call_soon_threadsafe(stopping.set)
    thread.join()
    loop.close()


@pytest.fixture
def stub(running: StubRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StubRegistry:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FOREBAY_SCHEMA_REGISTRY__URLS", running.url)
    running.subjects.clear()
    running.incompatible, running.failures = [], {}
    (tmp_path / "event.avsc").write_text(AVRO)
    return running


def run(capsys: pytest.CaptureFixture[str], *args: str, status: int = 0) -> str:
    assert main(["schemas", *args]) == status
    captured = capsys.readouterr()
    return captured.out + captured.err


def run_json(capsys: pytest.CaptureFixture[str], *args: str, status: int = 0) -> Any:
    return json.loads(run(capsys, *args, "--json", status=status))


def test_a_dry_run_registers_nothing(stub: StubRegistry, capsys: pytest.CaptureFixture[str]) -> None:
    args = ("register", "--subject", "features-value", "--file", "event.avsc")
    assert "is compatible; nothing was registered" in run(capsys, *args, "--dry-run")
    assert stub.subjects == {}
    assert "was registered with id 1" in run(capsys, *args)
    assert "has this schema already, with id 1" in run(capsys, *args)
    result = run_json(capsys, *args, "--dry-run")
    assert (result["id"], result["existed"], result["compatible"], result["dry_run"]) == (1, True, True, True)
    assert stub.subjects["features-value"][0].document == {"schema": AVRO}


def test_an_incompatible_schema_is_not_registered(stub: StubRegistry, capsys: pytest.CaptureFixture[str]) -> None:
    stub.add("features-value", '"long"')
    stub.incompatible = ["reader field 'x' has no default"]
    args = ("register", "--subject", "features-value", "--file", "event.avsc")
    shown = run(capsys, *args, status=1)
    assert "not compatible" in shown and "reader field 'x' has no default" in shown
    assert run_json(capsys, *args, status=1)["conflicts"] == ["reader field 'x' has no default"]
    assert len(stub.subjects["features-value"]) == 1


def test_references_and_types(stub: StubRegistry, capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.proto").write_text("syntax = 'proto3';")
    for version in range(3):
        stub.add("ctx:c", f"syntax = 'proto3'; message M{version} {{}}", "PROTOBUF")
    run(capsys, "register", "--subject", "a", "--file", "a.proto", "--reference", "c.proto=ctx:c:3")
    assert stub.subjects["a"][0].document == {
        "schema": "syntax = 'proto3';",
        "schemaType": "PROTOBUF",
        "references": [{"name": "c.proto", "subject": "ctx:c", "version": 3}],
    }
    Path("event").write_text('{"type": "object"}')
    run(capsys, "register", "--subject", "b", "--file", "event", "--type", "json")
    assert stub.subjects["b"][0].document["schemaType"] == "JSON"


@pytest.mark.parametrize("dry_run", [("--dry-run",), ()])
@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.avsc", '{"type": "record", "name": "A", "fields": [{"name": "x"}]}', "a.avsc: the Avro schema"),
        ("a.avsc", '{"type": "record", "name": "A"', "a.avsc: the Avro schema"),
        (
            "a.avsc",
            '{"type": "record", "name": "A", "fields": [{"name": "x", "type": "B"}]}',
            "a.avsc: the Avro schema",
        ),
        ("a.proto", "syntax = 'proto3'; message A { strin a = 1; }", "a.proto: the Protobuf schema"),
        ("a.proto", "syntax = 'proto3'; message A { string a = ; }", "a.proto: the Protobuf schema"),
        ("a.json", '{"type": "objekt"}', "a.json: the JSON schema"),
        ("a.json", '{"$ref": "other.json"}', "a.json: the JSON schema"),
        ("a.json", '{"properties": {"x": {"pattern": "(?=a)"}}}', "a.json: the JSON schema"),
    ],
)
def test_an_invalid_schema_is_refused_before_the_registry_is_asked(
    name: str, text: str, words: str, dry_run: tuple[str, ...], stub: StubRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(name).write_text(text)
    before = stub.requests.total()
    shown = run(capsys, "register", "--subject", "a", "--file", name, *dry_run, status=2)
    assert words in shown and "nothing was registered" in shown
    assert stub.requests.total() == before and stub.subjects == {}


def test_a_schema_is_checked_with_its_references(stub: StubRegistry, capsys: pytest.CaptureFixture[str]) -> None:
    stub.add("money-value", '{"type": "record", "name": "Money", "fields": [{"name": "x", "type": "int"}]}')
    Path("order.avsc").write_text('{"type": "record", "name": "Order", "fields": [{"name": "m", "type": "Money"}]}')
    args = ("register", "--subject", "orders", "--file", "order.avsc", "--dry-run")
    assert "is compatible" in run(capsys, *args, "--reference", "Money=money-value:1")
    assert "money-value" in run(capsys, *args, "--reference", "Money=money-value:2", status=1)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("key.avsc", '"string"'),
        ("e.proto", "syntax = 'proto3'; enum E { NONE = 0; }"),
        ("k.json", '{"type": "string"}'),
    ],
)
def test_schemas_of_keys_and_of_imported_files_are_taken(
    name: str, text: str, stub: StubRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(name).write_text(text)
    assert "is compatible" in run(capsys, "register", "--subject", "key", "--file", name, "--dry-run")


@pytest.mark.parametrize(
    ("args", "status", "words"),
    [
        (("--file", "none.avsc"), 2, "none.avsc: cannot be read"),
        (("--file", "event"), 2, "add --type avro"),
        (("--file", "event.avsc", "--reference", "a=b"), 2, "must be NAME=SUBJECT:VERSION"),
    ],
)
def test_mistakes_have_a_remedy(
    args: tuple[str, ...], status: int, words: str, stub: StubRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    assert words in run(capsys, "register", "--subject", "a", *args, status=status)


def test_subjects_are_listed(stub: StubRegistry, capsys: pytest.CaptureFixture[str]) -> None:
    assert "has no subjects" in run(capsys, "list")
    stub.add("b", '"long"')
    stub.add("a", "1", "JSON")
    stub.add("a", "2", "JSON", ruleSet={"domainRules": [{"name": "pii", "kind": "TRANSFORM", "type": "ENCRYPT"}]})
    lines = run(capsys, "list").splitlines()
    assert lines == [
        "a  JSON      version 2  id 3  rules: TRANSFORM pii (ENCRYPT, in domainRules)",
        "b  AVRO      version 1  id 1",
    ]
    assert [(one["subject"], one["versions"], one["id"]) for one in run_json(capsys, "list")] == [
        ("a", [1, 2], 3),
        ("b", [1], 1),
    ]


def test_a_schema_is_shown(stub: StubRegistry, capsys: pytest.CaptureFixture[str]) -> None:
    first, _ = stub.add("a", '"long"'), stub.add("a", AVRO)
    assert run(capsys, "show", "a") == AVRO + "\n"
    assert run(capsys, "show", "a", "--version", "1") == run(capsys, "show", "--id", str(first.id)) == '"long"\n'
    assert run_json(capsys, "show", "--guid", str(first.guid))["schema"] == '"long"'
    assert "does not have version latest of subject none" in run(capsys, "show", "none", status=1)
    assert "is not a GUID" in run(capsys, "show", "--guid", "x", status=2)
    for args in ((), ("a", "--id", "1"), ("--id", "1", "--version", "2")):
        run(capsys, "show", *args, status=2)


def test_a_registry_that_refuses_the_credentials(stub: StubRegistry, capsys: pytest.CaptureFixture[str]) -> None:
    stub.failures[""] = 401
    shown = run(capsys, "list", status=1)
    assert "refuses the credentials" in shown and "schema_registry.username" in shown and "Traceback" not in shown


def test_a_registry_has_to_be_configured(
    stub: StubRegistry, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("FOREBAY_SCHEMA_REGISTRY__URLS")
    assert "set schema_registry.urls" in run(capsys, "list", status=2)


def test_the_schemas_of_outputs_are_registered_in_their_subjects(
    stub: StubRegistry, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "output.format is json" in run(capsys, "register", "--outputs", status=2)
    monkeypatch.setenv("FOREBAY_OUTPUT__FORMAT", "protobuf")
    monkeypatch.setenv("FOREBAY_DECISION__REVIEW_FROM", "0.4")
    monkeypatch.setenv("FOREBAY_DECISION__REVIEW_TO", "0.6")
    assert "predictions-value: the schema is compatible; nothing" in run(capsys, "register", "--outputs", "--dry-run")
    assert not stub.subjects
    results = run_json(capsys, "register", "--outputs")
    assert [result["subject"] for result in results] == ["predictions-value", "review-value"] == list(stub.subjects)
    assert "predictions-value has this schema already" in run(capsys, "register", "--outputs")
    stub.incompatible = ["READER_FIELD_MISSING_DEFAULT_VALUE"]
    monkeypatch.setenv("FOREBAY_OUTPUT__FORMAT", "avro")
    assert "READER_FIELD_MISSING" in run(capsys, "register", "--outputs", status=1)
    for wrong in (["--outputs", "--subject", "s"], ["--subject", "s"]):
        assert "--outputs" in run(capsys, "register", *wrong, status=2)
