"""The thread of a shadow."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable

import pytest

from forebay.stream.core.clock import SystemClock
from forebay.stream.core.records import FloatMatrix
from forebay.stream.core.thread_priority import NICENESS
from forebay.stream.decode import DecodedModel, Decoder
from forebay.stream.inference import device_thread
from forebay.stream.rollouts.sampling import OffsetSample
from forebay.stream.shadows.job import ShadowJob, ShadowOutcome, sampled_rows
from forebay.stream.shadows.thread import ShadowThread
from forebay.stream.shadows.work import ShadowWork
from tests.shadows.build import ONE_FEATURE, SHADOW, TOPIC, ShadowModel, result


class Rig:
    """A thread that runs a model, with the outcomes that it has passed to the event loop."""

    def __init__(self, model: ShadowModel) -> None:
        self.clock = SystemClock()
        self.outcomes: asyncio.Queue[tuple[ShadowOutcome, int]] = asyncio.Queue()
        work = ShadowWork(
            model,
            decoder=Decoder([DecodedModel(SHADOW, model.signature)], max_event_bytes=1_000),
            primaries={1: ONE_FEATURE},
            topic=TOPIC,
            clock=self.clock,
            deadline_s=60.0,
        )
        self.thread = ShadowThread(
            work,
            on_outcome=lambda outcome: self.outcomes.put_nowait((outcome, threading.get_native_id())),
            clock=self.clock,
            loop=asyncio.get_running_loop(),
        )

    def submit(self) -> None:
        found = result()
        parts = sampled_rows(found, OffsetSample(1.0, 0))
        now_s = self.clock.monotonic_s()
        self.thread.submit(ShadowJob(found, parts, has_same_columns=True, revision=1, offered_s=now_s))


async def test_jobs_run_on_a_thread_of_low_priority_and_their_outcomes_return_to_the_loop() -> None:
    seen: list[tuple[int, int]] = []

    def note(x_BF: FloatMatrix) -> None:
        thread = threading.get_native_id()
        seen.append((thread, os.getpriority(os.PRIO_PROCESS, thread) if sys.platform == "linux" else NICENESS))

    rig = Rig(ShadowModel(on_call=note))
    await rig.thread.start([4])
    rig.submit()
    rig.submit()
    for _ in range(2):
        outcome, thread = await rig.outcomes.get()
        assert outcome.comparison is not None and outcome.comparison.events == 10
        assert thread == threading.get_native_id()
    rig.thread.stop()
    own = os.getpriority(os.PRIO_PROCESS, 0) if sys.platform == "linux" else 0
    assert seen[0][0] != threading.get_native_id()
    assert seen[0][1] == min(19, own + NICENESS)


async def test_the_loop_is_free_while_a_call_hangs_and_the_process_knows_of_it() -> None:
    entered, leave = threading.Event(), threading.Event()

    def hang(x_BF: FloatMatrix) -> None:
        entered.set()
        assert leave.wait(60)

    rig = Rig(ShadowModel(on_call=hang))
    await rig.thread.start([4])
    rig.submit()
    await asyncio.to_thread(entered.wait, 60)
    assert rig.thread.running_for_s() > 0
    assert device_thread.any_running()
    rig.submit()
    rig.thread.stop()
    leave.set()
    await rig.outcomes.get()
    assert rig.outcomes.empty()  # the second job was dropped
    assert rig.thread.running_for_s() == 0


def out_of_memory(x_BF: FloatMatrix) -> None:
    raise MemoryError("7 GiB")


def exits(x_BF: FloatMatrix) -> None:
    raise SystemExit(3)


@pytest.mark.parametrize("on_call", [out_of_memory, exits])
async def test_whatever_a_model_raises_is_an_outcome(on_call: Callable[[FloatMatrix], None]) -> None:
    rig = Rig(ShadowModel(on_call=on_call))
    await rig.thread.start([4])
    rig.submit()
    outcome, _ = await rig.outcomes.get()
    assert outcome.fault is not None
    rig.thread.stop()


async def test_a_start_raises_the_error_of_the_warm_up() -> None:
    class Cold(ShadowModel):
        def warm_up(self, batch_sizes: object) -> None:
            raise ValueError("no device")

    with pytest.raises(ValueError, match="no device"):
        await Rig(Cold()).thread.start([4])
