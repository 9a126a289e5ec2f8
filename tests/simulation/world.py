"""The simulated world: virtual time, and processes whose event loops run only when the world gives them a turn.

Nothing sleeps and no thread is started. Each process has an event loop of its own, so that one can be frozen, as by
SIGSTOP, while the others and the cluster continue. The order of all steps follows from the seed and the rules that are called.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import random
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Final

START_S: Final = 1_000.0
START_MS: Final = 1_372_636_800_000  # 2013-07-01T00:00:00Z
TICK_S: Final = 1e-6
MAX_TURNS_AT_ONCE: Final = 20_000
"""A process that has this many turns without time passing is in an endless loop."""


class SimulationError(AssertionError):
    """Something that must not happen, happened in the simulation."""


class _NoSelector:
    """A selector without files, which never waits: the world decides when time passes."""

    def select(self, timeout: float | None) -> list[Any]:
        return []


class ProcessLoop(asyncio.BaseEventLoop):
    """An event loop in virtual time."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world
        self._selector = _NoSelector()

    def time(self) -> float:
        return self._world.now_s

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:
        # A timer that is due within the clock's resolution would be run without time passing, again and again.
        if when > self._world.now_s:
            when = max(when, self._world.now_s + TICK_S)
        return super().call_at(when, callback, *args, context=context)

    def next_at_s(self) -> float:
        """Return the time at which something is to be run; infinity if there is nothing."""
        if self._ready:  # type: ignore[attr-defined]
            return self._world.now_s
        scheduled = self._scheduled  # type: ignore[attr-defined]
        while scheduled and scheduled[0]._cancelled:
            self._timer_cancelled_count -= 1  # type: ignore[attr-defined]
            heapq.heappop(scheduled)._scheduled = False
        return scheduled[0].when() if scheduled else math.inf

    def turn(self) -> None:
        """Run what is ready now, once."""
        asyncio._set_running_loop(self)
        self._thread_id = threading.get_ident()
        try:
            self._run_once()  # type: ignore[attr-defined]
        finally:
            self._thread_id = None
            asyncio._set_running_loop(None)

    def _process_events(self, event_list: list[Any]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass


class Process:
    """A process: an event loop, which may be frozen, and a connection to the cluster, which ends when it is killed."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.loop = ProcessLoop(world)
        self.loop.set_exception_handler(self._on_loop_error)
        self.frozen_until_s = -math.inf
        self.killed = False

    def spawn(self, coroutine: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Start a task of this process."""
        return self.loop.create_task(coroutine, name=name)

    def freeze(self, for_s: float) -> None:
        """Stop the process for some time. What arrives for it meanwhile waits."""
        self.frozen_until_s = max(self.frozen_until_s, self.world.now_s + for_s)

    def thaw(self) -> None:
        """Continue a frozen process."""
        self.frozen_until_s = -math.inf

    @property
    def is_frozen(self) -> bool:
        """Whether the process is frozen now."""
        return self.world.now_s < self.frozen_until_s

    def next_at_s(self) -> float:
        """Return the time of the next turn; infinity if nothing is to be run."""
        return max(self.loop.next_at_s(), self.frozen_until_s, self.world.now_s)

    def kill(self) -> None:
        """End the process as SIGKILL does: nothing that it does from now on has an effect outside."""
        if self.loop.is_closed():
            return
        self.killed = True
        self.thaw()
        self.close()

    def close(self) -> None:
        """Cancel all tasks and close the loop. Nothing leaves the process meanwhile if it was killed before."""
        for _ in range(200):
            tasks = [task for task in asyncio.all_tasks(self.loop) if not task.done()]
            if not tasks:
                break
            for task in tasks:
                task.cancel()
            for _ in range(50):
                if not self.loop._ready:  # type: ignore[attr-defined]
                    break
                self.loop.turn()
        else:
            names = ", ".join(task.get_name() for task in tasks)
            raise SimulationError(f"{self.name}: tasks do not end when they are cancelled: {names}")
        self.world.processes.remove(self)
        self.loop._ready.clear()  # type: ignore[attr-defined]
        self.loop._scheduled.clear()  # type: ignore[attr-defined]
        self.loop.close()

    def _on_loop_error(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        # The exception of a future that is not awaited is logged when it is collected, which is not a violation.
        if not self.killed and not ("future" in context and not isinstance(context["future"], asyncio.Task)):
            error = context.get("exception")
            self.world.errors.append(f"{self.name}: {context.get('message')}: {error!r}")


class World:
    """Virtual time, the processes, and events outside of them.

    seed: of `rng`, from which latencies and the like come.
    """

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.now_s = START_S
        self.processes: list[Process] = []
        self.errors: list[str] = []
        self.turns = 0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._num_events = 0

    def process(self, name: str) -> Process:
        """Start a process."""
        process = Process(self, name)
        self.processes.append(process)
        return process

    def after(self, delay_s: float, event: Callable[[], None]) -> None:
        """Call `event` after this delay."""
        self._num_events += 1
        heapq.heappush(self._events, (self.now_s + delay_s, self._num_events, event))

    def monotonic(self) -> float:
        """Return the virtual time, in the place of `time.monotonic`."""
        return self.now_s

    def time(self) -> float:
        """Return the virtual wall-clock time, in the place of `time.time`."""
        return START_MS / 1000 + self.now_s - START_S

    def monotonic_s(self) -> float:
        """Return the virtual time, as a `Clock` does."""
        return self.now_s

    def wall_ms(self) -> int:
        """Return the virtual wall-clock time, as a `Clock` does."""
        return START_MS + round((self.now_s - START_S) * 1000)

    def run(self, for_s: float) -> None:
        """Let virtual time pass."""
        end_s = self.now_s + for_s
        turns_at_once = 0
        while True:
            now_s, next_s = self.now_s, math.inf
            if self._events:
                next_s = self._events[0][0]
                if next_s <= now_s:
                    heapq.heappop(self._events)[2]()
                    continue
            due = []
            for process in self.processes:
                at_s = process.next_at_s()
                if at_s <= now_s:
                    due.append(process)
                elif at_s < next_s:
                    next_s = at_s
            if due:
                self.turns += len(due)
                turns_at_once += 1
                if turns_at_once > MAX_TURNS_AT_ONCE:
                    raise SimulationError(self._describe_loop())
                for process in due:
                    process.loop.turn()
            elif next_s > end_s:
                self.now_s = end_s
                return
            else:
                self.now_s, turns_at_once = next_s, 0

    def _describe_loop(self) -> str:
        """Return what the processes do that have something to run all the time."""
        busy = [process for process in self.processes if process.next_at_s() <= self.now_s]
        tasks = [
            f"{task.get_name()} at {frame.f_code.co_qualname if hasattr(frame.f_code, 'co_qualname') else frame.f_code}"
            for process in busy
            for task in asyncio.all_tasks(process.loop)
            for frame in task.get_stack(limit=1)
        ]
        return f"an endless loop in {', '.join(process.name for process in busy)}: {'; '.join(tasks)}"

    def close(self) -> None:
        """End all processes, as if they were killed."""
        for process in list(self.processes):
            process.kill()
