"""The start and the end of a worker in the audit: which models it serves, and that it was asked to stop."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterable, Mapping
from typing import Final, Self

from forebay.schemas.errors import BrokerError
from forebay.stream.admin.recorded_switch import ActionRecorder
from forebay.stream.audit.action import Action
from forebay.stream.config.sections import Settings
from forebay.stream.control.action_log import action_log
from forebay.stream.core.clock import Clock
from forebay.stream.worker.lane_assembly import ServedLane

log = logging.getLogger("forebay.worker")

ACTOR: Final = "worker"
STOP_S: Final = 3.0
"""How long a worker that stops waits for it."""


class AuditedRun:
    """Writes start and end of a worker to the audit. actions: None without it."""

    def __init__(self, actions: ActionRecorder | None) -> None:
        self.actions = actions

    @classmethod
    def of(cls, settings: Settings, *, worker: str, clock: Clock) -> Self:
        """Return what writes to the audit of these settings, if it is enabled. Raises ConfigError."""
        return cls(action_log(settings, process=worker, clock=clock))

    async def on_started(self, lanes: Iterable[ServedLane]) -> None:
        """Write which models are served. Raises BrokerError: a worker whose start is not audited does not start."""
        if self.actions is not None:
            models = [_model(served) for served in lanes]
            await self.actions.record(Action("start", ACTOR, socket.gethostname(), {"models": models}))

    async def on_stopping(self, num_in_flight: int) -> None:
        """Write that the worker was asked to stop, and drains. A failure is logged only: it stops in any case."""
        if self.actions is None:
            return
        action = Action("stop", ACTOR, socket.gethostname(), {"in_flight_events": num_in_flight})
        try:
            async with asyncio.timeout(STOP_S):
                await self.actions.record(action)
        except (BrokerError, TimeoutError) as error:
            log.warning("the stop is not in the audit: %s", str(error) or f"no answer within {STOP_S:g} s")


def _model(served: ServedLane) -> Mapping[str, object]:
    ref, model = served.ref, served.model
    return {
        "name": ref.name,
        "version": ref.version,
        "manifest_sha256": getattr(model, "manifest_sha256", None),
        "signature": getattr(model, "signature_state", None),
    }
