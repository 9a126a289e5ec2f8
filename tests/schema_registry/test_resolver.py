from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from forebay.stream.config.sections import SchemaRegistrySection
from forebay.stream.core.backoff import Backoff
from forebay.stream.schema_registry.connection import open_registry
from forebay.stream.schema_registry.resolver import SchemaResolver
from forebay.stream.schema_registry.schema import SchemaRef
from tests.core.build import ManualClock
from tests.eventually import eventually
from tests.registry.stub import StubRegistry, stub_registry

ONE = SchemaRef(id=1)


class Sleeps:
    """Waits that take no time: the clock advances by them."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.waits: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.clock.advance(seconds)
        await asyncio.sleep(0)


@asynccontextmanager
async def resolving(**more: Any) -> AsyncIterator[tuple[StubRegistry, SchemaResolver, Sleeps]]:
    clock = ManualClock()
    sleeps = Sleeps(clock)
    async with stub_registry() as stub:
        section = SchemaRegistrySection(urls=(stub.url,))
        async with open_registry(section, clock=clock) as client:
            backoff = Backoff(0.5, 15.0, jitter=lambda: 1.0)
            resolver = SchemaResolver(client, clock, backoff=backoff, sleep=sleeps, **more)
            try:
                yield stub, resolver, sleeps
            finally:
                await resolver.stop()


async def test_a_schema_that_is_wanted_becomes_known() -> None:
    async with resolving() as (stub, resolver, sleeps):
        stub.add("a", '"long"')
        assert not resolver.is_resolved(ONE)
        resolver.want([ONE])
        await eventually(lambda: resolver.is_resolved(ONE), "the schema", every_s=0)
        await eventually(lambda: resolver.results == {"found": 1}, "the result", every_s=0)
        assert sleeps.waits == []
        resolver.want([ONE])
        resolver.want([])
        assert stub.requests.total() == 1


async def test_an_outage_of_ten_minutes_is_bridged_with_growing_waits(caplog: pytest.LogCaptureFixture) -> None:
    async with resolving() as (stub, resolver, sleeps):
        stub.add("a", '"long"')
        stub.failures[""] = 503
        began_s = sleeps.clock.now_s
        with caplog.at_level(logging.WARNING):
            resolver.want([ONE])
            await eventually(lambda: sleeps.clock.now_s >= began_s + 600, "ten minutes", every_s=0)
            assert not resolver.is_resolved(ONE)
            assert "status 503" in str(resolver.problem(ONE))
            stub.failures.clear()
            await eventually(lambda: resolver.is_resolved(ONE), "the schema", every_s=0)
        assert sleeps.waits[:6] == [0.5, 1, 2, 4, 8, 15] and set(sleeps.waits[6:]) == {15}
        assert stub.requests.total() == len(sleeps.waits) + 1 < 50, "not a busy loop"
        assert len([line for line in caplog.messages if "wait" in line]) == 2, "the first and the tenth failure"
        await eventually(lambda: resolver.problem(ONE) is None, "the end of the look-up", every_s=0)


async def test_a_schema_that_the_registry_does_not_have_is_asked_for_again() -> None:
    async with resolving() as (stub, resolver, _):
        resolver.want([ONE])
        await eventually(lambda: resolver.results["schema_not_found"] >= 3, "failures", every_s=0)
        assert not resolver.is_resolved(ONE) and "404" in str(resolver.problem(ONE))
        stub.add("a", '"long"')
        await eventually(lambda: resolver.is_resolved(ONE), "the schema", every_s=0)


async def test_it_can_be_rejected_instead_and_is_asked_for_later() -> None:
    async with resolving(rejects_unknown=True, reject_ttl_s=60) as (stub, resolver, sleeps):
        resolver.want([ONE])
        await eventually(lambda: resolver.is_resolved(ONE), "the answer", every_s=0)
        assert ONE not in resolver.client.store and sleeps.waits == []
        stub.add("a", '"long"')
        sleeps.clock.advance(61)
        assert resolver.is_rejected(ONE), "as long as it is wanted, so that no partition waits for ever"
        resolver.want([])
        assert not resolver.is_resolved(ONE)
        resolver.want([ONE])
        await eventually(lambda: ONE in resolver.client.store, "the schema", every_s=0)


@pytest.mark.parametrize("status", [401, 404, 503])
async def test_an_outage_rejects_nothing(status: int) -> None:
    """Proxies answer 404 for an unreachable service, too, but without the error codes of a registry."""
    async with resolving(rejects_unknown=True) as (stub, resolver, sleeps):
        stub.failures[""] = status
        resolver.want([ONE])
        await eventually(lambda: len(sleeps.waits) > 3, "retries", every_s=0)
        assert not resolver.is_resolved(ONE)


async def test_what_is_no_longer_wanted_is_no_longer_asked_for() -> None:
    async with resolving() as (stub, resolver, sleeps):
        stub.failures[""] = 500
        resolver.want([ONE])
        await eventually(lambda: len(sleeps.waits) > 2, "retries", every_s=0)
        resolver.want([])
        for _ in range(3):
            await asyncio.sleep(0)
        asked = stub.requests.total()
        for _ in range(20):
            await asyncio.sleep(0)
        assert stub.requests.total() <= asked + 1 and resolver.problem(ONE) is None
