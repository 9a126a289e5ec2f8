"""Loading a version while the worker serves: its checks, its retries, and the priority of its thread."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from forebay.models.artefacts.artefact import read_version
from forebay.models.serving.load_budget import Meter
from forebay.schemas.errors import ModelError
from forebay.stream.config.sections import Settings
from forebay.stream.core.backoff import Backoff
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.inference.loading import ModelLoader
from forebay.stream.worker.version_loader import LoadTools, VersionLoader, on_low_priority_thread
from tests.core.build import ManualClock
from tests.eventually import eventually
from tests.models.build import publish


class Rig:
    """A repository with versions 1 and 2 of one model, and a loader. free_bytes: the memory that is left."""

    def __init__(self, folder: Path) -> None:
        self.repository = folder / "models"
        for _ in range(2):
            publish(self.repository)
        settings = Settings.model_validate({"model": {"name": "delays", "repository": str(self.repository)}})
        (self.settings,) = settings.models_to_serve()
        self.clock = ManualClock()
        self.free_bytes = 1 << 40
        self.waits: list[float] = []
        self.after_wait: Callable[[], object] = lambda: None
        meter = Meter(self.clock.monotonic_s, lambda: 0)
        self.tools = LoadTools(
            loader=ModelLoader([self.settings], settings.trust, meter),
            meter=meter,
            available_bytes=lambda: self.free_bytes,
            clock=self.clock,
            backoff=Backoff(1.0, 10.0, jitter=lambda: 1.0),
            sleep=self.sleep,
        )
        self.loader = VersionLoader(self.tools)

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.clock.advance(seconds)
        self.after_wait()

    def digest(self, version: int) -> str:
        return read_version(self.repository, "delays", version).manifest_sha256

    async def refused(self, version: int = 2, digest: str | None = None) -> ModelError:
        with pytest.raises(ModelError) as refused:
            await self.loader.load(self.settings, version, digest=digest)
        assert refused.value.remedy
        return refused.value


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


async def test_the_version_of_the_revision_is_loaded_whatever_is_configured(rig: Rig) -> None:
    loaded = await rig.loader.load(rig.settings, 1, digest=rig.digest(1))
    assert (loaded.model.name, loaded.model.version, loaded.digest) == ("delays", 1, rig.digest(1))
    assert (await rig.loader.load(rig.settings, 2, digest=None)).model.version == 2
    assert await rig.loader.digest(rig.settings, 2) == rig.digest(2)


async def test_another_manifest_than_the_proposed_one_is_refused(rig: Rig) -> None:
    refused = await rig.refused(digest=rig.digest(1)[::-1])
    assert refused.kind == "digest" and rig.digest(2) in refused.message and rig.waits == []


async def test_a_flipped_byte_is_refused(rig: Rig) -> None:
    weights = rig.repository / "delays" / "2" / "weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    refused = await rig.refused(digest=rig.digest(2))
    assert refused.kind == "digest" and weights.name in refused.message


async def test_a_version_that_does_not_fit_into_memory_is_refused_before_it_is_read(rig: Rig) -> None:
    rig.free_bytes = 100
    refused = await rig.refused()
    assert refused.kind == "memory" and "can take only 0 MiB" in refused.message
    rig.free_bytes = 1 << 40
    await rig.loader.load(rig.settings, 2, digest=None)


async def test_a_version_that_is_still_being_copied_is_waited_for(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    folder = rig.repository / "delays"
    (folder / "2").rename(rig.repository / "aside")
    rig.after_wait = lambda: len(rig.waits) == 3 and (rig.repository / "aside").rename(folder / "2")
    assert (await rig.loader.load(rig.settings, 2, digest=None)).model.version == 2
    assert rig.waits == [1, 2, 4]
    assert "cannot load delays version 2 yet, trying again" in caplog.text


async def test_a_version_that_is_waited_for_holds_up_no_other(rig: Rig) -> None:
    folder = rig.repository / "delays"
    (folder / "2").rename(rig.repository / "aside")
    resumed = asyncio.Event()

    async def sleep(_seconds: float) -> None:
        await resumed.wait()

    loader = VersionLoader(replace(rig.tools, sleep=sleep))
    missing = asyncio.create_task(loader.load(rig.settings, 2, digest=None))
    ref = ModelRef("delays", 2)
    await eventually(lambda: loader.is_waiting(ref), "a load that waits", every_s=0)
    assert (await loader.load(rig.settings, 1, digest=None)).model.version == 1
    (rig.repository / "aside").rename(folder / "2")
    resumed.set()
    assert (await missing).model.version == 2 and not loader.is_waiting(ref)


async def test_an_unreachable_repository_is_a_failure_after_a_minute(rig: Rig) -> None:
    shutil.rmtree(rig.repository)
    refused = await rig.refused()
    assert refused.kind == "repository_not_found"
    assert 50 <= sum(rig.waits) <= 60


async def test_a_load_that_never_ends_blocks_no_later_one(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    loader = VersionLoader(rig.tools, timeout_s=0.01)
    released = threading.Event()
    monkeypatch.setattr(ModelLoader, "load_version", lambda *_: released.wait(30))
    try:
        for version in (1, 2):
            with pytest.raises(ModelError, match=r"not loaded within 0\.01 s"):
                await loader.load(rig.settings, version, digest=None)
    finally:
        released.set()


@pytest.mark.skipif(sys.platform != "linux", reason="other platforms have no priorities of threads")
async def test_a_load_has_a_lower_priority_than_the_other_threads() -> None:
    def priority() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    before = priority()
    assert await on_low_priority_thread(priority) == min(19, before + 10)
    assert priority() == before
