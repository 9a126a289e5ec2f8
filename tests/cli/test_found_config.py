"""`./forebay.toml`: its use is reported, and it is refused if another user could have written it."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from forebay.stream.cli import main


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a world-writable forebay.toml, whose token command creates a file as evidence that it ran."""
    monkeypatch.chdir(tmp_path)
    mark = tmp_path / "ran"
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    Path("forebay.toml").write_text(
        f'[kafka]\nbootstrap_servers = "127.0.0.1:{port}"\nsecurity_protocol = "SASL_PLAINTEXT"\n'
        f'sasl_mechanism = "OAUTHBEARER"\nsasl_oauth_token_command = "touch {mark}"\n'
    )
    Path("forebay.toml").chmod(0o666)
    return mark


@pytest.mark.parametrize(
    "command", [["run"], ["check"], ["config"], ["tail", "predictions"], ["status"], ["publish", "--features", "[1]"]]
)
def test_a_file_that_other_users_can_write_is_not_used(
    command: list[str], ran: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command) in (1, 2)
    report = capsys.readouterr()
    text = report.out + report.err
    assert "forebay.toml was found in the current folder and is not used: it can be written by every user" in text
    assert "if you trust it, use it with `-c forebay.toml`" in text
    assert not ran.exists()


@pytest.mark.parametrize("by_variable", [False, True])
def test_a_file_that_is_named_is_used(
    by_variable: bool, ran: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if by_variable:
        monkeypatch.setenv("FOREBAY_CONFIG", "forebay.toml")
    assert main(["config", *([] if by_variable else ["-c", "forebay.toml"])]) == 0
    report = capsys.readouterr()
    assert "sasl_oauth_token_command" in report.out
    assert report.err == ""


@pytest.mark.parametrize(("command", "reported"), [("config", False), ("run", True), ("publish", True)])
def test_commands_that_change_something_report_the_file_that_was_found(
    command: str, reported: bool, ran: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("forebay.toml").chmod(0o644)
    arguments = ["--features", "[1]"] if command == "publish" else []
    assert main([command, *arguments, "--set", "log.level=loud"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("using forebay.toml from the current folder\n") == reported
    assert "log.level" in err


def test_every_command_reports_the_file_that_was_found_on_a_terminal(
    ran: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("forebay.toml").chmod(0o644)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert main(["config", "--json"]) == 0
    assert capsys.readouterr().err == "using forebay.toml from the current folder\n"
