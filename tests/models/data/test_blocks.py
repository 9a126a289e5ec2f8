"""Blocks: batches of equal size, threads that work ahead, and results in order."""

from __future__ import annotations

import threading
from collections.abc import Generator

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.models.data.blocks import ParsedBlock, Task, prefetched, rebatch, run_in_order
from forebay.schemas.errors import DataError


def batch(*values: int) -> pa.RecordBatch:
    return pa.record_batch({"x": pa.array(values, pa.int64())})


@given(st.lists(st.integers(0, 9), max_size=8), st.integers(1, 7))
def test_batches_have_the_asked_size_and_the_same_rows(sizes: list[int], rows: int) -> None:
    numbers = iter(range(sum(sizes)))
    found = list(rebatch([batch(*(next(numbers) for _ in range(size))) for size in sizes], rows))
    assert [value for part in found for value in part["x"].to_pylist()] == list(range(sum(sizes)))
    assert all(part.num_rows == rows for part in found[:-1])
    if sizes:
        assert len(found) == max(1, -(-sum(sizes) // rows))


def counted(made: list[int], closed: threading.Event) -> Generator[int, None, None]:
    try:
        for number in range(100):
            made.append(number)
            yield number
    finally:
        closed.set()


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_items_are_computed_in_advance_but_not_more_than_asked(depth: int) -> None:
    made: list[int] = []
    closed = threading.Event()
    items = prefetched(counted(made, closed), depth)
    assert [next(items) for _ in range(5)] == [0, 1, 2, 3, 4]
    # One more than fits into the queue waits to be put there.
    assert len(made) <= 5 + depth + 1
    items.close()
    if depth:
        assert closed.is_set(), "the thread has ended, and the source is closed"
        assert not any(thread.name == "forebay-table" for thread in threading.enumerate())
    assert list(prefetched(counted([], closed), depth)) == list(range(100))


def test_an_error_arrives_after_the_items_before_it() -> None:
    def failing() -> Generator[int, None, None]:
        yield 1
        raise DataError("broken")

    items = prefetched(failing(), 2)
    assert next(items) == 1
    with pytest.raises(DataError, match="broken"):
        next(items)


@pytest.mark.parametrize("workers", [1, 3])
def test_results_are_in_order_whichever_task_ends_first(workers: int) -> None:
    second_has_run = threading.Event()

    def task(number: int) -> Task:
        def run() -> ParsedBlock:
            if number == 0 and workers > 1:
                assert second_has_run.wait(30)
            if number == 1:
                second_has_run.set()
            return ParsedBlock(batch(number), [])

        return run

    results = run_in_order(((str(number), task(number)) for number in range(20)), workers)
    assert [(name, block.batch["x"][0].as_py()) for name, block in results] == [(str(n), n) for n in range(20)]


def test_the_error_of_a_task_ends_the_others() -> None:
    def fail() -> ParsedBlock:
        raise DataError("broken")

    results = run_in_order([("a", lambda: ParsedBlock(batch(1), [])), ("b", fail), ("c", fail)], 2)
    assert next(results)[0] == "a"
    with pytest.raises(DataError, match="broken"):
        list(results)
