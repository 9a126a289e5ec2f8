"""The demo from start to end: broker, topics, worker and aggregator, replay, report."""

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
from forebay.stream.demo.evaluated import QualityFollower
from forebay.stream.demo.flights import FlightData
from forebay.stream.demo.labels import publish_labels
from forebay.stream.demo.ledger import Ledger
from forebay.stream.demo.replay import Replay, load_replay
from forebay.stream.demo.report import Report, build_report
from forebay.stream.demo.subscriber import Subscriber
from forebay.stream.demo.totals import Totals, wait_until_equal
from forebay.stream.demo.train import MODEL_NAME, DemoModel
from forebay.stream.embedded.broker import EmbeddedBroker, broker_version
from forebay.stream.embedded.worker_process import EVALUATOR, WorkerProcess, without_settings
from forebay.stream.evaluate.topics import create_evaluator_topics
from forebay.stream.kafka.client import client_options
from forebay.stream.kafka.cluster.advertised_listeners import require_reachable
from forebay.stream.kafka.cluster.delete_topics import delete_topics
from forebay.stream.kafka.cluster.topics import create_topics
from forebay.stream.publish.pacer import Pacer
from forebay.stream.publish.publisher import Publisher
from forebay.stream.publish.rate_limited_publish import send_paced

STALL_TIMEOUT_S: Final = 30.0
REFRESH_S: Final = 0.25

Say = Callable[[str], None]
Show = Callable[[Ledger], None]


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """The options of a demo.

    rate: events per second; None for as fast as possible.
    bootstrap_servers: the user's cluster; None for an embedded broker.
    keep: whether to leave the processes running.
    """

    events: int
    rate: float | None
    bootstrap_servers: str | None
    keep: bool


@dataclass(frozen=True, slots=True)
class Deployment:
    """The demo's folder, configuration, cluster and processes. page: URL of the worker's live page, or None."""

    folder: Path
    config: Path
    settings: Settings
    broker_pid: int | None
    worker_pid: int | None
    evaluator_pid: int | None
    page: str | None

    def topic(self, name: str) -> str:
        """Return a topic's name with the prefix."""
        return topic_name(self.settings.topics.prefix, name)


@dataclass(frozen=True, slots=True)
class DemoResult:
    """The report, and the deployment, which is still running with `keep`."""

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
    """Run the demo. Everything that it started is stopped and removed at the end, except after a success with `keep`.

    say: receives a line of text at each step.
    show: receives the ledger a few times a second while events are replayed.

    Raises ForebayError.
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
        worker, evaluator = _processes(
            config, folder, environ=environ, clock=clock, keep=options.keep, with_aggregator=has_aggregator
        )
        for process in (worker, evaluator):
            process.start()
            stack.push_async_callback(_stop_quietly, process)
        # Read the flights while the worker imports torch: both take about a second.
        replay = await asyncio.to_thread(load_replay, data, options.events)
        await worker.wait_ready()
        await evaluator.wait_ready()
        say(f"worker ready, process id {worker.pid}, live page {worker.page}")
        say(f"evaluator ready, process id {evaluator.pid}")
        deployment = Deployment(
            folder=folder,
            config=config,
            settings=settings,
            broker_pid=broker_pid,
            worker_pid=worker.pid,
            evaluator_pid=evaluator.pid,
            page=worker.page,
        )
        pace = "as fast as possible" if options.rate is None else f"at {options.rate:,.0f} events/s"
        say(f"replaying {len(replay):,} flights from July 2013 on, {pace}")
        ledger = Ledger(replay.ids)
        totals = await _replay(
            options=options,
            replay=replay,
            ledger=ledger,
            deployment=deployment,
            processes=(worker, evaluator),
            clock=clock,
            show=show,
            count=has_aggregator,
        )
        if options.keep:
            for process in (worker, evaluator):
                process.check()
            stack.pop_all()
        report = build_report(ledger, replay.labels_N, totals)
    return DemoResult(report, deployment)


def _processes(
    config: Path, folder: Path, *, environ: Mapping[str, str], clock: Clock, keep: bool, with_aggregator: bool
) -> tuple[WorkerProcess, WorkerProcess]:
    """Return the worker and the evaluator, without starting them."""
    worker = WorkerProcess(
        config,
        folder / "worker.log",
        environ=without_settings(environ),
        clock=clock,
        die_with_parent=not keep,
        with_aggregator=with_aggregator,
        remedy="if the model is damaged, train it again with `forebay demo --retrain`",
    )
    evaluator = WorkerProcess(
        config,
        folder / "evaluator.log",
        environ=without_settings(environ),
        clock=clock,
        die_with_parent=not keep,
        role=EVALUATOR,
    )
    return worker, evaluator


async def _cluster(options: DemoOptions, folder: Path, stack: AsyncExitStack, say: Say) -> tuple[str, str, int | None]:
    """Start or find the cluster. Return its addresses, the prefix of the demo's names, and the embedded broker's process id."""
    if options.bootstrap_servers is not None:
        # The user's cluster: the names must be unused.
        prefix = f"forebay-demo-{uuid.uuid4().hex[:8]}-"
        # Check before printing the line with the check mark.
        await require_reachable({"bootstrap_servers": options.bootstrap_servers})
        say(f"broker {options.bootstrap_servers}, topics with the prefix {prefix}")
        return options.bootstrap_servers, prefix, None
    broker = EmbeddedBroker(data_dir=folder / "broker", die_with_parent=not options.keep)
    await broker.start()
    stack.push_async_callback(broker.stop)
    say(f"broker {broker_version()} at {broker.bootstrap_servers} (embedded, not for production)")
    return broker.bootstrap_servers, "", broker.pid


def configuration(bootstrap_servers: str, prefix: str, repository: Path) -> str:
    """Return the worker's forebay.toml. JSON strings are valid TOML strings, except for DEL, which no path here contains."""
    return (
        "# Written by `forebay demo`.\n"
        f"[kafka]\nbootstrap_servers = {json.dumps(bootstrap_servers)}\n"
        f"group_id = {json.dumps(prefix + 'forebay-demo')}\n\n"
        f"[model]\nrepository = {json.dumps(str(repository))}\nname = {json.dumps(MODEL_NAME)}\n\n"
        f"[topics]\nprefix = {json.dumps(prefix)}\n\n"
        # A flight that is a day late takes less than two days. Windows of a day: half a minute replays seven weeks.
        "[evaluate]\nenabled = true\nhorizon_s = 172800\nwindow_s = 86400\ncommit_interval_ms = 500\n\n"
        # The demo waits for the aggregator's totals at its end.
        "[aggregate]\nemit_interval_ms = 200\n\n"
        '[log]\nformat = "text"\n'
    )


async def _create_topics(settings: Settings) -> None:
    results = [
        *await create_topics(settings),
        *await create_aggregator_topics(settings, dry_run=False),
        *await create_evaluator_topics(settings, dry_run=False),
    ]
    refused = [result for result in results if result.status == "refused"]
    if refused:
        raise BrokerError(
            f"the cluster refused to create the topic {refused[0].topic.name}: {refused[0].reason}",
            kind="topics",
            remedy="use a cluster on which you may create topics, or omit --bootstrap-server",
        )


async def _stop_quietly(worker: WorkerProcess) -> None:
    """Stop the worker without reporting its errors: after a failure or an interrupt, only the first error matters."""
    with contextlib.suppress(BrokerError):
        await worker.stop(timeout_s=10.0)


async def _replay(
    options: DemoOptions,
    replay: Replay,
    ledger: Ledger,
    deployment: Deployment,
    processes: tuple[WorkerProcess, WorkerProcess],
    clock: Clock,
    show: Show,
    *,
    count: bool,
) -> Totals | None:
    """Publish and subscribe until every event has an outcome, or outcomes stop arriving, and every label is evaluated.

    Then, with `count`, wait for the aggregator's totals; and without `keep`, stop the processes and read the remaining records.

    processes: the worker and the evaluator.
    """
    worker, evaluator = processes
    totals: Totals | None = None
    client = client_options(deployment.settings.kafka)
    subscriber = Subscriber(
        options=client,
        predictions=deployment.topic("predictions"),
        dead_letters=deployment.topic("dead-letters"),
        ledger=ledger,
        clock=clock,
    )
    publisher = Publisher(client, deployment.topic("features"))
    label_publisher = Publisher(client, deployment.topic("labels"))
    quality = QualityFollower(deployment.settings, clock=clock)
    finished = asyncio.Event()
    async with _started(subscriber), _started(publisher), _started(label_publisher), _started(quality):
        reading = asyncio.create_task(subscriber.read_until(finished))
        publishing = asyncio.create_task(
            _publish(rate=options.rate, replay=replay, ledger=ledger, sinks=(publisher, label_publisher), clock=clock)
        )
        following = asyncio.create_task(quality.follow())

        def show_all(ledger: Ledger) -> None:
            if following.done():
                following.result()
            ledger.evaluated = quality.latest
            evaluator.check()
            show(ledger)

        try:
            await _wait_for_outcomes(ledger, publishing, reading=reading, worker=worker, clock=clock, show=show_all)
            await cancel_until_done(following)
            if ledger.complete:
                await quality.wait_for(ledger.num_labelled(replay.labels_N), check=evaluator.check)
                ledger.evaluated = quality.latest
            if count and ledger.complete:
                # Deltas are committed with the outcomes that they count, so all of them are readable.
                totals = await wait_until_equal(deployment.settings, ledger, clock=clock, check=worker.check)
            if not options.keep:
                await evaluator.stop()
                # Draining publishes everything in flight, so that a duplicate would be seen.
                await worker.stop()
            finished.set()
            await reading
        finally:
            await cancel_until_done(publishing, reading, following)
    return totals


async def _publish(
    rate: float | None, replay: Replay, ledger: Ledger, *, sinks: tuple[Publisher, Publisher], clock: Clock
) -> None:
    """Publish the events, and beside them the labels when their time has come. sinks: of events, and of labels."""
    pacer = Pacer(rate, clock.monotonic_s())
    publisher, label_publisher = sinks
    all_sent = False

    def on_sent(sent: int, now_s: float) -> None:
        first = ledger.num_sent
        due_s = now_s if rate is None else [pacer.due_s(index) for index in range(first, sent)]
        ledger.record_sent(first, sent, due_s)

    def event_time_ms() -> int | None:
        return None if all_sent else replay.times_ms[max(ledger.num_sent - 1, 0)]

    labelling = asyncio.create_task(
        publish_labels(replay.labels, label_publisher, event_time_ms=event_time_ms, clock=clock)
    )
    try:
        await send_paced(replay.keys, replay.values, publisher, pacer, sent=0, clock=clock, on_sent=on_sent)
        await publisher.flush()
        all_sent = True
        await labelling
    finally:
        await cancel_until_done(labelling)


async def _wait_for_outcomes(
    ledger: Ledger,
    publishing: asyncio.Task[None],
    reading: asyncio.Task[None],
    worker: WorkerProcess,
    clock: Clock,
    show: Show,
) -> None:
    """Wait until every event has an outcome, or until nothing has changed for STALL_TIMEOUT_S; the report then shows it."""
    last, last_s = (0, 0), clock.monotonic_s()
    while not (publishing.done() and ledger.complete):
        raise_if_cancelled()  # after an interrupt
        show(ledger)
        worker.check()
        for task in (publishing, reading):
            if task.done():
                task.result()
        now, now_s = (ledger.num_sent, ledger.num_accounted), clock.monotonic_s()
        if now != last:
            last, last_s = now, now_s
        elif now_s - last_s > STALL_TIMEOUT_S:
            break
        await asyncio.wait([publishing, reading], timeout=REFRESH_S, return_when=asyncio.FIRST_EXCEPTION)
        if publishing.done() and not ledger.complete:
            # asyncio.wait returns at once if a task is already done.
            await asyncio.sleep(REFRESH_S / 5)
    show(ledger)


@asynccontextmanager
async def _started(client: Subscriber | Publisher | QualityFollower) -> AsyncIterator[None]:
    await client.start()
    try:
        yield
    finally:
        await client.stop()
