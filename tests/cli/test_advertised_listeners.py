"""A cluster that advertises unreachable addresses: every command reports them within its timeout."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from forebay.schemas.errors import BrokerError
from forebay.stream.cli import main
from forebay.stream.kafka.cluster.advertised_listeners import find_unreachable, require_reachable
from tests.brokers.ports import free_ports
from tests.brokers.proxy import proxied_listeners
from tests.brokers.resolve import RealKafka
from tests.models.build import publish

SAID_WITHIN_S = 90.0
"""It is long, for busy machines; without the check, some commands would try for ever."""
OF_THEIR_OWN = ("run", "aggregate")
"""Commands that set up or end the whole process. A start of one takes seconds, so that the others run in this process."""
EVENTS = '{"id": "1", "features": [1, 2, 3]}\n'
COMMANDS = (
    ("run",),
    ("aggregate",),
    ("publish", "--features", "[1, 2, 3]"),
    ("publish", "events.jsonl"),
    ("publish", "--features", "[1, 2, 3]", "--wait", "5"),
    ("tail", "predictions"),
    ("dlq", "list"),
    ("dlq", "stats"),
    ("dlq", "replay", "--yes"),
    ("errors",),
    ("status",),
    ("topics", "create"),
    ("demo", "flights", "--limit", "10"),
    ("bench", "--events", "10", "--memory-events", "0", "--rate", "0"),
)


@pytest.fixture(scope="module")
def unheard() -> Iterator[int]:
    """A port that is reserved but does not accept connections."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        yield listener.getsockname()[1]


@pytest.fixture(scope="module")
def bootstrap(module_kafka: Callable[[Mapping[str, str]], RealKafka], unheard: int) -> str:
    """A listener of a real broker that advertises the port `unheard`."""
    (direct,) = free_ports(1)
    module_kafka(proxied_listeners(direct, unheard))
    return f"127.0.0.1:{direct}"


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_names_the_address(
    command: tuple[str, ...],
    bootstrap: str,
    unheard: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    publish(tmp_path / "models")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "events.jsonl").write_text(EVENTS)
    settings = ["--set", "model.name=delays", "--set", "admin.port=0"]
    # `bench` starts its own broker unless it is given one.
    settings += (
        ["--bootstrap-server", bootstrap]
        if command[0] == "bench"
        else ["--set", f"kafka.bootstrap_servers={bootstrap}"]
    )
    started_s = time.monotonic()
    if command[0] in OF_THEIR_OWN:
        status = subprocess.run([sys.executable, "-P", "-m", "forebay", *command, *settings], timeout=120).returncode
    else:
        status = main([*command, *settings])
    assert time.monotonic() - started_s < SAID_WITHIN_S
    out, err = capfd.readouterr()
    assert (status, out) == (1, ""), err
    assert f"127.0.0.1:{unheard}: nothing listens there" in err
    assert "advertised.listeners" in err
    assert "Traceback" not in err


async def test_only_the_answer_of_a_bootstrap_server_is_not_enough(bootstrap: str, unheard: int) -> None:
    with pytest.raises(BrokerError, match=f"{bootstrap} answers, but none of the 1 brokers.*{unheard}") as failure:
        await require_reachable({"bootstrap_servers": bootstrap})
    assert failure.value.kind == "advertised"


async def test_the_wait_for_a_server_that_never_answers_is_limited() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        place = f"127.0.0.1:{listener.getsockname()[1]}"
        failure = await find_unreachable({"bootstrap_servers": place}, timeout_s=0.2)
    assert failure is not None
    assert f"{place}: no answer within 0.2 s" in failure.message


@pytest.mark.parametrize(
    "command",
    [["demo"], ["status"], ["topics", "check"], ["bench", "--events", "1", "--memory-events", "0", "--rate", "0"]],
)
def test_nothing_is_reported_as_done_on_an_unreachable_broker(
    command: list[str], unheard: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--bootstrap-server", f"127.0.0.1:{unheard}"]) == 1
    shown = capsys.readouterr()
    assert f"error: cannot reach Kafka at 127.0.0.1:{unheard}: nothing listens there\n" in shown.err
    assert "✓" not in shown.out + shown.err


def test_every_command_reports_a_server_that_is_not_a_broker(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        place = f"127.0.0.1:{listener.getsockname()[1]}"
        for command in (["topics", "check"], ["status"]):
            assert main([*command, "--bootstrap-server", place, "--timeout", "0.3"]) == 1
            assert f"error: cannot reach Kafka at {place}: no answer within 0.3 s\n" in capsys.readouterr().err
