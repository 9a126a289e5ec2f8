"""Pause and resume in the audit: written before they are done."""

from __future__ import annotations

from typing import Protocol

from aiohttp import web

from forebay.schemas.errors import BrokerError
from forebay.stream.admin.guard import caller_of
from forebay.stream.admin.responses import error_response
from forebay.stream.audit.action import Action


class ActionRecorder(Protocol):
    """Writes actions to the audit."""

    async def record(self, action: Action) -> None:
        """Write an action, and return once it is stored. Raises BrokerError if it is not known to be stored."""


async def refusal_unless_recorded(
    actions: ActionRecorder | None, request: web.Request, *, paused: bool, worker: str, has_token: bool
) -> web.Response | None:
    """Write a pause or its end to the audit. Return the error response if that fails, and None if the action may be done.

    actions: None without the audit. has_token: whether `admin.token` is set.
    """
    if actions is None:
        return None
    action = Action(
        "pause" if paused else "resume", _actor(request, has_token), request.remote or "", {"worker": worker}
    )
    try:
        await actions.record(action)
    except BrokerError as error:
        message = f"nothing was done, because the audit cannot be written: {error.message}"
        return error_response(503, "not_audited", message)
    return None


def _actor(request: web.Request, has_token: bool) -> str:
    """Return who sends a request, as far as it is known."""
    principal = caller_of(request).principal
    if principal is not None:
        return principal
    if not request.remote:
        return "supervisor"  # at a Unix socket
    return "holder of admin.token" if has_token else "unauthenticated"
