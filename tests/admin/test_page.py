"""The live page in a real headless Chromium; screenshots are left in .artefacts/page, for whoever wants to look."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright, expect

from tests.brokers.resolve import Broker
from tests.browser.chromium import find_chromium
from tests.conftest import Names
from tests.needed import needed
from tests.worker.harness import Stage, WorkerProcess

ARTEFACTS = Path(__file__).parent.parent.parent / ".artefacts" / "page"
TOKEN = "of-the-page"
CHARTS = ("rate", "latency", "batch", "lag")


@pytest_asyncio.fixture
async def browser() -> AsyncIterator[Browser]:
    chromium = await asyncio.to_thread(needed, lambda: find_chromium(os.environ))
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(
            executable_path=chromium.program,
            # Without its sandbox, for which containers have no rights: it shows only our own page.
            args=["--headless=shell", "--no-sandbox", "--disable-dev-shm-usage"],
            env={**os.environ, **chromium.environ},
        )
        try:
            yield launched
        finally:
            await launched.close()


@pytest_asyncio.fixture
async def stage(embedded_broker: Broker, names: Names, tmp_path: Path) -> AsyncIterator[Stage]:
    stage = Stage(embedded_broker.bootstrap, names.prefix, tmp_path)
    try:
        yield stage
    finally:
        stage.kill_all()


def url_of(worker: WorkerProcess) -> str:
    found = re.search(r"admin page at (\S+)", worker.log)
    assert found is not None, worker.log
    return found[1]


@asynccontextmanager
async def opened(browser: Browser, url: str, **options: Any) -> AsyncIterator[tuple[Page, list[str]]]:
    """The page, and everything that a console or the network should not have had."""
    context = await browser.new_context(**options)
    page, complaints = await context.new_page(), []
    page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
    page.on("request", lambda request: None if request.url.startswith(url) else complaints.append(request.url))
    await page.goto(url)
    try:
        yield page, complaints
    finally:
        await context.close()


async def feed(stage: Stage) -> None:
    """Events, some of them bad, until cancelled."""
    while True:
        await stage.publish(120)
        await stage.send([[], [], [b"no event", b'{"id":"x","timestamp":1,"features":[1]}']])
        await asyncio.sleep(0.25)


async def until(seen: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await seen():
            await asyncio.sleep(0.1)


async def test_the_page_lives(stage: Stage, browser: Browser) -> None:
    await stage.create()
    worker = stage.start()
    await worker.ready()
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    feeding = asyncio.create_task(feed(stage))
    wide = {"viewport": {"width": 1280, "height": 900}}
    try:
        async with opened(browser, url_of(worker), color_scheme="light", **wide) as (page, complaints):
            await expect(page.locator("#health")).to_have_text("ready")
            await expect(page.locator("#model")).to_have_text("echo v1")
            await expect(page).to_have_title("echo v1 · Forebay")
            await expect(page.locator("#errors tbody")).to_contain_text("not_json")
            await expect(page.locator("#errors tbody")).to_contain_text(f"{stage.topic('features')}-2@")
            await expect(page.locator("#partitions tbody tr")).to_have_count(4)
            await expect(page.locator("#events")).to_contain_text("rejected")
            await until(lambda: page.evaluate("parseFloat(document.getElementById('rate').textContent) > 50"))
            # Charts that move: their lines are others a moment later.
            lines = "[...document.querySelectorAll('.plot path')].map((path) => path.getAttribute('d')).join()"
            before = await page.evaluate(lines)
            await until(lambda: page.evaluate(f"({lines}) !== {before!r}"))
            for chart in CHARTS:
                await expect(page.locator(f"#chart-{chart} path").first).to_be_attached()
            await page.hover("#chart-rate .plot", position={"x": 500, "y": 80})
            await expect(page.locator("#chart-rate .tip")).to_contain_text("predicted")
            await page.get_by_role("button", name="1 min").click()
            await expect(page.locator("#chart-rate svg text", has_text="−60 s")).to_be_visible()
            await page.screenshot(path=ARTEFACTS / "light.png", full_page=True)
            light = await page.evaluate("getComputedStyle(document.body).backgroundColor")

            # Somebody pauses the worker, and lets it go on.
            page.on("dialog", lambda dialog: asyncio.ensure_future(dialog.accept()))
            await page.get_by_role("button", name="Pause").click()
            await expect(page.locator("#health")).to_have_text("paused")
            await expect(page.locator("#banner")).to_contain_text("paused by an operator")
            await page.get_by_role("button", name="Resume").click()
            await expect(page.locator("#health")).to_have_text("ready")
            # One of the two who look has chosen dark, whatever the system says.
            await page.get_by_role("button", name="Light or dark").click()
            chosen = await page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert complaints == []

        async with opened(browser, url_of(worker), color_scheme="dark", **wide) as (page, complaints):
            await expect(page.locator("#health")).to_have_text("ready")
            await expect(page.locator("#chart-rate path").first).to_be_attached()
            dark = await page.evaluate("getComputedStyle(document.body).backgroundColor")
            await page.screenshot(path=ARTEFACTS / "dark.png", full_page=True)
            assert dark == chosen != light
            assert complaints == []

        phone = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True}
        async with opened(browser, url_of(worker), **phone) as (page, complaints):
            await expect(page.locator("#errors tbody")).to_contain_text("wrong_length")
            assert await page.evaluate("document.documentElement.scrollWidth") <= 390  # nothing sticks out
            await page.screenshot(path=ARTEFACTS / "phone.png", full_page=True)
            assert complaints == []
            feeding.cancel()
            worker.kill()
            await expect(page.locator("#health")).to_have_text("no answer", timeout=10_000)
            await expect(page.locator("#banner")).to_contain_text("does not answer")
            await page.screenshot(path=ARTEFACTS / "gone.png")
    finally:
        feeding.cancel()


async def test_the_page_links_to_the_other_workers_of_the_group(stage: Stage, browser: Browser) -> None:
    await stage.create()
    first, second = stage.start(), stage.start()
    await first.ready()
    await second.ready()
    async with opened(browser, url_of(first)) as (page, complaints):
        link = page.locator("#members a")
        await expect(link).to_have_count(1, timeout=30_000)
        assert await link.get_attribute("href") == url_of(second)
        await expect(page.locator("#members tbody tr")).to_have_count(2)
        await expect(page.locator("#members tbody")).to_contain_text(f"{stage.topic('features')} ")
        assert complaints == []


async def test_the_page_asks_for_the_token(stage: Stage, browser: Browser) -> None:
    await stage.create()
    worker = stage.start(admin={"port": 0, "token": TOKEN})
    await worker.ready()
    async with opened(browser, url_of(worker)) as (page, _):
        await expect(page.locator("#health")).to_have_text("token needed")
        await expect(page.locator("#board")).to_be_hidden()
        await page.fill("#token", "wrong")
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.locator("#token-error")).to_contain_text("does not accept this token")
        await page.screenshot(path=ARTEFACTS / "token.png")
        await page.fill("#token", TOKEN)
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.locator("#health")).to_have_text("ready")
        await expect(page.locator("#board")).to_be_visible()
