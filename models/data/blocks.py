"""The parts of a table: parse them in threads, in order, and cut them into batches of equal size."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol, TypeVar, cast

import pyarrow as pa

from forebay.models.data.input_row import InvalidRow

T = TypeVar("T")


class ParsedBlock(NamedTuple):
    """A part of a table, and the rows of that part that could not be read."""

    batch: pa.RecordBatch
    invalid: list[InvalidRow]


Task = Callable[[], ParsedBlock]


class OpenTable(Protocol):
    """An open file. All of its blocks have the schema `schema`."""

    @property
    def schema(self) -> pa.Schema: ...

    def tasks(self) -> Iterator[Task]:
        """Yield what parses the blocks, in order; tasks may run in other threads."""
        ...


def run_in_order(tasks: Iterable[tuple[str, Task]], workers: int) -> Generator[tuple[str, ParsedBlock], None, None]:
    """Yield the results of named tasks in order, and run as many at a time as there are workers."""
    if workers == 1:
        for name, task in tasks:
            yield name, task()
        return
    running: deque[tuple[str, Future[ParsedBlock]]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="forebay-table") as pool:
        try:
            for name, task in tasks:
                running.append((name, pool.submit(task)))
                if len(running) > workers:
                    first, future = running.popleft()
                    yield first, future.result()
            while running:
                first, future = running.popleft()
                yield first, future.result()
        finally:
            for _, future in running:
                future.cancel()


def rebatch(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """Yield the same rows in batches of `rows`, the last one smaller; one empty batch if there are no rows."""
    pending: list[pa.RecordBatch] = []
    num_pending, empty, yielded = 0, None, False
    for batch in batches:
        if not batch.num_rows:
            empty = batch
            continue
        start = 0
        while num_pending + batch.num_rows - start >= rows:
            taken = rows - num_pending
            yield _joined([*pending, batch.slice(start, taken)])
            pending, num_pending, yielded = [], 0, True
            start += taken
        if start < batch.num_rows:
            pending.append(batch.slice(start))
            num_pending += batch.num_rows - start
    if pending:
        yield _joined(pending)
    elif not yielded and empty is not None:
        yield empty


def _joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)


class _Failure(NamedTuple):
    error: BaseException


_END = object()


def prefetched(items: Generator[T, None, None], depth: int) -> Generator[T, None, None]:
    """Yield the same items, and compute up to `depth` of them in advance in a thread."""
    if depth == 0:
        yield from items
        return
    waiting: queue.Queue[Any] = queue.Queue(depth)
    stopped = threading.Event()

    def run() -> None:
        try:
            for item in items:
                waiting.put(item)
                if stopped.is_set():
                    break
            waiting.put(_END)
        except BaseException as error:
            waiting.put(_Failure(error))
        finally:
            items.close()

    thread = threading.Thread(target=run, name="forebay-table", daemon=True)
    thread.start()
    try:
        while (item := waiting.get()) is not _END:
            if isinstance(item, _Failure):
                raise item.error
            yield cast("T", item)
    finally:
        stopped.set()
        # The thread may wait for room, at most twice: for an item and for the end.
        while thread.is_alive():
            _drain(waiting)
            thread.join(0.01)


def _drain(waiting: queue.Queue[Any]) -> None:
    try:
        while True:
            waiting.get_nowait()
    except queue.Empty:
        pass
