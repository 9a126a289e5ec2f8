"""`forebay bench --advise`."""

from __future__ import annotations

from functools import partial

import orjson
import pytest

from forebay.stream.bench import advice_measurement
from forebay.stream.cli import main


@pytest.mark.embedded
def test_a_short_measurement_of_this_machine_gives_advice(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = partial(advice_measurement.Effort, rates=(100.0, 400.0), seconds=1.0, events=4_000)
    monkeypatch.setattr(advice_measurement, "Effort", small)
    options = ["--rate", "5000", "--p99-ms", "1000", "--backend", "onnx", "--set", "topics.partitions=2"]
    assert main(["bench", "--advise", "--json", *options]) == 0
    document = orjson.loads(capsys.readouterr().out)
    measured, advice = document["measured"], document["advice"]
    assert measured["cost"]["a_us"] >= 0 and measured["cost"]["b_us"] >= 0
    assert 50 < measured["rest_mib"] <= measured["peak_mib"]
    assert 0 < measured["p50_ms"] <= measured["p99_ms"] and measured["commit_ms"] > 0
    assert measured["event_bytes"] > 200 and measured["prediction_bytes"] > 100
    assert measured["device"] == "cpu" and measured["model_us"] > 0
    assert advice["processes"] >= 1 and advice["partitions"] % advice["processes"] == 0
    assert document["helm_values"]["config"]["objective"] == {"p99_ms": 1000}


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--advise"], "--advise needs --rate"),
        (["--advise", "--rate", "0"], "--advise needs a --rate above 0"),
        (["--p99-ms", "5"], "--p99-ms is an option of --advise"),
        (["--open-windows", "5", "--rate", "10"], "--open-windows is an option of --advise"),
    ],
)
def test_options_that_do_not_go_together_are_named(
    options: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", *options]) == 2
    assert problem in capsys.readouterr().err
