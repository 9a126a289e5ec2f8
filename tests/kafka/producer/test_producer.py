"""An abandoned producer is closed, whatever interrupts that."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import ProducerClosed, ProducerFenced

from forebay.stream.kafka.producer.producer import OutputProducer


async def test_a_producer_is_closed_even_if_abandon_is_interrupted() -> None:
    loop, complaints = asyncio.get_running_loop(), []
    loop.set_exception_handler(lambda _loop, context: complaints.append(context["message"]))
    output_producer = OutputProducer({}, compression_type=None, max_batch_bytes=1 << 20)
    producer: Any = AIOKafkaProducer()
    released = asyncio.Event()

    async def stubborn() -> None:
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:
                continue

    producer._sender._sender_task = sending = asyncio.create_task(stubborn())
    output_producer._producer = producer
    abandoning = asyncio.create_task(output_producer.abandon())
    await asyncio.sleep(0.01)
    abandoning.cancel()
    await asyncio.gather(abandoning, return_exceptions=True)
    assert abandoning.cancelled()
    released.set()
    await sending
    del producer, sending, abandoning
    gc.collect()
    assert complaints == []


async def test_a_producer_that_is_fenced_while_it_closes_raises_nothing() -> None:
    output_producer = OutputProducer({}, compression_type=None, max_batch_bytes=1 << 20)
    producer: Any = AIOKafkaProducer()

    async def fenced() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ProducerFenced from None

    producer._sender._sender_task = sending = asyncio.create_task(fenced())
    output_producer._producer = producer
    await output_producer.stop(timeout_s=5)
    assert sending.done() and isinstance(sending.exception(), ProducerFenced)
    with pytest.raises(ProducerClosed):
        _ = output_producer.producer
