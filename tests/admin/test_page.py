"""The live page in a real headless Chromium; screenshots are saved in .artefacts/page."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright, expect

from tests.brokers.resolve import Broker
from tests.browser.chromium import find_chromium
from tests.eventually import eventually
from tests.needed import needed
from tests.worker.harness import WorkerGroup

# In the event loop of the browser.
pytestmark = pytest.mark.asyncio(loop_scope="module")

ARTEFACTS = Path(__file__).parent.parent.parent / ".artefacts" / "page"
TOKEN = "of-the-page"
CHARTS = ("rate", "latency", "batch", "lag")


@pytest.fixture
def broker(embedded_broker: Broker) -> Broker:
    """The embedded broker suffices: the page does not depend on the broker."""
    return embedded_broker


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """One browser for the tests of a module, because its start takes longer than a test. Each opens its own context."""
    chromium = await asyncio.to_thread(needed, lambda: find_chromium(os.environ))
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(
            executable_path=chromium.program,
            # Without its sandbox, for which containers lack the privileges: it shows only our own page.
            args=["--headless=shell", "--no-sandbox", "--disable-dev-shm-usage"],
            env={**os.environ, **chromium.environ},
        )
        try:
            yield launched
        finally:
            await launched.close()


@asynccontextmanager
async def opened(browser: Browser, url: str, **options: Any) -> AsyncIterator[tuple[Page, list[str]]]:
    """Open the page. Yields it with a list of console messages, errors and requests to other hosts, which must be empty."""
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


async def feed(worker_group: WorkerGroup) -> None:
    """Publish events, some of them invalid, until cancelled."""
    while True:
        await worker_group.publish(120)
        await worker_group.send([[], [], [b"no event", b'{"id":"x","timestamp":1,"features":[1]}']])
        await asyncio.sleep(0.25)


async def test_the_page_shows_a_running_worker(worker_group: WorkerGroup, browser: Browser) -> None:
    await worker_group.create()
    worker = worker_group.start()
    await worker.ready()
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    feeding = asyncio.create_task(feed(worker_group))
    wide = {"viewport": {"width": 1280, "height": 900}}
    try:
        async with opened(browser, worker.url, color_scheme="light", **wide) as (page, complaints):
            await expect(page.locator("#health")).to_have_text("ready")
            await expect(page.locator("#model")).to_have_text("echo v1")
            await expect(page).to_have_title("echo v1 · Forebay")
            await expect(page.locator("#errors tbody")).to_contain_text("not_json")
            await expect(page.locator("#errors tbody")).to_contain_text(f"{worker_group.topic('features')}-2@")
            await expect(page.locator("#partitions tbody tr")).to_have_count(4)
            await expect(page.locator("#events")).to_contain_text("rejected")
            rate = "parseFloat(document.getElementById('rate').textContent)"
            await eventually(lambda: page.evaluate(rate), "more than 50 events/s", until=lambda seen: seen > 50)
            # Charts move: their lines change.
            lines = "[...document.querySelectorAll('.plot path')].map((path) => path.getAttribute('d')).join()"
            before = await page.evaluate(lines)
            await eventually(lambda: page.evaluate(lines), "charts that move", until=lambda seen: seen != before)
            for chart in CHARTS:
                await expect(page.locator(f"#chart-{chart} path").first).to_be_attached()
            await page.hover("#chart-rate .plot", position={"x": 500, "y": 80})
            await expect(page.locator("#chart-rate .tip")).to_contain_text("predicted")
            await page.get_by_role("button", name="1 min").click()
            await expect(page.locator("#chart-rate svg text", has_text="−60 s")).to_be_visible()
            await page.screenshot(path=ARTEFACTS / "light.png", full_page=True)
            light = await page.evaluate("getComputedStyle(document.body).backgroundColor")

            # Pause and resume the worker.
            page.on("dialog", lambda dialog: asyncio.ensure_future(dialog.accept()))
            await page.get_by_role("button", name="Pause").click()
            await expect(page.locator("#health")).to_have_text("paused")
            await expect(page.locator("#banner")).to_contain_text("paused by an operator")
            await page.get_by_role("button", name="Resume").click()
            await expect(page.locator("#health")).to_have_text("ready")
            # The user chooses the dark theme, whatever the system's is.
            await page.get_by_role("button", name="Light or dark").click()
            chosen = await page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert complaints == []

        async with opened(browser, worker.url, color_scheme="dark", **wide) as (page, complaints):
            await expect(page.locator("#health")).to_have_text("ready")
            await expect(page.locator("#chart-rate path").first).to_be_attached()
            dark = await page.evaluate("getComputedStyle(document.body).backgroundColor")
            await page.screenshot(path=ARTEFACTS / "dark.png", full_page=True)
            assert dark == chosen != light
            assert complaints == []

        phone = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True}
        async with opened(browser, worker.url, **phone) as (page, complaints):
            await expect(page.locator("#errors tbody")).to_contain_text("wrong_length")
            assert await page.evaluate("document.documentElement.scrollWidth") <= 390  # nothing overflows
            await page.screenshot(path=ARTEFACTS / "phone.png", full_page=True)
            assert complaints == []
            feeding.cancel()
            worker.kill()
            await expect(page.locator("#health")).to_have_text("no answer", timeout=10_000)
            await expect(page.locator("#banner")).to_contain_text("does not answer")
            await page.screenshot(path=ARTEFACTS / "gone.png")
    finally:
        feeding.cancel()


async def test_the_page_links_to_the_other_workers_of_the_group(worker_group: WorkerGroup, browser: Browser) -> None:
    await worker_group.create()
    first, second = worker_group.start(), worker_group.start()
    await first.ready()
    await second.ready()
    async with opened(browser, first.url) as (page, complaints):
        link = page.locator("#members a")
        await expect(link).to_have_count(1, timeout=30_000)
        assert await link.get_attribute("href") == second.url
        await expect(page.locator("#members tbody tr")).to_have_count(2)
        await expect(page.locator("#members tbody")).to_contain_text(f"{worker_group.topic('features')} ")
        assert complaints == []


async def test_the_page_asks_for_the_token(worker_group: WorkerGroup, browser: Browser) -> None:
    await worker_group.create()
    worker = worker_group.start(admin={"port": 0, "token": TOKEN})
    await worker.ready()
    async with opened(browser, worker.url) as (page, _):
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
