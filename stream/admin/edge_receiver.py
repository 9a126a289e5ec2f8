"""Takes the reports of devices over HTTP, and commits each once."""

from __future__ import annotations

import asyncio
import logging
from typing import Final, Protocol

from aiohttp import web

from forebay.schemas.topics import DRIFT, OUTCOME_DELTAS, topic_name
from forebay.stream.admin.edge_reports import BadReport, parse_report
from forebay.stream.admin.responses import error_response, json_response
from forebay.stream.config.sections import Settings
from forebay.stream.core.clock import Clock
from forebay.stream.kafka.client import client_options
from forebay.stream.kafka.cluster.acls import edge_name
from forebay.stream.kafka.producer.edge_commit import EdgeCommitter, Records

log = logging.getLogger("forebay.admin")

RETRY_AFTER_S: Final = 30
TRANSACTION_TIMEOUT_MS: Final = 30_000


class Committer(Protocol):
    """Commits the records of a report (see `kafka.producer.edge_commit`)."""

    async def commit(self, device: str, number: int, records: Records) -> bool: ...


class EdgeReceiver:
    """Takes reports one after the other, so that devices cannot take the event loop from the stream.

    deltas, drift: the topics; None for drift if it is not counted here.
    """

    def __init__(self, committer: Committer, *, deltas: str, drift: str | None, clock: Clock) -> None:
        self._committer = committer
        self._deltas = deltas
        self._drift = drift
        self._clock = clock
        self._turn = asyncio.Lock()

    async def serve(self, request: web.Request) -> web.Response:
        """Answer 200 for a report that is committed, with `duplicate` if it was before; 4xx for one that cannot be counted."""
        body = await request.read()
        try:
            report = parse_report(body, now_ms=self._clock.wall_ms())
        except BadReport as error:
            return error_response(400, error.kind, error.message)
        records = [(self._deltas, key, value) for key, value in report.deltas]
        if self._drift is not None and report.drift is not None:
            records.append((self._drift, *report.drift))
        try:
            async with self._turn:
                is_new = await self._committer.commit(report.device, report.number, records)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # of many kinds; each means that the device has to post it again
            log.warning("a report of the device %s could not be committed: %s", report.device, error)
            headers = {"Retry-After": f"{RETRY_AFTER_S}"}
            return error_response(503, "not_committed", "the report is not committed; post it again", headers=headers)
        return json_response({"device": report.device, "number": report.number, "duplicate": not is_new})


def edge_receiver(settings: Settings, clock: Clock) -> EdgeReceiver | None:
    """Return the receiver; None if reports are not enabled."""
    if not settings.edge.reports:
        return None
    prefix = settings.topics.prefix
    deltas = topic_name(prefix, OUTCOME_DELTAS.name)
    committer = EdgeCommitter(
        client_options(settings.kafka),
        name=edge_name(settings),
        topic=deltas,
        transaction_timeout_ms=TRANSACTION_TIMEOUT_MS,
    )
    drift = topic_name(prefix, DRIFT.name) if settings.drift.enabled else None
    return EdgeReceiver(committer, deltas=deltas, drift=drift, clock=clock)
