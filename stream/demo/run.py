"""The demo from beginning to end: model, broker, topics, worker and aggregator, replay, report."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from forebay.schemas.errors import BrokerError
from forebay.schemas.topics import ALL_TOPICS, topic_name
from forebay.stream.aggregate.topics import create_aggregator_topics
from forebay.stream.config.load import load_settings
from forebay.stream.config.sections import Settings
from forebay.stream.core.cancellation import cancel_until_done, raise_if_cancelled
from forebay.stream.core.clock import Clock
from forebay.stream.demo.flights import FlightData
from forebay.stream.demo.ledger import Ledger
from forebay.stream.demo.replay import Replay, load_replay
from forebay.stream.demo.report import Report, build_report
from forebay.stream.demo.subscriber import Subscriber
from forebay.stream.demo.totals import Totals, wait_until_equal
from forebay.stream.demo.train import MODEL_NAME, DemoModel
from forebay.stream.embedded.broker import EmbeddedBroker, broker_version
from forebay.stream.embedded.worker_process import WorkerProcess, without_settings
from forebay.stream.kafka.client import client_options
from forebay.stream.kafka.cluster.advertised_listeners import require_reachable
from forebay.stream.kafka.cluster.delete_topics import delete_topics
from forebay.stream.kafka.cluster.topics import create_topics
from forebay.stream.publish.pacer import Pacer
from forebay.stream.publish.publisher import Publisher
from forebay.stream.publish.rate_limited_publish import send_paced

STALL_TIMEOUT_S: Final = 30.0
WATCH_S: Final = 0.25

Say = Callable[[str], None]
Show = Callable[[Ledger], None]


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """rate: events a second, None for as fast as possible; bootstrap_servers: None for an embedded broker."""

    events: int
    rate: float | None
    bootstrap_servers: str | None
    keep: bool


@dataclass(frozen=True, slots=True)
class Deployment:
    """Where the demo runs: its folder and configuration, the cluster, and what runs of it. pids and page are None where there
    is nothing."""

    folder: Path
    config: Path
    settings: Settings
    broker_pid: int | None
    worker_pid: int | None
    page: str | None

    def topic(self, name: str) -> str:
        """A topic's full name."""
        return topic_name(self.settings.topics.prefix, name)


@dataclass(frozen=True, slots=True)
class DemoResult:
    """The report, and the place where broker and worker still run with `keep`."""

    report: Report
    deployment: Deployment


async def run_demo(
    options: DemoOptions,
    data: FlightData,
    model: DemoModel,
    *,
    environ: Mapping[str, str],
    clock: Clock,
    say: Say,
    show: Show,
) -> DemoResult:
    """Run it. `say` gets a line at each step, `show` the ledger a few times a second while events are replayed.

    Whatever happens, all that was started is stopped and removed, except with `keep` after all went well. Raises ForebayError.
    """
    async with AsyncExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="forebay-demo-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        servers, prefix, broker_pid = await _cluster(options, folder, stack, say)
        config = folder / "forebay.toml"
        config.write_text(configuration(servers, prefix, model.repository), encoding="utf-8")
        settings = load_settings(config, {}).settings
        await _create_topics(settings)
        if options.bootstrap_servers is not None:
            stack.push_async_callback(delete_topics, settings.kafka, [prefix + spec.name for spec in ALL_TOPICS])
        has_aggregator = find_spec("faust") is not None
        worker = WorkerProcess(
            config,
            folder / "worker.log",
            environ=without_settings(environ),
            clock=clock,
            die_with_parent=not options.keep,
            with_aggregator=has_aggregator,
            remedy="where the model is damaged, `forebay demo --retrain` makes a new one",
        )
        worker.start()
        stack.push_async_callback(_stop_quietly, worker)
        # Reading the flights takes a second, in which the worker imports torch.
        replay = await asyncio.to_thread(load_replay, data, options.events)
        await worker.wait_ready()
        say(f"worker ready, process {worker.pid}; live page {worker.page}")
        deployment = Deployment(
            folder=folder,
            config=config,
            settings=settings,
            broker_pid=broker_pid,
            worker_pid=worker.pid,
            page=worker.page,
        )
        pace = "as fast as possible" if options.rate is None else f"at {options.rate:,.0f} a second"
        say(f"replaying {len(replay):,} flights from July on, {pace}")
        ledger = Ledger(replay.ids)
        totals = await _replay(
            options=options,
            replay=replay,
            ledger=ledger,
            deployment=deployment,
            worker=worker,
            clock=clock,
            show=show,
            count=has_aggregator,
        )
        if options.keep:
            worker.check()
            stack.pop_all()
        report = build_report(ledger, replay.labels_N, totals)
    return DemoResult(report, deployment)


async def _cluster(options: DemoOptions, folder: Path, stack: AsyncExitStack, say: Say) -> tuple[str, str, int | None]:
    """Where the cluster is, the prefix of the demo's names on it, and the process id of the embedded broker."""
    if options.bootstrap_servers is not None:
        # Somebody else's cluster: names that nobody has.
        prefix = f"forebay-demo-{uuid.uuid4().hex[:8]}-"
        # Nothing is reported as done before it is.
        await require_reachable({"bootstrap_servers": options.bootstrap_servers})
        say(f"broker {options.bootstrap_servers}, topics with the prefix {prefix}")
        return options.bootstrap_servers, prefix, None
    broker = EmbeddedBroker(data_dir=folder / "broker", die_with_parent=not options.keep)
    await broker.start()
    stack.push_async_callback(broker.stop)
    say(f"broker {broker_version()} at {broker.bootstrap_servers} (embedded: for trying out, not for production)")
    return broker.bootstrap_servers, "", broker.pid


def configuration(bootstrap_servers: str, prefix: str, repository: Path) -> str:
    """The worker's forebay.toml. TOML's basic strings are JSON's, but for DEL, which no path here has."""
    return (
        "# Written by `forebay demo`.\n"
        f"[kafka]\nbootstrap_servers = {json.dumps(bootstrap_servers)}\n"
        f"group_id = {json.dumps(prefix + 'forebay-demo')}\n\n"
        f"[model]\nrepository = {json.dumps(str(repository))}\nname = {json.dumps(MODEL_NAME)}\n\n"
        f"[topics]\nprefix = {json.dumps(prefix)}\n\n"
        # The demo waits for its totals at the end.
        "[aggregate]\nemit_interval_ms = 200\n\n"
        '[log]\nformat = "text"\n'
    )


async def _create_topics(settings: Settings) -> None:
    made = [*await create_topics(settings), *await create_aggregator_topics(settings, dry_run=False)]
    refused = [created for created in made if created.status == "refused"]
    if refused:
        raise BrokerError(
            f"the cluster refused to create {refused[0].topic.name}: {refused[0].reason}",
            kind="topics",
            remedy="use a cluster on which you may create topics, or leave --bootstrap-server out",
        )


async def _stop_quietly(worker: WorkerProcess) -> None:
    """Something else went wrong, or was interrupted: that is what is to be told."""
    with contextlib.suppress(BrokerError):
        await worker.stop(timeout_s=10.0)


async def _replay(
    options: DemoOptions,
    replay: Replay,
    ledger: Ledger,
    deployment: Deployment,
    worker: WorkerProcess,
    clock: Clock,
    show: Show,
    *,
    count: bool,
) -> Totals | None:
    """Publish and subscribe until every event has an outcome, or none comes any more.

    Then, with `count`, let the aggregator come to its totals; and unless it is kept, stop the worker, and read what is left.
    """
    totals: Totals | None = None
    client = client_options(deployment.settings.kafka)
    observer = Subscriber(
        options=client,
        predictions=deployment.topic("predictions"),
        dead_letters=deployment.topic("dead-letters"),
        ledger=ledger,
        clock=clock,
    )
    publisher = Publisher(client, deployment.topic("features"))
    enough = asyncio.Event()
    async with _started(observer), _started(publisher):
        watching = asyncio.create_task(observer.read_until(enough))
        publishing = asyncio.create_task(
            _publish(rate=options.rate, replay=replay, ledger=ledger, publisher=publisher, clock=clock)
        )
        try:
            await _until_accounted(ledger, publishing, watching=watching, worker=worker, clock=clock, show=show)
            if count and ledger.complete:
                # Deltas are committed with the outcomes that they count: they are all there by now.
                totals = await wait_until_equal(deployment.settings, ledger, clock=clock, check=worker.check)
            if not options.keep:
                # What it still held comes out now: a duplicate would show.
                await worker.stop()
            enough.set()
            await watching
        finally:
            await cancel_until_done(publishing, watching)
    return totals


async def _publish(rate: float | None, replay: Replay, ledger: Ledger, publisher: Publisher, clock: Clock) -> None:
    pacer = Pacer(rate, clock.monotonic_s())

    def on_sent(sent: int, now_s: float) -> None:
        first = ledger.num_sent
        ledger.sent(
            first, sent, now_s if rate is None else [pacer.due_s(deployment) for deployment in range(first, sent)]
        )

    await send_paced(replay.keys, replay.values, publisher, pacer, sent=0, clock=clock, on_sent=on_sent)
    await publisher.flush()


async def _until_accounted(
    ledger: Ledger,
    publishing: asyncio.Task[None],
    watching: asyncio.Task[None],
    worker: WorkerProcess,
    clock: Clock,
    show: Show,
) -> None:
    """Until every event has an outcome, or nothing has moved for a while, which the report then tells."""
    last, last_s = (0, 0), clock.monotonic_s()
    while not (publishing.done() and ledger.complete):
        raise_if_cancelled()  # an interrupt
        show(ledger)
        worker.check()
        for task in (publishing, watching):
            if task.done():
                task.result()
        now, now_s = (ledger.num_sent, ledger.num_accounted), clock.monotonic_s()
        if now != last:
            last, last_s = now, now_s
        elif now_s - last_s > STALL_TIMEOUT_S:
            break
        await asyncio.wait([publishing, watching], timeout=WATCH_S, return_when=asyncio.FIRST_EXCEPTION)
        if publishing.done() and not ledger.complete:
            # asyncio.wait returns at once for what is done already.
            await asyncio.sleep(WATCH_S / 5)
    show(ledger)


@asynccontextmanager
async def _started(client: Subscriber | Publisher) -> AsyncIterator[None]:
    await client.start()
    try:
        yield
    finally:
        await client.stop()
