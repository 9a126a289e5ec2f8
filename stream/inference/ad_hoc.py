"""Micro-batches outside the stream, such as requests of the admin API, and the futures of their results."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from forebay.stream.core.records import BatchResult, MicroBatch
from forebay.stream.inference.bisect import ModelFault
from forebay.stream.inference.executor import Deferred


class AdHocBatch(NamedTuple):
    """A micro-batch outside the stream, and the future of its result."""

    batch: MicroBatch
    result: asyncio.Future[BatchResult]


def resolve(future: asyncio.Future[BatchResult], result: BatchResult | Deferred) -> None:
    """Set the result of an ad hoc micro-batch; ModelFault if the model could not run."""
    if future.done():
        return
    if isinstance(result, Deferred):
        future.set_exception(ModelFault(result.reason))
    else:
        future.set_result(result)


def succeed(future: asyncio.Future[None]) -> None:
    """Complete a future that is still awaited."""
    if not future.done():
        future.set_result(None)


def fail(future: asyncio.Future[None], error: BaseException) -> None:
    """Let a future that is still awaited raise an error."""
    if not future.done():
        future.set_exception(error)
