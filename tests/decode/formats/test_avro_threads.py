"""Several threads use one format: the decoder, requests and shadows."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable

import fastavro
import pytest

from forebay.stream.decode.formats import avro, avro_unframed
from forebay.stream.decode.formats.avro import AvroFormat
from forebay.stream.decode.formats.avro_unframed import UnframedAvroFormat
from forebay.stream.schema_registry.schema import RegisteredSchema, SchemaRef
from forebay.stream.schema_registry.store import SchemaStore

TEXT = json.dumps({"type": "record", "name": "R", "fields": [{"name": f"f{n}", "type": "int"} for n in range(8)]})
PAYLOAD = bytes(range(0, 16, 2))
DOCUMENT = {f"f{n}": n for n in range(8)}


def run_all(*targets: Callable[[], None]) -> None:
    threads = [threading.Thread(target=target) for target in targets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_one_schema_is_planned_by_several_threads_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(avro, "MAX_PLANS", 1)
    made = AvroFormat(TEXT)
    failures: list[BaseException] = []

    def read(number: int) -> None:
        try:
            for turn in range(300):
                name = f"f{(number + turn) % 8}"
                parsed = made.columns([PAYLOAD] * 2, [(name,)], start=0)
                assert parsed is not None and parsed.columns[(name,)].values.tolist() == [DOCUMENT[name]] * 2
        except BaseException as error:
            failures.append(error)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        run_all(*(lambda number=number: read(number) for number in range(3)))  # type: ignore[misc]
    finally:
        sys.setswitchinterval(before)
    assert not failures


def test_a_fingerprint_that_another_thread_is_learning_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    store = SchemaStore()
    store.put(RegisteredSchema(SchemaRef(id=1), "AVRO", TEXT))
    unframed = UnframedAvroFormat(store=store)
    fingerprint = fastavro.schema.fingerprint(
        fastavro.schema.to_parsing_canonical_form(json.loads(TEXT)), "CRC-64-AVRO"
    )
    value = b"\xc3\x01" + bytes.fromhex(fingerprint) + PAYLOAD
    building, release = threading.Event(), threading.Event()
    read: list[object] = []

    def slow(*args: object) -> AvroFormat:
        building.set()
        assert release.wait(10)
        return AvroFormat(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(avro_unframed, "AvroFormat", slow)
    first = threading.Thread(target=lambda: read.append(unframed.document(value)))
    first.start()
    assert building.wait(10)
    second = threading.Thread(target=lambda: read.append(unframed.document(value)))
    second.start()
    second.join(0.05)
    release.set()
    first.join()
    second.join()
    assert read == [DOCUMENT, DOCUMENT]
