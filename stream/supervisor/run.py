"""The assembly of a supervisor: its imports, the template process, the admin API, and the signals."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from forebay.schemas.errors import ForebayError
from forebay.stream.config.sections import Settings
from forebay.stream.control.action_log import action_log
from forebay.stream.core.cancellation import cancel_until_done
from forebay.stream.core.clock import Clock, SystemClock
from forebay.stream.supervisor.child import (
    ChildJob,
    Ending,
    RunWorker,
    child_runner,
    error_of,
    kill_after_s,
    make_folder,
)
from forebay.stream.supervisor.child_client import ChildClient
from forebay.stream.supervisor.child_errors import take_error
from forebay.stream.supervisor.child_process import ChildProcess
from forebay.stream.supervisor.child_settings import name_instance, settings_of_child
from forebay.stream.supervisor.group_admin import GroupAdmin
from forebay.stream.supervisor.group_metrics import GroupMetrics
from forebay.stream.supervisor.launcher import TemplateLauncher, kill_at_once
from forebay.stream.supervisor.partition_count import PartitionQuery, fork_query
from forebay.stream.supervisor.preload import import_for_children
from forebay.stream.supervisor.process_count import automatic_count, usable_cores
from forebay.stream.supervisor.restart_policy import RestartPolicy
from forebay.stream.supervisor.supervisor import ChildAccess, Supervisor
from forebay.stream.supervisor.template_process import Template, fork_template
from forebay.stream.supervisor.threads import num_threads

log = logging.getLogger("forebay.supervisor")

ORPHAN_POLL_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Forked:
    """What was forked before the event loop: the template, and what it shares with this process."""

    count: int
    template: Template
    folder: Path
    ending: Ending
    query: PartitionQuery | None


def fork_for(settings: Settings, run_worker: RunWorker) -> Forked:
    """Import what the children need, find their number, and fork the template. Call it before any thread and event loop.

    run_worker: runs the worker of a child.

    Raises ConfigError if that is impossible, and with `auto` the error that would end every worker.
    """
    import_for_children(settings.models_to_serve())
    if (threads := num_threads()) not in (1, None):
        log.warning("this process has %s threads before it forks the others, which may stop them", threads)
    query: PartitionQuery | None = fork_query(settings)
    count = settings.worker.processes
    if count == "auto":
        assert query is not None
        count, query = _automatic_count(query), None
    folder = make_folder(Path(tempfile.gettempdir()))
    ending = Ending(leaves_at_end=settings.kafka.group_instance_id is None)
    template = fork_template(
        child_runner(ending, run_worker),
        on_end=lambda: shutil.rmtree(folder, ignore_errors=True),
    )
    return Forked(count=count, template=template, folder=folder, ending=ending, query=query)


def _automatic_count(query: PartitionQuery) -> int:
    partitions = query.wait()
    if isinstance(partitions, ForebayError):
        raise partitions
    cores = usable_cores()
    count = automatic_count(cores=cores, partitions=partitions)
    log.info("%d processes, for %d usable cores and %d partitions", count, cores, partitions)
    return count


def run_processes(
    settings: Settings,
    forked: Forked,
    reload: Callable[[], Settings],
    until: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Run the children until SIGTERM or SIGINT, and let them drain. SIGHUP restarts them one after the other.

    reload: returns the settings for that restart. Raises ConfigError if they are wrong.
    until: awaited beside the children, which end when it returns or raises an error.

    Raises the error that ended the whole.
    """
    try:
        asyncio.run(_run(settings, forked, reload=reload, until=until, clock=SystemClock()))
    finally:
        shutil.rmtree(forked.folder, ignore_errors=True)


async def _run(
    settings: Settings,
    forked: Forked,
    *,
    reload: Callable[[], Settings],
    until: Callable[[], Awaitable[None]] | None,
    clock: Clock,
) -> None:
    loop = asyncio.get_running_loop()
    launcher = TemplateLauncher(forked.template, loop)
    await launcher.connect()
    client = ChildClient(forked.folder)
    metrics = GroupMetrics(client.report, forked.folder, clock=clock)
    instance = name_instance(settings)
    children = [ChildProcess(number, policy=RestartPolicy()) for number in range(forked.count)]

    def job(number: int, current: Settings) -> ChildJob:
        own = settings_of_child(current, number, instance=instance, url=admin.url)
        return ChildJob(number, own, forked.folder)

    access = ChildAccess(
        job=job,
        kill_after_s=kill_after_s,
        poll=client.report,
        set_paused=client.set_paused,
        take_error=lambda number: take_error(error_of(forked.folder, number)),
        on_ended=metrics.on_ended,
    )
    supervisor = Supervisor(
        children,
        launcher,
        access,
        settings,
        on_ending=forked.ending.begin,
        clock=clock,
    )
    actions = action_log(settings, process=instance, clock=clock)
    admin = GroupAdmin(settings, supervisor, client, metrics, instance=instance, clock=clock, actions=actions)
    signals = _Signals(supervisor, reload)
    signals.listen(loop)
    background = _warn_in_background(forked)
    ending = asyncio.create_task(_stop_after(until, supervisor))
    pids: list[int] = []
    try:
        await admin.start()
        if admin.url is not None:
            log.info("admin page at %s", admin.url)
        await supervisor.run(launcher.lost)
    finally:
        pids = supervisor.pids
        if forked.query is not None and not background.done():
            forked.query.cancel()  # otherwise this process would not end before its thread has the answer of the brokers
        background.cancel()
        signals.cancel()
        await admin.stop()
        await client.close()
        await launcher.close()
        await _wait_for_orphans(pids, supervisor.kill_after_s)
        if not ending.done():
            await cancel_until_done(ending)
    if not ending.cancelled():
        ending.result()


async def _stop_after(until: Callable[[], Awaitable[None]] | None, supervisor: Supervisor) -> None:
    """Let all children end once what they are run for is over, if it has an end. Raises what `until` raises."""
    if until is not None:
        try:
            await until()
        finally:
            supervisor.stop()


class _Signals:
    """Handles the signals of the supervisor."""

    def __init__(self, supervisor: Supervisor, reload: Callable[[], Settings]) -> None:
        self._supervisor = supervisor
        self._reload = reload
        self._requested = False
        self._restart: asyncio.Task[None] | None = None

    def listen(self, loop: asyncio.AbstractEventLoop) -> None:
        """Install the handlers."""
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, number)
        loop.add_signal_handler(signal.SIGHUP, self._restart_all)

    def cancel(self) -> None:
        """Cancel a restart in progress."""
        if self._restart is not None:
            self._restart.cancel()

    def _stop(self, number: int) -> None:
        if self._requested:
            kill_at_once(self._supervisor.pids)
            os._exit(128 + number)  # uncommitted events will be read again
        self._requested = True
        self._supervisor.stop()

    def _restart_all(self) -> None:
        if self._supervisor.stopping or (self._restart is not None and not self._restart.done()):
            log.warning("SIGHUP is ignored: a restart or the end is in progress")
            return
        try:
            settings = self._reload()
        except ForebayError as error:
            details = "; ".join(getattr(error, "problems", ()))
            log.error("nothing is restarted, because the settings are wrong: %s %s", error.message, details)
            return
        self._restart = asyncio.create_task(self._supervisor.restart_one_by_one(settings))


def _warn_in_background(forked: Forked) -> asyncio.Task[None]:
    """Warn if there are more processes than partitions, once the number of partitions is known."""

    async def warn(query: PartitionQuery | None) -> None:
        if query is None:
            return
        partitions = await asyncio.to_thread(query.wait)
        if isinstance(partitions, int) and forked.count > partitions:
            log.warning(
                "%d processes for %d partitions of the input topics: %d of them are idle; lower worker.processes or add "
                "partitions",
                *(forked.count, partitions, forked.count - partitions),
            )

    return asyncio.create_task(warn(forked.query))


async def _wait_for_orphans(pids: Sequence[int], timeout_s: float) -> None:
    """Wait for children that the template has left behind, and kill those that do not stop by themselves.

    They stop because the supervisor's end of their lifeline is closed.
    """
    deadline_s = time.monotonic() + timeout_s
    while running := [pid for pid in pids if _is_running(pid)]:
        if time.monotonic() > deadline_s:
            kill_at_once(running)
            return
        await asyncio.sleep(ORPHAN_POLL_S)


def _is_running(pid: int) -> bool:
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # as the first process of a container, this one has become their parent
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True
