"""Children without processes, for tests of the supervisor."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from typing import Any

from forebay.schemas.errors import ForebayError
from forebay.stream.config.sections import Settings
from forebay.stream.core.backoff import Backoff
from forebay.stream.core.clock import SystemClock
from forebay.stream.supervisor.child_process import ChildProcess, ChildReport, ChildVerdict
from forebay.stream.supervisor.launcher import StartError
from forebay.stream.supervisor.restart_policy import RestartPolicy
from forebay.stream.supervisor.supervisor import ChildAccess, Supervisor

OK = ChildVerdict(True)


class FakeLauncher:
    """Starts children that run until they get a signal, or the test ends them.

    refusal: why no child can be started; None if they can.
    drains: the status with which a child ends on SIGTERM; None for one that does not end.
    events: what happened, in order.
    """

    def __init__(self) -> None:
        self.drains: int | None = 0
        self.refusal: str | None = None
        self.events: list[str] = []
        self.numbers: dict[int, int] = {}
        self.jobs: dict[int, Any] = {}
        self.kill_after_s: dict[int, float] = {}
        self._ended: dict[int, asyncio.Future[int]] = {}

    async def start(self, number: int, job: Any, *, kill_after_s: float) -> int:
        if self.refusal is not None:
            self.events.append(f"refuse {number}")
            raise StartError(number, self.refusal)
        self.kill_after_s[number] = kill_after_s
        pid = 1000 + len(self.numbers)
        self.numbers[pid], self.jobs[pid] = number, job
        self._ended[number] = asyncio.get_running_loop().create_future()
        self.events.append(f"start {number}")
        return pid

    async def wait_ended(self, number: int) -> int:
        return await asyncio.shield(self._ended[number])

    def signal(self, pid: int, number: int) -> None:
        child = self.numbers[pid]
        self.events.append(f"{signal.Signals(number).name} {child}")
        if number == signal.SIGKILL:
            self.end(child, -signal.SIGKILL)
        elif self.drains is not None:
            self.end(child, self.drains)

    def end(self, number: int, status: int) -> None:
        if not self._ended[number].done():
            self._ended[number].set_result(status)


class Rig:
    """A supervisor of `count` children. Create it in an event loop.

    report: returns what a child answers to a poll; by default it is ready at once.
    kill_after_s: after how long a child is killed, by the group id of its settings, where it is not that of all.
    errors: the errors that children left, by number.
    """

    def __init__(self, count: int, *, kill_after_s: float = 5.0, first_wait_s: float = 0.01) -> None:
        self.launcher = FakeLauncher()
        self.report: Callable[[ChildProcess], ChildReport | None] = lambda _child: ready()
        self.errors: dict[int, ForebayError] = {}
        self.ended: list[int] = []
        self.paused: list[tuple[int, bool]] = []
        self.endings = 0
        self.kill_after_s: dict[str, float] = {}
        policies = [RestartPolicy(Backoff(first_wait_s, 30.0, jitter=lambda: 1.0)) for _ in range(count)]
        self.children = [ChildProcess(number, policy=policy) for number, policy in enumerate(policies)]
        access = ChildAccess(
            job=lambda number, settings: (number, settings.kafka.group_id),
            kill_after_s=lambda settings: self.kill_after_s.get(settings.kafka.group_id, kill_after_s),
            poll=self._poll,
            set_paused=self._set_paused,
            take_error=lambda number: self.errors.pop(number, None),
            on_ended=lambda child: self.ended.append(child.number),
        )
        self.supervisor = Supervisor(
            self.children,
            self.launcher,
            access,
            Settings(),
            on_ending=self._on_ending,
            clock=SystemClock(),
        )
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def run(self) -> asyncio.Task[None]:
        return asyncio.create_task(self.supervisor.run(self.lost))

    async def _poll(self, child: ChildProcess) -> ChildReport | None:
        return self.report(child)

    async def _set_paused(self, child: ChildProcess, paused: bool) -> None:
        self.paused.append((child.number, paused))

    def _on_ending(self) -> None:
        self.endings += 1


def ready(*, live: ChildVerdict = OK, is_ready: ChildVerdict = OK, paused: bool = False) -> ChildReport:
    return ChildReport(live=live, ready=is_ready, started=OK, paused=paused, metrics=b"{}")
