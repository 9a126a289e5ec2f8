from __future__ import annotations

import sys
import threading
from collections.abc import Iterator

import pytest

from forebay.stream.schema_registry.schema import RegisteredSchema, SchemaRef
from forebay.stream.schema_registry.store import SchemaStore


def schema(number: int) -> RegisteredSchema:
    return RegisteredSchema(SchemaRef(id=number), "AVRO", f'"text {number}"')


def test_a_schema_is_known_once_it_was_added() -> None:
    store = SchemaStore()
    assert store.get(SchemaRef(id=1)) is None
    store.put(schema(1))
    assert store.get(SchemaRef(id=1)) == schema(1)
    assert SchemaRef(id=1) in store and SchemaRef(id=2) not in store


def test_the_schema_not_used_for_the_longest_time_is_dropped() -> None:
    store = SchemaStore(max_schemas=2)
    for number in (1, 2):
        store.put(schema(number))
    store.get(SchemaRef(id=1))
    store.put(schema(3))
    assert [number for number in (1, 2, 3) if SchemaRef(id=number) in store] == [1, 3]
    assert len(store) == 2


def test_a_schema_that_is_added_again_takes_no_second_place() -> None:
    store = SchemaStore(max_schemas=2)
    for number in (1, 2, 1, 3):
        store.put(schema(number))
    assert [number for number in (1, 2, 3) if SchemaRef(id=number) in store] == [1, 3]


def test_a_store_needs_a_place() -> None:
    with pytest.raises(ValueError, match="at least one"):
        SchemaStore(0)


@pytest.fixture
def eager_threads() -> Iterator[None]:
    """Let threads take turns as often as possible."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("eager_threads")
def test_a_known_schema_is_found_by_several_threads_at_once() -> None:
    store = SchemaStore(max_schemas=4)
    for number in range(4):
        store.put(schema(number))
    missed: list[int] = []

    def read() -> None:
        for turn in range(5_000):
            if store.get(SchemaRef(id=turn % 4)) is None:
                missed.append(turn)
            store.put(schema(turn % 4))
            list(store)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not missed and len(store) == 4
