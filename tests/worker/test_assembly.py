"""The assembly of a worker, as far as it needs no cluster, and the failure slot."""

from __future__ import annotations

import asyncio

import pytest

from forebay.schemas.errors import ConfigError
from forebay.stream.config.sections import Settings
from forebay.stream.core.clock import SystemClock
from forebay.stream.core.stop_request import StoppedEarly, StopRequest
from forebay.stream.worker.assembly import WorkerAssembly
from forebay.stream.worker.worker import FailureSlot
from tests.worker.echo import HashModel, WindowHashModel


def settings(**sections: object) -> Settings:
    return Settings.model_validate(
        {"model": {"name": "echo"}, "kafka": {"bootstrap_servers": "127.0.0.1:1"}, **sections}
    )


async def test_a_stop_before_the_cluster_answers_ends_the_assembly() -> None:
    stop = StopRequest()
    stop.request(15)
    with pytest.raises(StoppedEarly):
        await WorkerAssembly(settings(), [HashModel("echo")], clock=SystemClock()).assemble(stop)


async def test_a_window_model_without_configured_windows_is_refused_before_connecting() -> None:
    with pytest.raises(ConfigError, match=r"window\.kind = none"):
        WorkerAssembly(settings(), [WindowHashModel("windows")], clock=SystemClock())


async def test_the_first_failure_is_the_one_that_is_raised() -> None:
    slot = FailureSlot(asyncio.get_running_loop())
    slot.raise_if_filled()
    slot.report(ValueError("first"))
    slot.report(ValueError("second"))
    assert slot.is_filled
    with pytest.raises(ValueError, match="first"):
        slot.raise_if_filled()


async def test_a_failure_ends_the_wait_for_a_task() -> None:
    slot, never = FailureSlot(asyncio.get_running_loop()), asyncio.Event()
    task = asyncio.create_task(never.wait())
    waiting = asyncio.create_task(slot.wait_with(task))
    await asyncio.sleep(0)
    assert not waiting.done()
    slot.report(ValueError("failed"))
    await waiting
    assert not task.done()
    task.cancel()
    with pytest.raises(ValueError, match="failed"):
        slot.raise_if_filled()


async def test_a_task_that_is_done_ends_the_wait() -> None:
    slot = FailureSlot(asyncio.get_running_loop())
    await slot.wait_with(asyncio.create_task(asyncio.sleep(0)))
    assert not slot.is_filled
