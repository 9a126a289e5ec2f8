"""Tokens from a command: what it may print, how long a token is kept, and how its failures are reported."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shlex
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiokafka.errors import KafkaError

from forebay.schemas.errors import BrokerError
from forebay.stream.kafka.oauth import MARGIN_MS, UNKNOWN_LIFETIME_MS, CommandTokenProvider, TokenError
from tests.eventually import eventually

NOW_MS = 1_800_000_000_000


@dataclass
class HandClock:
    now_ms: int = NOW_MS

    def monotonic_s(self) -> float:
        return self.now_ms / 1000

    def wall_ms(self) -> int:
        return self.now_ms


@dataclass
class Command:
    """A command that counts its runs and prints the content of a file, or fails if the file does not exist."""

    folder: Path

    @property
    def line(self) -> str:
        program = (
            "import pathlib, sys; folder = pathlib.Path(sys.argv[1]); "
            "(folder / 'runs').open('a').write('x'); "
            "says = folder / 'says'; "
            "sys.stdout.write(says.read_text()) if says.exists() else sys.exit('the door is shut')"
        )
        return shlex.join([sys.executable, "-S", "-c", program, str(self.folder)])

    def says(self, text: str | None) -> None:
        says = self.folder / "says"
        if text is None:
            says.unlink(missing_ok=True)
        else:
            says.write_text(text)

    @property
    def runs(self) -> int:
        runs = self.folder / "runs"
        return len(runs.read_text()) if runs.exists() else 0


@pytest.fixture
def command(tmp_path: Path) -> Command:
    return Command(tmp_path)


def provider(command: Command | str, clock: HandClock | None = None, timeout_ms: int = 20_000) -> CommandTokenProvider:
    line = command if isinstance(command, str) else command.line
    return CommandTokenProvider(line, timeout_ms=timeout_ms, clock=clock or HandClock())


def jwt(claims: object) -> str:
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"e30.{payload}.c2ln"


@pytest.mark.parametrize(
    ("said", "token"),
    [
        ("abc.def\n", "abc.def"),
        ('{"token": "abc"}', "abc"),
        ('{"token": "abc", "expires_at": 1800000100.5, "more": 1}\n', "abc"),
    ],
)
async def test_the_command_prints_a_token_or_json(command: Command, said: str, token: str) -> None:
    command.says(said)
    assert await provider(command).token() == token


@pytest.mark.parametrize(
    ("said", "life_ms"),
    [
        ('{"token": "a", "expires_at": 1800001000}', 1_000_000 - MARGIN_MS),
        ('{"token": "a", "expires_at": 1800000050}', 40_000),
        (jwt({"exp": 1_800_001_000}), 1_000_000 - MARGIN_MS),
        (jwt({"sub": "me"}), UNKNOWN_LIFETIME_MS * 4 // 5),
        ("opaque", UNKNOWN_LIFETIME_MS * 4 // 5),
        ("a.b.c", UNKNOWN_LIFETIME_MS * 4 // 5),
    ],
)
async def test_a_token_is_cached_until_shortly_before_it_expires(command: Command, said: str, life_ms: int) -> None:
    clock = HandClock()
    tokens = provider(command, clock)
    command.says(said)
    await tokens.token()
    clock.now_ms = NOW_MS + life_ms - 1
    await tokens.token()
    assert command.runs == 1
    clock.now_ms = NOW_MS + life_ms
    await tokens.token()
    assert command.runs == 2


async def test_concurrent_connections_share_one_run(command: Command) -> None:
    command.says("abc")
    tokens = provider(command)
    assert await asyncio.gather(*(tokens.token() for _ in range(5))) == ["abc"] * 5
    assert command.runs == 1


async def test_a_failed_renewal_is_ignored_while_the_old_token_is_valid(command: Command) -> None:
    clock = HandClock()
    tokens = provider(command, clock)
    command.says('{"token": "old", "expires_at": 1800001000}')
    await tokens.token()
    command.says(None)
    clock.now_ms = NOW_MS + 1_000_000 - 1
    assert await tokens.token() == "old"
    clock.now_ms += 1
    with pytest.raises(TokenError):
        await tokens.token()
    command.says("new")
    assert await tokens.token() == "new"


async def test_a_failure_carries_the_commands_error_output(command: Command) -> None:
    with pytest.raises(TokenError, match="ended with status 1: the door is shut") as caught:
        await provider(command).token()
    # The client must see one of its own errors: any other would end its background tasks.
    assert isinstance(caught.value, BrokerError)
    assert isinstance(caught.value, KafkaError)
    assert str(caught.value) == caught.value.message


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("", "printed no token"),
        ("secret secret", "printed no token"),
        ("sécret", "printed no token"),
        ('{"token": 5, "expires_at": "secret"}', "printed no token"),
        ('{"secret": "x"}', "printed no token"),
        ('{"secret', "neither a token nor JSON"),
        ('{"token": "secret", "expires_at": "tomorrow"}', "not a number of seconds"),
        ('{"token": "secret", "expires_at": true}', "not a number of seconds"),
        ('{"token": "secret", "expires_at": 1800000000000}', "not a number of seconds"),
        ('{"token": "secret", "expires_at": 1800000000}', "has expired"),
    ],
)
async def test_invalid_output_is_reported_but_not_shown(command: Command, said: str, told: str) -> None:
    command.says(said)
    with pytest.raises(TokenError, match=told) as caught:
        await provider(command).token()
    assert "secret" not in caught.value.message


async def test_a_missing_command_is_reported() -> None:
    with pytest.raises(TokenError, match=r"\(/none/get-token \.\.\.\) cannot be run") as caught:
        await provider("/none/get-token --client-secret hunter2").token()
    assert "hunter2" not in caught.value.message


async def test_a_slow_command_is_killed_with_its_child_processes(tmp_path: Path) -> None:
    child = tmp_path / "child"
    # The shell waits for its child, and both hold the pipe open.
    script = f"sleep 600 & echo $! > {shlex.quote(str(child))}; wait"
    started_s = time.monotonic()
    with pytest.raises(TokenError, match="returned no token within 1 s"):
        await provider(shlex.join(["sh", "-c", script]), timeout_ms=1000).token()
    assert time.monotonic() - started_s < 60  # the command takes 600 s
    # The process that adopts the child may take a moment to reap it.
    pid = int(child.read_text())
    await eventually(lambda: is_gone(pid), f"the end of process {pid}")


def is_gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        return False
    return state == "Z"
