"""OAUTHBEARER tokens from a command, which runs when a token is needed. A token is cached until shortly before it expires."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import json
import logging
import os
import shlex
import signal
from typing import Final

from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaConnectionError

from forebay.schemas.errors import BrokerError
from forebay.stream.config.redaction import without_arguments
from forebay.stream.core.clock import Clock, SystemClock

log = logging.getLogger("forebay.kafka.oauth")

UNKNOWN_LIFETIME_MS: Final = 60_000
"""How long a token without an expiry time is cached."""
MARGIN_MS: Final = 30_000
"""A token is renewed this long before it expires, or after four fifths of its lifetime if that is sooner."""
MAX_STDERR_CHARS: Final = 500
LATEST_EXPIRY_S: Final = 100_000_000_000
"""In the year 5138: a larger number is in milliseconds rather than seconds."""


class TokenError(BrokerError, KafkaConnectionError):
    """The token command returned no valid token.

    It is also a connection error, which the client retries: any other error would end its background tasks silently.
    """

    default_kind = "token"

    def __str__(self) -> str:
        return self.message


class CommandTokenProvider(AbstractTokenProvider):
    """Provides the token that a command prints.

    command: split as a shell would, but run without a shell. It prints the token alone, or JSON {"token": "...", "expires_at":
    seconds since 1970}. Without expires_at, the claim `exp` applies if the token is a JWT.
    """

    def __init__(self, command: str, *, timeout_ms: int, clock: Clock | None = None) -> None:
        self._command = shlex.split(command)
        self._timeout_s = timeout_ms / 1000
        self._clock = clock or SystemClock()
        self._token = ""
        self._renew_at_ms = 0
        self._expires_at_ms = 0
        self._running = asyncio.Lock()

    async def token(self) -> str:
        """Return a valid token. Raises TokenError with what the command wrote to standard error."""
        # Several connections may request a token at once: one of them runs the command.
        async with self._running:
            if self._clock.wall_ms() >= self._renew_at_ms:
                await self._renew()
            return self._token

    async def _renew(self) -> None:
        try:
            token, expires_at_ms = self._parse(await self._run())
        except TokenError as error:
            if self._clock.wall_ms() < self._expires_at_ms:
                log.warning("the token could not be renewed; the old one is still valid: %s", error)
                return
            raise
        now_ms = self._clock.wall_ms()
        if expires_at_ms is None:
            expires_at_ms = now_ms + UNKNOWN_LIFETIME_MS
        elif expires_at_ms <= now_ms:
            raise self._error("returned a token that has expired", "check its clock and the token's lifetime")
        self._token, self._expires_at_ms = token, expires_at_ms
        self._renew_at_ms = expires_at_ms - min(MARGIN_MS, (expires_at_ms - now_ms) // 5)

    async def _run(self) -> bytes:
        try:
            # A session of its own, so that its child processes can be killed with it.
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise self._error(f"cannot be run: {reason}", "check that it is installed and on PATH") from None
        try:
            async with asyncio.timeout(self._timeout_s):
                stdout, stderr = await process.communicate()
        except TimeoutError:
            raise self._error(
                f"returned no token within {self._timeout_s:g} s",
                "find out why it is slow, or raise kafka.sasl_oauth_token_timeout_ms",
            ) from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        if process.returncode != 0:
            output = without_arguments(stderr.decode(errors="replace"), self._command).strip()[-MAX_STDERR_CHARS:]
            raise self._error(f"ended with status {process.returncode}: {output or '(it wrote nothing to stderr)'}")
        return stdout

    def _parse(self, output: bytes) -> tuple[str, int | None]:
        # Its output is never part of a message: it may be a token.
        try:
            text = output.decode("utf-8").strip()
        except UnicodeDecodeError:
            raise self._error("printed something that is not UTF-8 text") from None
        expires_at_s: object = None
        if text.startswith("{"):
            try:
                answer = json.loads(text)
            except ValueError:
                raise self._error("printed something that is neither a token nor JSON") from None
            text, expires_at_s = answer.get("token"), answer.get("expires_at")
        if not isinstance(text, str) or not text or not text.isascii() or any(char <= " " for char in text):
            raise self._error(
                "printed no token",
                'it must print the token alone, or {"token": "...", "expires_at": seconds since 1970}',
            )
        if expires_at_s is None:
            expires_at_s = _jwt_expiry_s(text)
        elif not _is_time(expires_at_s):
            raise self._error("printed an expires_at that is not a number of seconds since 1970")
        return text, int(expires_at_s * 1000) if isinstance(expires_at_s, int | float) else None

    def _error(self, what: str, remedy: str = "run it by hand") -> TokenError:
        # The message has only the name of the command: its arguments may contain a secret.
        return TokenError(f"the token command ({self._command[0]} ...) {what}", remedy=remedy)


def _jwt_expiry_s(token: str) -> int | float | None:
    """Return the claim `exp` of a JWT, seconds since 1970; None if the token is not a JWT or has no such claim."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, binascii.Error):
        return None
    expiry = claims.get("exp") if isinstance(claims, dict) else None
    return expiry if _is_time(expiry) else None


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < LATEST_EXPIRY_S
