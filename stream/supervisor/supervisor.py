"""The supervisor: keeps the children running, restarts them on request, and lets all of them drain at the end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from forebay.schemas.errors import ConfigError, ForebayError
from forebay.stream.config.sections import Settings
from forebay.stream.core.cancellation import cancel_until_done
from forebay.stream.core.clock import Clock
from forebay.stream.supervisor.child import EXIT_CONFIG, EXIT_FAILED
from forebay.stream.supervisor.child_process import ChildProcess, ChildReport, ChildState
from forebay.stream.supervisor.launcher import Launcher, StartError

log = logging.getLogger("forebay.supervisor")

POLL_S: Final = 2.0
STARTING_POLL_S: Final = 0.25
"""Time between two polls of a child, and of one that is not ready."""
RESTART_TIMEOUT_S: Final = 300.0
"""A rolling restart goes no further if a restarted child is not ready after this long."""
KILLED_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class ChildAccess:
    """How the supervisor reaches the children.

    job: returns what a child runs, from the settings of the whole.
    kill_after_s: returns how long after the request to stop a child with these settings is killed.
    poll: returns the report of a child; None if it does not answer.
    set_paused: lets a child pause or resume reading.
    take_error: returns the error that ended the last process of a child, if it wrote one.
    on_ended: called after the end of a process of a child.
    """

    job: Callable[[int, Settings], Any]
    kill_after_s: Callable[[Settings], float]
    poll: Callable[[ChildProcess], Awaitable[ChildReport | None]]
    set_paused: Callable[[ChildProcess, bool], Awaitable[None]]
    take_error: Callable[[int], ForebayError | None]
    on_ended: Callable[[ChildProcess], None]


class _End(NamedTuple):
    """The end of a process. was_asked: to stop. has_run: False if the system did not start it."""

    status: int
    error: ForebayError | None
    ran_s: float = 0.0
    was_asked: bool = False
    has_run: bool = True


class Supervisor:
    """Keeps `children` running until `stop` is called or one ends for good. Call `run` once.

    on_ending: called once before all children are stopped.
    """

    def __init__(
        self,
        children: Sequence[ChildProcess],
        launcher: Launcher,
        access: ChildAccess,
        settings: Settings,
        *,
        on_ending: Callable[[], None],
        clock: Clock,
    ) -> None:
        self.children = tuple(children)
        self.paused: bool | None = None
        """Whether reading is to be paused; None before anyone has asked."""
        self.stopping = False
        self._launcher = launcher
        self._access = access
        self._settings = {child.number: settings for child in self.children}
        # Of the processes that run, which during a restart may have the former settings.
        self._kill_after_s = dict.fromkeys(self._settings, access.kill_after_s(settings))
        self._on_ending = on_ending
        self._clock = clock
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._stop = asyncio.Event()
        self._restarting: ChildProcess | None = None
        self._former_settings = settings
        self._why_killed: dict[int, str] = {}

    async def run(self, lost: asyncio.Future[None]) -> None:
        """Run until a stop is requested, then let all children drain.

        lost: has an error once children can no longer be started.

        Raises the error that ended the whole: of a child that cannot start, or that did not drain.
        """
        keeping = {child: asyncio.create_task(self._keep_running(child)) for child in self.children}
        polling = [asyncio.create_task(self._poll_forever(child)) for child in self.children]
        stop = asyncio.create_task(self._stop.wait())
        # The tasks of children do not end by themselves, except by an unexpected error, after which a child has no supervision.
        tasks = [*keeping.values(), *polling]
        try:
            ends: list[asyncio.Future[Any]] = [stop, self._failure, lost, *tasks]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            self.stopping = True
            self._on_ending()
            if not lost.done():
                await self._end_all(keeping)
        finally:
            await cancel_until_done(*tasks, stop)
        for outcome in (lost, self._failure, *tasks):
            if outcome.done() and not outcome.cancelled():
                outcome.result()

    def stop(self) -> None:
        """Request the end: all children drain at the same time."""
        self._stop.set()

    @property
    def pids(self) -> list[int]:
        """The processes of the children."""
        return [child.pid for child in self.children if child.pid is not None]

    @property
    def kill_after_s(self) -> float:
        """The longest time after which a child that was asked to stop is killed."""
        return max(self._kill_after_s.values())

    async def pause(self, paused: bool) -> None:
        """Let all children pause or resume reading, also those that start later."""
        self.paused = paused
        await asyncio.gather(*(self._access.set_paused(child, paused) for child in self.children if child.is_running))

    # ---- one child

    async def _keep_running(self, child: ChildProcess) -> None:
        while True:
            end = await self._run_process(child)
            if self.stopping:
                if end.has_run:
                    self._on_last_end(child, end.status, end.error)
                return
            if end.was_asked:
                if end.error is not None:
                    log.error("process %d did not drain: %s", child.number, end.error.message)
                continue
            if child is self._restarting:
                self._give_back_settings(child)
            elif (failure := self._ends_all(child, end.status, end.error)) is not None:
                self._fail(failure)
                return
            wait_s = child.policy.on_failure(ran_s=end.ran_s)
            child.on_waiting(wait_s, now_s=self._clock.monotonic_s())
            log.error("process %d ended: %s; it starts again in %.1f s", child.number, child.last_end, wait_s)
            await asyncio.sleep(wait_s)

    async def _run_process(self, child: ChildProcess) -> _End:
        """Start a process of the child and wait for its end."""
        settings = self._settings[child.number]
        job = self._access.job(child.number, settings)
        kill_after_s = self._kill_after_s[child.number] = self._access.kill_after_s(settings)
        try:
            pid = await self._launcher.start(child.number, job, kill_after_s=kill_after_s)
        except StartError as error:
            child.on_not_started(error.message)
            return _End(EXIT_FAILED, error, has_run=False)
        child.on_started(pid, now_s=self._clock.monotonic_s())
        if self.stopping:
            self._ask_to_stop(child)
        status = await self._launcher.wait_ended(child.number)
        was_asked = child.state is ChildState.STOPPING
        failure = self._access.take_error(child.number)
        reason = self._why_killed.pop(child.number, None) or (None if failure is None else failure.message)
        ran_s = child.on_ended(status, now_s=self._clock.monotonic_s(), reason=reason)
        self._access.on_ended(child)
        return _End(status, failure, ran_s, was_asked)

    def _ends_all(self, child: ChildProcess, status: int, error: ForebayError | None) -> ForebayError | None:
        """Return the error that ends the whole because of the end of a child; None if the child is to be restarted.

        A wrong configuration does, and before any child has been ready every error of Forebay, as it would end a single worker.
        """
        if status == EXIT_CONFIG:
            return error or ConfigError(
                f"process {child.number} ended with exit status {status}", remedy="its log says what is wrong"
            )
        return None if any(other.was_ready for other in self.children) else error

    def _on_last_end(self, child: ChildProcess, status: int, error: ForebayError | None) -> None:
        # 143: it had only begun to start.
        if status not in (0, 128 + signal.SIGTERM):
            self._fail(
                error
                or ForebayError(
                    f"process {child.number} did not drain: {child.last_end}; its uncommitted events will be read again",
                    kind="not_drained",
                    remedy="its log says why; raise delivery.drain_timeout_ms if it was killed",
                )
            )

    def _fail(self, error: ForebayError) -> None:
        if not self._failure.done():
            self._failure.set_exception(error)

    def _ask_to_stop(self, child: ChildProcess) -> None:
        pid = child.pid
        assert pid is not None
        child.on_stopping()
        self._launcher.signal(pid, signal.SIGTERM)
        asyncio.get_running_loop().call_later(self._kill_after_s[child.number], self._kill, child, pid)

    def _kill(self, child: ChildProcess, pid: int) -> None:
        if child.pid == pid:
            log.error(
                "process %d did not stop within %g s and is killed", child.number, self._kill_after_s[child.number]
            )
            self._launcher.signal(pid, signal.SIGKILL)

    async def _poll_forever(self, child: ChildProcess) -> None:
        while True:
            if child.is_running:
                await self._poll(child)
            await asyncio.sleep(POLL_S if child.state is ChildState.READY else STARTING_POLL_S)

    async def _poll(self, child: ChildProcess) -> None:
        pid = child.pid
        report = await self._access.poll(child)
        if pid is None or child.pid != pid:
            return
        if report is not None:
            was_ready = child.state is ChildState.READY
            child.on_report(report, now_s=self._clock.monotonic_s())
            if child.state is ChildState.READY and not was_ready:
                log.info("process %d is ready", child.number)
            if self.paused is not None and report.paused != self.paused:
                await self._access.set_paused(child, self.paused)
        if (reason := child.stuck_because(now_s=self._clock.monotonic_s())) is not None:
            log.error("process %d is killed: %s", child.number, reason)
            self._why_killed[child.number] = reason
            self._launcher.signal(pid, signal.SIGKILL)

    # ---- all of them

    async def restart_one_by_one(self, settings: Settings) -> None:
        """Restart the children with new settings: each is ready before the next one stops.

        If one does not become ready, it gets back its former settings, and the others keep theirs.
        """
        for child in self.children:
            self._former_settings, self._settings[child.number] = self._settings[child.number], settings
            if child.pid is None:
                continue  # it is waiting, and starts with the new settings
            self._restarting = child
            log.info("restarting process %d", child.number)
            self._ask_to_stop(child)
            if not await self._is_ready_again(child, child.starts):
                if child is self._restarting:  # it has not failed, but takes too long
                    self._give_back_settings(child)
                    if child.pid is not None:
                        self._ask_to_stop(child)
                return
            self._restarting = None
        log.info("all processes are restarted")

    async def _is_ready_again(self, child: ChildProcess, starts: int) -> bool:
        """Wait until a new process of the child is ready; False if it fails, or is not ready in time."""
        deadline_s = self._clock.monotonic_s() + RESTART_TIMEOUT_S + self._kill_after_s[child.number]
        while self._clock.monotonic_s() < deadline_s and not self.stopping and child is self._restarting:
            if child.starts > starts and child.state is ChildState.READY:
                return True
            await asyncio.sleep(STARTING_POLL_S)
        return False

    def _give_back_settings(self, child: ChildProcess) -> None:
        """End a rolling restart at a child that does not become ready with the new settings."""
        self._restarting, self._settings[child.number] = None, self._former_settings
        if not self.stopping:
            log.error(
                "the restart goes no further, because process %d did not become ready: %s; it gets its former settings",
                *(child.number, child.last_end),
            )

    async def _end_all(self, keeping: dict[ChildProcess, asyncio.Task[None]]) -> None:
        """Stop all children at the same time and wait for their ends. Those that are not running are not started again."""
        log.info("stopping %d processes", sum(child.is_running for child in self.children))
        for child, task in keeping.items():
            if child.state in (ChildState.WAITING, ChildState.ENDED) and child.starts:
                task.cancel()
            elif child.is_running and child.state is not ChildState.STOPPING:
                self._ask_to_stop(child)
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait(keeping.values(), timeout=self.kill_after_s + KILLED_TIMEOUT_S)
