"""The checks of log lines: what they accept, and that each can fail."""

from __future__ import annotations

import pytest

from tests.worker.structured_log import check_client_lines, read_log, repetitions, starting

OWN, CLIENT = "forebay.worker", "aiokafka.consumer.fetcher"


def log(*lines: tuple[float, str, str]) -> str:
    """Return a log of these lines (seconds, logger, message), with an additional line that is not JSON."""
    return "stopped: something\n" + "\n".join(
        f'{{"time":"2026-01-01T00:00:{at_s:06.3f}+00:00","level":"info","logger":"{logger}","message":"{message}"}}'
        for at_s, logger, message in lines
    )


def test_lines_are_counted_by_logger_and_by_what_they_begin_with() -> None:
    lines = read_log(log((0, OWN, "broker 1 is back: after 2 s"), (1, OWN, "broker 7 is back"), (2, CLIENT, "broker")))
    assert repetitions(lines) == {(OWN, "broker # is back"): 2}
    assert [line.time_s - lines[0].time_s for line in starting(lines, "broker 7")] == [1.0]


def test_a_log_without_json_is_refused() -> None:
    with pytest.raises(AssertionError, match="no JSON lines"):
        read_log("12:00:00 INFO worker ready\n")


def test_the_clients_lines_are_apart_by_logger_and_absent_while_no_broker_answers() -> None:
    check_client_lines(
        read_log(
            log(
                (0, CLIENT, "closed"),
                (0, "aiokafka", "closed"),
                (1, OWN, "no broker answers since noon"),
                (12, OWN, "the cluster answers again, after 11 s"),
                (12, CLIENT, "closed"),
            )
        ),
        every_s=10,
    )
    with pytest.raises(AssertionError, match="less than 10 s after the last"):
        check_client_lines(read_log(log((0, CLIENT, "closed"), (9, CLIENT, "opened"))), every_s=10)
    with pytest.raises(AssertionError, match="while no broker answers"):
        check_client_lines(read_log(log((0, OWN, "no broker answers since noon"), (1, CLIENT, "closed"))), every_s=10)
